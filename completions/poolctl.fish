# Completion of poolctl, poolpython and poold for fish.

function __poolctl_program
    set -l words (commandline -opc)
    echo $words[1]
end

function __poolctl_pools
    set -l program (__poolctl_program)
    $program status --json 2>/dev/null | string match -ar '"name": *"[^"]*"' | string replace -r '.*"([^"]*)"$' '$1'
end

function __poolctl_jobs
    set -l program (__poolctl_program)
    $program ps 2>/dev/null | string match -r '^ *[0-9]+ .*' | string replace -r '^ *([0-9]+) +(.*)$' '$1\t$2'
end

# Is the command one of these, and all behind it our own options still?
function __poolctl_in
    set -l words (commandline -opc)
    set -q words[2]; and contains -- $words[2] $argv; or return 1
    set -l index 3
    while set -q words[$index]
        switch $words[$index]
            case --
                return 1
            case --pool --python --config
                set index (math $index + 2)
            case '--*'
                set index (math $index + 1)
            case -v
                test $words[2] = run; or return 1
                set index (math $index + 1)
            case '*'
                return 1
        end
    end
end

# Is no command there yet?
function __poolctl_first
    test (count (commandline -opc)) = 1
end

function __poolctl_is
    set -l words (commandline -opc)
    set -q words[2]; and contains -- $words[2] $argv
end

complete -c poolctl -f
complete -c poolctl -n __poolctl_first -a run -d 'Run python with these arguments, by a warm worker'
complete -c poolctl -n __poolctl_first -a explain -d 'How a run would be served, and why'
complete -c poolctl -n __poolctl_first -a status -d 'The pools and their workers'
complete -c poolctl -n __poolctl_first -a ps -d 'The scripts that run'
complete -c poolctl -n __poolctl_first -a kill -d 'End a script that runs'
complete -c poolctl -n __poolctl_first -a reload -d 'Read the configuration anew'
complete -c poolctl -n __poolctl_first -a start -d 'Start poold unless it runs'
complete -c poolctl -n __poolctl_first -a stop -d 'End poold'
complete -c poolctl -n __poolctl_first -a suggest -d 'Which imports a pool should have done'
complete -c poolctl -n __poolctl_first -a version -d 'The version of poolctl'
complete -c poolctl -n __poolctl_first -a help -d 'A summary'
complete -c poolctl -n __poolctl_first -s h -l help -d 'A summary'
complete -c poolctl -n __poolctl_first -l version -d 'The version of poolctl'

complete -c poolctl -n '__poolctl_in run explain' -l pool -x -a '(__poolctl_pools)' -d 'By a worker of this pool'
complete -c poolctl -n '__poolctl_in run' -l no-fallback -d 'Fail with status 125 rather than start python3'
complete -c poolctl -n '__poolctl_in run' -l tty -x -a 'auto direct pty' -d 'How the script has the terminal'
complete -c poolctl -n '__poolctl_in run' -o v -d 'Say who runs the script'
complete -c poolctl -n '__poolctl_in suggest' -l python -r -F -d 'The interpreter to measure with'
complete -c poolctl -n '__poolctl_in run explain suggest' -k -a '(__fish_complete_suffix .py)'
complete -c poolctl -n '__poolctl_is run explain suggest; and not __poolctl_in run explain suggest' -F

complete -c poolctl -n '__poolctl_is status ps' -l json -d 'For programs'
complete -c poolctl -n '__poolctl_is status' -l pool -x -a '(__poolctl_pools)' -d 'This one alone'
complete -c poolctl -n '__poolctl_is status' -l watch -d 'Again and again'
complete -c poolctl -n '__poolctl_is stop' -l now -d 'End running scripts, too'
complete -c poolctl -n '__poolctl_is start' -l config -r -F -d 'The configuration'
complete -c poolctl -n '__poolctl_is kill' -s s -x -a '(kill -l | string split -n " ")' -d 'This signal'
complete -c poolctl -n '__poolctl_is kill' -x -a '(__poolctl_jobs)'

complete -c poolpython -w python3

complete -c poold -f
complete -c poold -l config -r -F -d 'The configuration'
complete -c poold -l check -d 'Say what is wrong with the configuration'
complete -c poold -l version -d 'The version of poold'
complete -c poold -s h -l help -d 'A summary'
