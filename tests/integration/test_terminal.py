"""A script that has a terminal is python3 there: keys, job control, settings, size, and every byte. The shell is bash."""

import contextlib
import hashlib
import os
import pathlib
import re
import signal
import subprocess

import pexpect
import pytest
from harness import DEADLINE, PYTHON, alive, descendants_of, eventually, state_of

PROMPT = "PROMPT> "
SETTINGS = r"[0-9a-f]+(?::[0-9a-f]+){20,}"  # as stty -g prints them


class Shell(pexpect.spawn):
    """A bash at its prompt. `run` is the command that the test is about."""

    def __init__(self, poold, program):
        super().__init__("/bin/bash", ["--norc", "--noprofile", "-i"], env=poold.env | {
            "PS1": PROMPT, "TERM": "xterm", "HISTFILE": "", "INPUTRC": "/dev/null", "BASH_SILENCE_DEPRECATION_WARNING": "1",
        }, cwd=str(poold.folder), encoding="utf-8", timeout=DEADLINE, dimensions=(24, 80))
        self.poold = poold
        self.program = program
        self.is_ours = program != PYTHON
        self.delaybeforesend = None
        self.expect_exact(PROMPT)
        self.do("bind 'set enable-bracketed-paste off'")

    def start(self, line):
        """Types a line, and returns once bash has it."""
        if self.is_ours:
            self.poold.wait_idle()
        self.sendline(line.replace("PYTHON", self.program))
        self.expect_exact("\r\n")

    def prompt(self):
        """What came until the prompt."""
        self.expect_exact(PROMPT)
        return self.before

    def do(self, line):
        self.start(line)
        return self.prompt()

    def settings(self):
        return re.search(SETTINGS, self.do("stty -g"))[0]

    def stop(self, key="\x1a"):
        self.send(key)
        self.expect(r"\[1\]\+  Stopped")
        self.prompt()


@pytest.fixture(params=["poolctl", "python3"])
def shell(poold, request):
    """Each test runs against python3, too: it says what is right."""
    poold.start("[pool:default]\nsize = 2\n")
    program = poold.program("poolctl") + " run --no-fallback" if request.param == "poolctl" else PYTHON
    shell = Shell(poold, program)
    try:
        yield shell
    finally:
        shell.close(force=True)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(shell.pid, 0)


def test_is_its_controlling_terminal(shell, script):
    path = script("""
import os, sys
print([os.isatty(fd) for fd in range(3)], os.ttyname(0) == os.ttyname(1) == os.ttyname(2), os.get_terminal_size())
print(os.tcgetpgrp(0) == os.getpgrp() == os.getpid(), sys.stdout.encoding)
with open("/dev/tty", "r+b", buffering=0) as terminal:
    terminal.write(b"to the terminal\\n")
try:
    os.waitpid(-1, 0)
except ChildProcessError:
    print("no child")
""")
    said = shell.do(f"PYTHON {path}")
    assert said == ("[True, True, True] True os.terminal_size(columns=80, lines=24)\r\nTrue utf-8\r\nto the terminal\r\n"
                    "no child\r\n")


def test_reads_a_line_and_echoes_it(shell, script):
    shell.start(f"PYTHON {script('print(2 * input(chr(63)))')}")
    shell.expect_exact("?")
    shell.sendline("abc")
    assert shell.prompt() == "abc\r\nabcabc\r\n"


@pytest.mark.parametrize("key, number, wrap", [
    ("\x03", signal.SIGINT, "{}"), ("\x1c", signal.SIGQUIT, "{}"),
    ("\x03", signal.SIGINT, "bash -c '{}; echo not reached'"),  # bash goes on with its script after SIGQUIT
], ids=["interrupt", "quit", "interrupt-shell-script"])
def test_keys_end_it_by_signal(shell, script, key, number, wrap):
    path = script("import signal, time\nprint('ready')\nwhile True: time.sleep(100)")
    shell.do("ulimit -c 0")
    before = shell.settings()
    shell.start(wrap.format(f"PYTHON {path}"))
    shell.expect_exact("ready\r\n")
    shell.send(key)
    assert "not reached" not in shell.prompt()
    assert shell.do("echo $?").strip() == str(128 + number)
    assert shell.settings() == before


def test_a_handled_key_is_no_end(shell, script):
    path = script("""
import signal, time
handled = []
signal.signal(signal.SIGINT, lambda *args: handled.append(print("handled")))
print("ready")
while not handled: time.sleep(0.01)
""")
    shell.start(f"PYTHON {path}")
    shell.expect_exact("ready\r\n")
    shell.sendintr()
    assert shell.prompt() == "^Chandled\r\n"
    assert shell.do("echo $?") == "0\r\n"


def test_stops_and_goes_on_in_the_foreground(shell, script):
    before = shell.settings()
    shell.start(f"PYTHON {script('print(input(chr(63)))')}")
    shell.expect_exact("?")
    shell.stop()
    assert shell.settings() == before
    shell.start("fg")
    shell.sendline("abc")
    assert shell.prompt().endswith("abc\r\nabc\r\n")


def test_goes_on_in_the_background(shell, script, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    shell.start(f"PYTHON {script(f'print(chr(63)); print(open({str(gate)!r}).read()); input()')}")
    shell.expect_exact("?\r\n")
    shell.stop()
    shell.do("bg")
    gate.write_text("written in the background")
    shell.expect_exact("written in the background\r\n")
    while not re.search(r"Stopped", shell.do("jobs")):  # it reads the terminal, and is told of by the shell
        pass
    shell.start("fg")
    shell.sendline("")
    shell.prompt()
    assert shell.do("echo $?") == "0\r\n"


def test_a_background_job_writes_but_stops_when_it_reads(shell, script):
    before = shell.settings()
    shell.do("set +m; set -m")
    path = script("print('one\\ntwo'); print(input())")
    shell.start(f"PYTHON {path} &")
    shell.expect_exact("one\r\ntwo\r\n")
    while "Stopped" not in shell.do("jobs"):
        pass
    assert shell.settings() == before
    shell.start("fg")
    shell.sendline("abc")
    assert shell.prompt().endswith("abc\r\nabc\r\n")
    assert shell.settings() == before


def test_a_background_job_honours_tostop(shell, script):
    shell.do("stty tostop")
    shell.start(f"PYTHON {script('print(6 * 7)')} &")
    shell.prompt()
    while "Stopped" not in (said := shell.do("jobs")):
        assert "42" not in said
    shell.start("fg")
    assert shell.prompt().endswith("42\r\n")


def test_stops_its_group_by_itself(shell, script):
    path = script("import os, signal\nprint('ready')\nos.kill(0, signal.SIGTSTP)\nprint('again')")
    shell.start(f"PYTHON {path}")
    shell.expect(r"ready\r\n\r\n\[1\]\+  Stopped")
    shell.prompt()
    shell.start("fg")
    assert shell.prompt().endswith("again\r\n")


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN])
@pytest.mark.parametrize("redirect", ["", "</dev/null >out 2>&1"], ids=["terminal", "files"])
def test_stops_itself_alone(shell, script, tmp_path, number, redirect):
    """Whoever waits for the job sees it stopped, with a terminal and without."""
    path = script(f"import os, sys\nos.kill(os.getpid(), {int(number)})\nopen('after', 'w').close()\n")
    folder = shell.poold.folder
    shell.start(f"PYTHON {path} {redirect}; echo stopped")
    shell.expect(r"\[1\]\+  Stopped")
    assert not (folder / "after").exists()
    shell.expect_exact("stopped\r\n")
    shell.prompt()
    shell.do("fg")
    assert (folder / "after").exists()
    assert shell.do("jobs") == ""


def test_a_handler_of_ctrl_z_may_take_its_time(shell, script):
    path = script("""
import os, signal, time
resumed = []
def stop(*args):
    print("cleaning up")
    os.kill(os.getpid(), signal.SIGSTOP)
    resumed.append(print("resumed"))
signal.signal(signal.SIGTSTP, stop)
print("ready")
while not resumed: time.sleep(0.01)
""")
    shell.start(f"PYTHON {path}")
    shell.expect_exact("ready\r\n")
    shell.send("\x1a")
    shell.expect(r"cleaning up\r\n\r\n\[1\]\+  Stopped")
    shell.prompt()
    shell.start("fg")
    assert shell.prompt().endswith("resumed\r\n")


def test_a_handler_of_ctrl_z_may_go_on(shell, script):
    path = script("""
import signal, time
handled = []
signal.signal(signal.SIGTSTP, lambda *args: handled.append(print("not now")))
print("ready")
while len(handled) < 2: time.sleep(0.01)
""")
    shell.start(f"PYTHON {path}")
    shell.expect_exact("ready\r\n")
    shell.send("\x1a")
    shell.expect_exact("not now\r\n")
    shell.send("\x1a")
    shell.expect_exact("not now\r\n")
    shell.prompt()
    assert shell.do("echo $?") == "0\r\n"


def test_follows_the_window(shell, script):
    path = script("""
import os, signal
signal.signal(signal.SIGWINCH, lambda *args: print(*os.get_terminal_size()))
print("ready", *os.get_terminal_size())
while True: signal.pause()
""")
    shell.start(f"PYTHON {path}")
    shell.expect_exact("ready 80 24\r\n")
    shell.setwinsize(33, 111)
    shell.expect_exact("111 33\r\n")
    shell.sendintr()
    shell.prompt()


@pytest.mark.parametrize("line", ["PYTHON {}", "PYTHON {} | cat", "PYTHON {} < /dev/null", "true | PYTHON {}"],
                         ids=["plain", "into-a-pipe", "no-input", "from-a-pipe"])
def test_getpass(shell, script, line):
    before = shell.settings()
    path = script("import getpass\nprint(getpass.getpass()[::-1])")
    shell.start(line.format(path))
    shell.expect_exact("Password: ")
    shell.sendline("abc")
    # What goes through a pipe may overtake what goes to the terminal.
    assert sorted(shell.prompt().split("\r\n")) == ["", "", "cba"]
    assert shell.settings() == before


def test_raw_mode(shell, script):
    before = shell.settings()
    path = script("""
import os, sys, termios, tty
settings = termios.tcgetattr(0)
tty.setraw(0)
print("ready", end="\\n", flush=True)
data = b""
while len(data) < 4:
    data += os.read(0, 4)
termios.tcsetattr(0, termios.TCSADRAIN, settings)
print(data)
""")
    shell.start(f"PYTHON {path}")
    shell.expect_exact("ready\n")
    shell.send("a\x03\x1a\r")
    assert shell.prompt() == "b'a\\x03\\x1a\\r'\r\n"
    assert shell.settings() == before


def test_curses(shell, script):
    before = shell.settings()
    path = script("""
import curses
def main(screen):
    screen.addstr(3, 5, "press")
    screen.refresh()
    return screen.getkey()
print("key", curses.wrapper(main))
""")
    shell.start(f"PYTHON {path}")
    shell.expect_exact("press")
    shell.send("q")
    shell.expect_exact("key q\r\n")
    shell.prompt()
    assert shell.settings() == before


@pytest.mark.parametrize("command, shows, again, leave", [
    (["vim.tiny", "-u", "NONE", "-n"], "~", "~", ":q!\r"),
    (["less", "./lines"], "./lines", "line 1\r", "q"),
], ids=["vim", "less"])
def test_full_screen_programs_in_a_script(shell, script, command, shows, again, leave):
    before = shell.settings()
    (shell.poold.folder / "lines").write_text("".join(f"line {number}\n" for number in range(1, 200)))
    path = script(f"import subprocess\nsubprocess.run({command})\nprint('back')")
    shell.start(f"PYTHON {path}")
    shell.expect_exact(shows)
    shell.stop()
    # bash has its prompt as soon as python3 has stopped; less then sets the terminal, stops, and may miss a SIGCONT.
    eventually("all of the job to stop", lambda: all(state_of(pid) == "T" for pid in descendants_of(shell.pid)))
    assert shell.settings() == before
    shell.start("fg")
    shell.expect_exact(again)  # a key that comes before may be lost
    shell.send(leave)
    shell.expect_exact("back\r\n")
    shell.prompt()
    assert shell.settings() == before


def test_a_shell_with_jobs_in_a_script(shell, script):
    path = script("""
import subprocess
done = subprocess.run(["bash", "--norc", "-i"], env={"PS1": "INNER> ", "HISTFILE": ""})
print("status", done.returncode)
""")
    shell.start(f"PYTHON {path}")
    shell.expect_exact("INNER> ")
    shell.sendline("cat")
    shell.expect_exact("cat\r\n")
    shell.sendline("abc")
    shell.expect_exact("abc\r\nabc\r\n")
    shell.send("\x1a")
    shell.expect(r"\[1\]\+  Stopped +cat")
    shell.expect_exact("INNER> ")
    shell.sendline("fg")
    shell.expect_exact("fg\r\ncat\r\n")
    shell.sendintr()
    shell.expect_exact("INNER> ")
    shell.sendline("exit 5")
    shell.expect_exact("status 5\r\n")
    shell.prompt()


@pytest.mark.parametrize("code", [
    "tty.setraw(0); os.kill(os.getpid(), 9)", "tty.setraw(0); os.kill(os.getpid(), 15)", "os.abort()", "1 / 0", "os._exit(3)",
    "os.execv('/bin/echo', ['echo', 'new'])", "input(); os.kill(os.getpid(), 9)",
], ids=["killed-raw", "terminated-raw", "aborted", "failed", "left", "replaced", "killed-attached"])
@pytest.mark.parametrize("shell", ["poolctl"], indirect=True)  # python3 leaves a raw terminal raw
def test_settings_are_as_they_were(shell, script, code):
    """A shell sets its terminal up after a job that was killed; that of a shell script is on its own."""
    shell.do("ulimit -c 0")
    path = script(f"import os, tty\n{code}")
    shell.start(f"stty -g; bash -c 'PYTHON {path}; stty -g; true'; stty -g")
    shell.sendline("")
    found = []
    while len(found) < 3:
        found += re.findall(SETTINGS, shell.prompt())
    assert len(set(found)) == 1


def pid_of(shell):
    shell.expect(r"pid (\d+)\r\n")
    return int(shell.match[1])


SLEEP = "import os, signal\nprint('pid', os.getpid())\nos.getppid()\nsignal.pause()"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL], ids=lambda number: number.name)
def test_a_signal_from_elsewhere(shell, script, number):
    before = shell.settings()
    shell.start(f"PYTHON {script(SLEEP)} & echo client $!; fg")
    shell.expect(r"client (\d+)\r\n")
    client = int(shell.match[1])
    worker = pid_of(shell)
    os.kill(client, number)
    shell.prompt()
    assert shell.do("echo $?").strip() == str(128 + number)
    eventually("the script to end with its client", lambda: not alive(worker))
    assert shell.settings() == before


def test_ends_when_its_terminal_goes(shell, script):
    shell.start(f"PYTHON {script(SLEEP)}")
    worker = pid_of(shell)
    shell.close(force=False)
    eventually("the script to be hung up", lambda: state_of(worker) in "ZX")


def test_megabytes_are_the_same_bytes(poold, script):
    """Both at full speed, by a reader that is slow now and then, in the foreground and out of a shell script."""
    poold.start("[pool:default]\nsize = 2\n")
    path = script("""
import random, sys
random.seed(7)
for i in range(60000):
    sys.stdout.write(f"{i} {'x' * random.randrange(160)}{random.choice(['', chr(13), chr(13) * 2, chr(9)])}\\n")
sys.stdout.write("the end")
""")

    def digest(*command):
        poold.wait_idle()
        child = pexpect.spawn(command[0], list(command[1:]), env=poold.env, timeout=8, dimensions=(24, 80))
        data = []
        with contextlib.suppress(EOFError, pexpect.EOF):
            while True:
                data.append(child.read_nonblocking(1 << 16, DEADLINE))
        child.close()
        data = b"".join(data)
        return len(data), hashlib.sha256(data).hexdigest(), child.exitstatus

    poolctl = poold.program("poolctl")
    expected = digest(PYTHON, str(path))
    assert expected[0] > 4_900_000
    assert digest(poolctl, "run", "--no-fallback", "--tty=auto", str(path)) == expected
    assert digest("/bin/sh", "-c", f"{poolctl} run --no-fallback --tty=auto {path}; exit 0") == expected


def test_megabytes_typed(shell, script):
    path = script("""
import hashlib, sys
print("ready", flush=True)
digest = hashlib.sha256()
for line in sys.stdin:
    if line == "end\\n":
        break
    digest.update(line.encode())
print("digest", digest.hexdigest())
""")
    lines = [f"{number} {'y' * (number * 7 % 900)}\n" for number in range(2500)]
    shell.start(f"stty -echo; PYTHON {path}")
    shell.expect_exact("ready\r\n")
    for line in lines:
        shell.send(line)
    shell.send("end\n")
    shell.expect_exact("digest " + hashlib.sha256("".join(lines).encode()).hexdigest())
    shell.prompt()


def test_only_the_terminal_is_replaced(shell, script, tmp_path):
    path = script("import os, sys\nprint([os.isatty(fd) for fd in (0, 1, 2, 7)], file=sys.stderr)\nprint(sys.stdin.read(4))")
    assert shell.do(f"PYTHON {path} < /etc/passwd 7>&1") == "[False, True, True, True]\r\nroot\r\n"
    assert shell.do(f"echo text | PYTHON {path} 7>&1 | cat > piped") == "[False, False, True, False]\r\n"
    assert (tmp_path / "piped").read_text() == "text\n"
    shell.start(f"PYTHON {path} > out 7<&0")
    shell.expect_exact("[True, False, True, True]\r\n")
    shell.send("abcd\n")
    shell.send("\x04")
    shell.prompt()
    assert (tmp_path / "out").read_text() == "abcd\n"


def test_into_a_pager(shell, script):
    before = shell.settings()
    shell.start(f"PYTHON {script('print(*range(1000), sep=chr(10))')} | less")
    shell.expect_exact("\r\n20")
    shell.send("G")
    shell.expect_exact("999")
    shell.send("q")
    shell.prompt()
    assert shell.settings() == before


def test_what_is_typed_ahead_is_the_shells(shell, script, tmp_path):
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    shell.start(f"PYTHON {script(f'print(chr(63)); open({str(gate)!r}).read()')}")
    shell.expect_exact("?\r\n")
    shell.sendline("echo a''head")
    shell.expect_exact("echo a''head\r\n")
    gate.write_text("")
    shell.expect_exact("ahead\r\n")


@pytest.mark.parametrize("pipe", ["", " | cat"])
def test_an_end_of_file_may_be_typed_ahead(shell, script, tmp_path, pipe):
    os.mkfifo(tmp_path / "typed")
    path = script("""
import os, sys
os.write(2, b"ready\\n")
open("typed").read()
print([sys.stdin.read()])
""")
    shell.start(f"PYTHON {path}{pipe}")
    shell.expect_exact("ready\r\n")
    shell.send("a line\n\x04")
    shell.expect_exact("a line\r\n")
    (tmp_path / "typed").write_text("")
    assert "['a line\\n']" in shell.prompt()


def test_direct_leaves_the_terminal_alone(poold, script):
    poold.start()
    shell = Shell(poold, poold.program("poolctl") + " run --no-fallback --tty=direct")
    name = shell.do("tty").strip()
    assert shell.do(f"PYTHON {script('import os; print(os.ttyname(1))')}").strip() == name
    shell.close(force=True)


def test_pty_also_without_a_terminal_on_the_standard_fds(poold, script, tmp_path):
    poold.start("[pool:default]\nsize = 2\n")
    path = script("print(open('/dev/tty').readline())")
    shell = Shell(poold, poold.program("poolctl") + " run --no-fallback")
    shell.do(f"PYTHON {path} < /dev/null > out 2> err")
    assert "No such device" in (tmp_path / "err").read_text()
    shell.start(f"PYTHON --tty=pty {path} < /dev/null > out 2> err")
    shell.sendline("abc")
    shell.prompt()
    assert (tmp_path / "out").read_text() == "abc\n\n"
    shell.close(force=True)


def test_costs_nothing_without_a_terminal(poold, script, tmp_path):
    poold.start()
    trace = tmp_path / "trace"
    subprocess.run(["strace", "-f", "-o", trace, "-e", "trace=ioctl,openat,socketpair", poold.program("poolctl"), "run",
                    "--no-fallback", "--tty=auto", script("pass")], env=poold.env, stdin=subprocess.DEVNULL,
                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True)
    calls = pathlib.Path(trace).read_text()
    assert calls.count("ioctl(") == 3 and "/dev/tty" not in calls and "socketpair" not in calls, calls
