# Completion of poolctl, poolpython and poold for bash, by the functions of bash-completion.

_poolctl_commands='run explain status ps kill reload start stop suggest version help --help --version'
_poolctl_python_options='-c -m -B -E -I -O -P -S -W -X -b -d -i -q -s -u -v -x'

# _poolctl_words WORDS: those that begin with the current word.
_poolctl_words() {
        local IFS=$' \t\n'
        COMPREPLY+=($(compgen -W "$1" -- "$cur"))
}

# _poolctl_files [PATTERN]: folders, and files whose names match.
_poolctl_files() {
        local IFS=$'\n'
        compopt -o filenames 2>/dev/null
        COMPREPLY+=($(compgen -d -- "$cur"))
        COMPREPLY+=($(compgen -f -X "!${1:-*}" -- "$cur"))
}

_poolctl_pools() {
        _poolctl_words "$("$program" status --json 2>/dev/null | grep -o '"name": *"[^"]*"' | cut -d '"' -f 4)"
}

_poolctl_jobs() {
        _poolctl_words "$("$program" ps 2>/dev/null | awk '$1 ~ /^[0-9]+$/ { print $1 }')"
}

# What python takes: words[$1] is its first argument.
_poolctl_python() {
        local i=$1
        while ((i < cword)); do
                case ${words[i]} in
                -W | -X) ((i += 2)) ;;
                -?*) ((i++)) ;;
                *) break ;;
                esac
                # All behind the module or the code is the program's own.
                case ${words[i - 1]} in
                -c | -m)
                        ((i++ < cword)) && _poolctl_files
                        return
                        ;;
                esac
        done
        if ((i < cword)); then
                _poolctl_files
        elif [[ $cur == -* ]]; then
                _poolctl_words "$_poolctl_python_options"
        elif [[ ${words[cword - 1]} != -[WX] ]]; then
                _poolctl_files '*.py'
        fi
}

# run, explain and suggest: OPTIONS are ours, and stand before python's.
_poolctl_run() {
        local options=$1 i=2
        while ((i < cword)); do
                case ${words[i]} in
                --) break ;;
                --pool | --python) ((i += 2)) ;;
                --*=* | --no-fallback) ((i++)) ;;
                -v) [[ $options == *' -v'* ]] && ((i++)) || break ;;
                *) break ;;
                esac
        done
        [[ ${words[i]} == -- ]] && ((i < cword)) && options= && ((i++))
        if [[ ${words[cword - 1]} == --pool ]] && ((i > cword)); then
                _poolctl_pools
        elif [[ ${words[cword - 1]} == --python ]] && ((i > cword)); then
                _poolctl_files
        elif ((i < cword)); then
                _poolctl_python "$i"
        else
                [[ $cur == -* ]] && _poolctl_words "$options"
                _poolctl_python "$i"
        fi
}

# The values of options that have theirs behind '='.
_poolctl_value() {
        local option=${cur%%=*}
        [[ $cur == --*=* ]] || return
        cur=${cur#*=}
        case $option in
        --tty) _poolctl_words 'auto direct pty' ;;
        --pool) _poolctl_pools ;;
        --config | --python) _poolctl_files ;;
        esac
        # Readline may take the '=' as the end of a word: then it only wants what is behind.
        if [[ $COMP_WORDBREAKS != *=* ]]; then
                COMPREPLY=("${COMPREPLY[@]/#/$option=}")
        fi
        return 0
}

# Is the current word one of python's, or of the program's? Then no '=' in it is ours.
_poolctl_is_ours() {
        local i
        for ((i = 2; i < cword; i++)); do
                case ${words[i]} in
                --) return 1 ;;
                --pool | --python | --config) ((i++)) ;;
                --* | -v) ;;
                *) return 1 ;;
                esac
        done
}

# Sets cur, words and cword: a word with '=' or ':' is one.
_poolctl_split() {
        COMPREPLY=()
        _get_comp_words_by_ref -n =: cur words cword
}

_poolctl() {
        local words cword cur program=$1
        _poolctl_split
        if ((cword < 2)); then
                _poolctl_words "$_poolctl_commands"
                return
        fi
        _poolctl_is_ours && _poolctl_value && return
        case ${words[1]} in
        run) _poolctl_run '--pool --no-fallback --tty=auto --tty=direct --tty=pty -v --' ;;
        explain) _poolctl_run '--pool --' ;;
        suggest) _poolctl_run '--python --' ;;
        status)
                if [[ ${words[cword - 1]} == --pool ]]; then
                        _poolctl_pools
                else
                        _poolctl_words '--json --pool --watch'
                fi
                ;;
        ps) _poolctl_words '--json' ;;
        stop) _poolctl_words '--now' ;;
        kill)
                if [[ ${words[cword - 1]} == -s || ${words[cword - 1]} == --signal ]]; then
                        _poolctl_words "$(compgen -A signal SIG | sed 's/^SIG//')"
                elif [[ $cur == -* ]]; then
                        _poolctl_words '-s --signal'
                else
                        _poolctl_jobs
                fi
                ;;
        start)
                if [[ ${words[cword - 1]} == --config ]]; then
                        _poolctl_files
                else
                        _poolctl_words '--config'
                fi
                ;;
        esac
}

_poolpython() {
        local words cword cur program=$1
        _poolctl_split
        _poolctl_python 1
}

_poold() {
        local words cword cur program=$1
        _poolctl_split
        _poolctl_value && return
        if [[ ${words[cword - 1]} == --config ]]; then
                _poolctl_files
        else
                _poolctl_words '--config --check --version --help'
        fi
}

complete -F _poolctl poolctl
complete -F _poolpython poolpython
complete -F _poold poold
