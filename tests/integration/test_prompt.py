"""The interactive interpreter at a terminal: the same keys, and the same bytes back, as with python3."""

import io
import os

import pexpect
import pytest
from harness import DEADLINE, PYTHON, eventually

PROMPT, MORE = ">>> ", "... "
EOF, INTERRUPT, TAB, UP = "\x04", "\x03", "\t", "\x1b[A"


@pytest.fixture
def history(poold):
    return poold.folder / "home/.python_history"


@pytest.fixture
def both(poold, history):
    """Has python3 and a worker run the same and be typed the same. Each step waits for a text and then types another."""
    poold.start("[pool:default]\nsize = 2\nmodules = json\n")

    def run(args, steps, env=None, options=()):
        results = []
        for program in ([PYTHON], [poold.program("poolctl"), "run", "--no-fallback", *options]):
            poold.wait_idle()
            history.unlink(missing_ok=True)
            said = io.BytesIO()
            child = pexpect.spawn(program[0], [*program[1:], *map(str, args)], timeout=DEADLINE, dimensions=(24, 80), cwd=poold.folder,
                                  env=poold.env | {"TERM": "xterm", "INPUTRC": "/dev/null"} | (env or {}))
            child.logfile_read = said
            child.delaybeforesend = None
            for text, typed in steps:
                child.expect_exact(text)
                child.send(typed)
            child.expect(pexpect.EOF)
            child.close()
            results.append((said.getvalue(), child.exitstatus, child.signalstatus, history.exists() and history.read_text()))
        theirs, ours = results
        assert ours == theirs, "\n".join(map(repr, [*theirs, *ours]))
        return ours

    return run


def lines(text):
    """Steps that type these lines, each at a prompt."""
    return [(PROMPT, line + "\r") for line in text.splitlines()]


END = [(PROMPT, EOF)]


@pytest.mark.parametrize("args", [[], ["-"], ["-i"], ["-q"], ["-qi", "-", "a"], ["-u"], ["-B", "-Wd"], ["-P"]], ids=str)
def test_session(both, args):
    said, status, _, history = both(args, lines("""\
1 + 1
_ * 2
import sys; sys.argv, sys.flags, sys.path, sys.stdin
dir(), __name__, __spec__, __loader__
1 / 0
x = 'unfinished
sys.last_type
sorted(set(sys.modules) & {'readline', 'rlcompleter'})
from __future__ import annotations
sys.stdout.write('no end')
""") + END)
    assert status == 0 and b"ZeroDivisionError" in said and (b"Python 3" in said) == ("q" not in "".join(args))
    assert history.startswith("1 + 1\n_ * 2\n")


def test_statements_of_several_lines(both):
    said, *_ = both([], [(PROMPT, "def f(x):\r"), (MORE, "    return [\r"), (MORE, "        x]\r"), (MORE, "\r"), (PROMPT, "f(\r"),
                         (MORE, "5)\r"), (PROMPT, "if 1:\r"), (MORE, "wrong\r"), *END])
    assert b"[5]" in said and b"IndentationError" in said


@pytest.mark.parametrize("text, status, signal", [
    ("exit()", 0, None), ("quit(3)", 3, None), ("import sys; sys.exit('why')", 1, None), ("raise SystemExit(300)", 44, None),
    ("import os; os._exit(5)", 5, None), ("import os; os.kill(os.getpid(), 9)", None, 9), ("import os; os.execvp('sh', ['sh', '-c', 'exit 6'])", 6, None),
    ("import atexit; _ = atexit.register(print, 'bye'); exit(2)", 2, None),
])
def test_ends(both, text, status, signal):
    result = both([], lines(text))
    assert result[1:3] == (status, signal)


def test_input_is_read_from_the_terminal(both):
    said, *_ = both([], [(PROMPT, "input('? ')\r"), ("? ", "abc\r"), ("'abc'", ""), (PROMPT, "import sys; sys.stdin.readline()\r"),
                         ("\n", "def\r"), ("'def\\n'", ""), *END])
    assert b"'abc'" in said


def test_completes_and_remembers(both, history):
    said, *_, history = both([], [(PROMPT, "impor" + TAB), ("import ", "string\r"), (PROMPT, "string.ascii_lo" + TAB), ("wercase", "\r"),
                                  ("wxyz'", ""), (PROMPT, UP), ("string.ascii_lowercase", "\r"), ("wxyz'", ""), *END])
    assert history.splitlines()[:2] == ["import string", "string.ascii_lowercase"]


def test_ctrl_c_at_the_prompt(both):
    said, status, *_ = both([], [(PROMPT, "abc"), ("abc", INTERRUPT), ("KeyboardInterrupt", ""), (PROMPT, "1 + 1\r"), ("2", ""), *END])
    assert status == 0 and b"KeyboardInterrupt" in said


LOOP = "import signal; print('o', 'n', sep=''); signal.pause()"


@pytest.mark.parametrize("then, status, signal", [([], None, 2), (["1 + 1"], 0, None), (["1 +"], None, 2), (["exit()"], 0, None)], ids=str)
def test_ctrl_c_while_it_computes(both, then, status, signal):
    steps = [(PROMPT, LOOP + "\r"), ("\non\r\n", INTERRUPT), *[(PROMPT, line + "\r") for line in then]]
    result = both(["-q"], steps + ([] if then == ["exit()"] else END))
    assert result[1:3] == (status, signal) and b"Traceback" in result[0]


@pytest.mark.parametrize("args", [["-c", "x = 5; print(x)"], ["-m", "prog"], ["prog.py", "a"], ["app"]], ids=lambda args: args[0])
@pytest.mark.parametrize("end", ["", "1 / 0", "raise SystemExit(3)", "raise KeyboardInterrupt"])
def test_inspects(both, poold, args, end):
    for path in (poold.folder / "prog.py", poold.folder / "app/__main__.py"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"x = 5\nprint(x)\n{end}\n")
    if args[0] == "-c":
        args = ["-c", args[1] + "\n" + end]
    result = both(["-i", *args], lines("x + 1\nimport sys; sys.argv, sys.flags\ndir()\nsys.exc_info(), hasattr(sys, 'last_type')\n") + END)
    assert result[1] == 0 and b"\n6\r\n" in result[0]


@pytest.mark.parametrize("when", ["before", "late"])
def test_inspects_because_of_the_environment(both, when):
    late = "import os; os.environ['PYTHONINSPECT'] = '1'; x = 5"
    both(["-c", late if when == "late" else "x = 5"], lines("x") + END, {"PYTHONINSPECT": "1"} if when == "before" else {})


def test_a_terminal_does_not_make_a_program_inspected(both):
    assert both(["-c", "print(5)"], [])[:2] == (b"5\r\n", 0)


@pytest.mark.parametrize("text", ["print('startup', __file__); y = 5", "1 / 0", "def f(:", "raise SystemExit(4)", "import sys; sys.ps1 = 'py>>> '",
                                  "import sys; del sys.__interactivehook__"])
def test_startup_file(both, poold, text):
    (poold.folder / "startup.py").write_text(text + "\n")
    both([], [] if "Exit" in text else lines("dir()") + END, {"PYTHONSTARTUP": "startup.py"})


def test_a_module_beside_is_not_the_line_editor(both, poold):
    (poold.folder / "readline.py").write_text("print('not this one')\n")
    assert b"not this" not in both([], lines("1 + 1") + END)[0]


def test_without_escape_sequences(both):
    both([], lines("1 + 1\n'abc'") + END, {"TERM": "dumb"})


def test_only_input_is_a_terminal(both, poold, script):
    """As in `python3 > out`: what is typed is echoed by the terminal, and nothing edits it."""
    command = script("""
import subprocess, sys
done = subprocess.run([*sys.argv[1:], "-q"], stdout=subprocess.PIPE)
print("it said", done)
""")
    results = []
    for program in ([PYTHON], [poold.program("poolctl"), "run", "--no-fallback"]):
        poold.wait_idle()
        child = pexpect.spawn(PYTHON, [str(command), *program], env=poold.env, timeout=DEADLINE)
        for text, typed in lines("print(5)\n1 / 0") + END:
            child.expect_exact(text)
            child.send(typed)
        child.expect(pexpect.EOF)
        child.close()
        results.append(child.before.decode().split("returncode")[1])
    assert results[0] == results[1] and "5\\n" in results[0]


def test_the_worker_ends_with_its_prompt(both, poold):
    child = pexpect.spawn(poold.program("poolctl"), ["run", "--no-fallback", "-q"], env=poold.env, timeout=DEADLINE)
    child.expect_exact(PROMPT)
    child.send("import os; os.getpid()\r")
    child.expect(r"\n(\d+)\r\n")
    worker = int(child.match[1])
    child.close(force=True)
    eventually("the worker to end with its terminal", lambda: not os.path.exists(f"/proc/{worker}"))


def test_a_pool_with_line_editing_falls_back(poold):
    """What has looked at poold's terminal at its import does not know the client's."""
    poold.start("[pool:default]\nsize = 1\nmodules = readline\n")
    done = poold.ctl("run", "-v", "-i", "-c", "print(1)")
    assert done.stdout == b"1\n" and b"line editing" in done.stderr
    poold.wait_idle()
    assert poold.run("-c", "print(2)").stdout == b"2\n"
