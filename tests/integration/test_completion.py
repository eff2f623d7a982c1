"""What the tab key does in bash, zsh and fish, on a terminal."""

import shutil

import pexpect
import pytest

from harness import DEADLINE, eventually

# In front of the real one: says what it was called with, but for what completion asks for itself.
SHIM = """\
#!/bin/sh
case $(basename "$0")$1 in
poolctlstatus) [ $# != 2 ] || [ "$2" != --json ] || exec {poolctl} status --json ;;
poolctlps) [ $# != 1 ] || exec printf 'PID POOL COMMAND\\n  4711 one a.py\\n 52 two b.py\\n' ;;
esac
{{ printf '%s' "$(basename "$0")"; printf ' <%s>' "$@"; echo; }} >>{said}
"""

INI = "[pool:default]\nsize = 1\n[pool:special]\nsize = 0\n"

# What is typed (ours is the tab key), and what then is called.
CASES = {
    "run": ["poolctl ru\t x.py", "poolctl <run> <x.py>"],
    "explain": ["poolctl ex\t x.py", "poolctl <explain> <x.py>"],
    "reload": ["poolctl rel\t", "poolctl <reload>"],
    "stop": ["poolctl sto\t --n\t", "poolctl <stop> <--now>"],
    "status": ["poolctl statu\t --js\t x", "poolctl <status> <--json> <x>"],
    "watch": ["poolctl status --w\t", "poolctl <status> <--watch>"],
    "ps": ["poolctl ps --j\t", "poolctl <ps> <--json>"],
    "suggest": ["poolctl sug\t x.py", "poolctl <suggest> <x.py>"],
    "version": ["poolctl vers\t", "poolctl <version>"],
    "long version": ["poolctl --ver\t", "poolctl <--version>"],
    "start": ["poolctl sta\tr\t --conf\t", "poolctl <start> <--config>"],
    "config": ["poolctl start --config other.i\t", "poolctl <start> <--config> <other.ini>"],
    "no such option": ["poolctl stop --js\t", "poolctl <stop> <--js>"],
    "no such command": ["poolctl xy\t", "poolctl <xy>"],
    "script": ["poolctl run lonel\t", "poolctl <run> <lonely.py>"],
    "script after options": ["poolctl run -v --no-f\t lonel\t", "poolctl <run> <-v> <--no-fallback> <lonely.py>"],
    "script to explain": ["poolctl explain lonel\t", "poolctl <explain> <lonely.py>"],
    "script to suggest": ["poolctl suggest lonel\t", "poolctl <suggest> <lonely.py>"],
    "script's argument": ["poolctl run lonely.py other.i\t", "poolctl <run> <lonely.py> <other.ini>"],
    "script's option": ["poolctl run lonely.py --no-f\t", "poolctl <run> <lonely.py> <--no-f>"],
    "python": ["poolctl suggest --pyt\t", "poolctl <suggest> <--python"],
    "tty": ["poolctl run --tty=di\t x.py", "poolctl <run> <--tty=direct> <x.py>"],
    "pool": ["poolctl run --pool spec\t x.py", "poolctl <run> <--pool> <special> <x.py>"],
    "pool with =": ["poolctl run --pool=spec\t x.py", "poolctl <run> <--pool=special> <x.py>"],
    "pool to explain": ["poolctl explain --pool spec\t x.py", "poolctl <explain> <--pool> <special> <x.py>"],
    "pool to show": ["poolctl status --pool spec\t", "poolctl <status> <--pool> <special>"],
    "signal": ["poolctl kill -s WINC\t 4711", "poolctl <kill> <-s> <WINCH> <4711>"],
    "kill": ["poolctl kill 47\t", "poolctl <kill> <4711>"],
    "poolpython": ["poolpython lonel\t", "poolpython <lonely.py>"],
    "poold": ["poold --chec\t", "poold <--check>"],
    "poold's configuration": ["poold --config other.i\t", "poold <--config> <other.ini>"],
}


class Shell:
    def __init__(self, name, prefix, poold):
        self.folder = poold.folder
        self.said = self.folder / "said"
        self.said.touch()
        programs = self.folder / "programs"
        programs.mkdir()
        for program in "poolctl", "poolpython", "poold":
            (programs / program).write_text(SHIM.format(poolctl=prefix / "bin/poolctl", said=self.said))
            (programs / program).chmod(0o755)
        here = self.folder / "here"
        here.mkdir()
        (here / "lonely.py").touch()
        (here / "other.ini").touch()
        (self.folder / "runtime").mkdir(mode=0o700)  # fish leaves something there
        # Else fish makes completions of all manual pages, in the background.
        (self.folder / "data/fish/generated_completions").mkdir(parents=True)
        env = poold.env | {"XDG_DATA_HOME": str(self.folder / "data"), "XDG_RUNTIME_DIR": str(self.folder / "runtime"), "POOLD_SOCKET": str(poold.socket), "PATH": f"{programs}:/usr/bin:/bin", "TERM": "dumb", "PS1": "ready> ",
                           "XDG_DATA_DIRS": f"{prefix}/share:/usr/local/share:/usr/share"}
        for inherited in "FPATH", "BASH_ENV", "ENV", "ZDOTDIR":
            env.pop(inherited, None)
        arguments, setup = {
            "bash": (["--noprofile", "--norc", "-i"], ". /usr/share/bash-completion/bash_completion"),
            "zsh": (["-f", "-i"], f"fpath=({prefix}/share/zsh/site-functions $fpath); autoload -Uz compinit; "
                                  f"compinit -u -d {self.folder}/dump"),
            "fish": (["--init-command", "function fish_prompt; echo 'ready> '; end; set -g fish_greeting"], "true"),
        }[name]
        shell = shutil.which(name)
        assert shell, f"{name} is not installed"
        self.terminal = pexpect.spawn(shell, arguments, env=env, cwd=str(here), dimensions=(24, 200), timeout=DEADLINE,
                                      encoding="utf-8")
        self.terminal.expect_exact("ready> ")
        self.call(f"{setup}; poolctl at first")

    def call(self, line):
        """Types it and the return key, and returns what then was called."""
        before = len(self.said.read_text())
        self.terminal.send(line + "\r")
        eventually(lambda: f"{line!r} to call something; the terminal: {self.terminal.read_nonblocking(9999, 0)!r}",
                   lambda: self.said.read_text()[before:].endswith("\n"))
        return self.said.read_text()[before:].rstrip("\n")

    def end(self):
        self.terminal.close(force=True)


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_tab_key(name, prefix, poold):
    poold.launch(INI)
    shell = Shell(name, prefix, poold)
    try:
        found = {case: shell.call(typed) for case, (typed, _) in CASES.items()}
    finally:
        shell.end()
    # What follows an option that takes a value, '=' or nothing, is each shell's own.
    found["python"] = found["python"].rstrip("=>")
    assert found == {case: called.rstrip("=>") if case == "python" else called for case, (_, called) in CASES.items()}
