"""A warm run is python3: what it is given, and what it gives back."""

import os
import signal
import stat
import subprocess
import sys

import pytest
from harness import PYTHON

SHOW = """
import sys, os
print(sys.argv, __name__, globals().get("__file__"), sys.path[0], __spec__ and __spec__.name)
print(sorted(name for name in globals() if name.startswith("__")))
print("to stderr", file=sys.stderr)
"""


@pytest.mark.parametrize("arguments", [
    ["{script}"],
    ["{script}", "one", "two words", "", "-v", "--", "\udcff"],
    ["-c", SHOW],
    ["-c", SHOW, "a", "-c", "b"],
    ["-m", "package.module", "a"],
    ["-m", "package"],
    ["script.py"],
    ["./script.py"],
    ["--", "{script}", "a"],
])
def test_is_given_its_arguments(poold, tmp_path, script, arguments):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text(SHOW)
    (package / "module.py").write_text(SHOW)
    arguments = [argument.format(script=script(SHOW)) for argument in arguments]
    poold.start()
    done = poold.same_as_python3(*arguments, cwd=tmp_path)
    assert b"__main__" in done.stdout


@pytest.mark.parametrize("kind", ["app", "app.zip"])
def test_folders_and_archives(poold, tmp_path, kind):
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "__main__.py").write_text(SHOW)
    subprocess.run([sys.executable, "-m", "zipfile", "-c", tmp_path / "app.zip", folder / "__main__.py"], check=True)
    poold.start()
    poold.same_as_python3(f"{tmp_path}/{kind}", "a")


@pytest.mark.parametrize("arguments", [[], ["-"], ["-", "a", "b"]])
def test_reads_its_program_from_stdin(poold, arguments):
    poold.start()
    done = poold.same_as_python3(*arguments, input=SHOW.encode())
    assert done.stderr == b"to stderr\n"


def test_standard_input_is_the_clients(poold, script):
    poold.start()
    text = b"first\nsecond, without an end"
    done = poold.same_as_python3(script("import sys\nprint(input())\nprint(repr(sys.stdin.read()))"), input=text)
    assert done.stdout == b"first\n'second, without an end'\n"


def test_newlines_of_standard_input_are_left_alone(poold):
    poold.start()
    done = poold.same_as_python3("-c", "import sys; print(repr(sys.stdin.read()))", input=b"a\r\nb\rc\n")
    assert done.stdout == b"'a\\r\\nb\\rc\\n'\n"


@pytest.mark.parametrize("code", [
    "pass", "import sys; sys.exit()", "import sys; sys.exit(3)", "import sys; sys.exit(-1)", "import sys; sys.exit(256 + 4)",
    "import sys; sys.exit('a reason')", "import sys; sys.exit((1, 2))", "raise SystemExit(9)", "exit(5)", "1 / 0",
    "raise ValueError('x') from KeyError('y')", "import os; os._exit(42)", "raise KeyboardInterrupt",
    "import os; os.execv('/bin/sh', ['sh', '-c', 'echo exec; exit 6'])",
    "import os; os.abort()", "import ctypes; ctypes.string_at(0)",
    "import os, signal; os.kill(os.getpid(), signal.SIGTERM)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "import sys; sys.stdout.write('unflushed'); sys.exit(2)",
])
def test_ends_with_its_status(poold, code):
    poold.start()
    poold.same_as_python3("-c", code)


@pytest.mark.parametrize("text", ["def f(:\n", "if True:\npass\n", "print('\n", "print(1)\n  x"])
def test_syntax_errors_are_pythons(poold, script, text):
    poold.start()
    poold.same_as_python3(script(text), fallback=True)


def test_traceback_has_no_frame_of_ours(poold, script):
    poold.start()
    path = script("import sys\n\ndef f():\n    raise RuntimeError(sys._getframe(1).f_back)\n\nf()\n")
    assert b"RuntimeError: None" in poold.same_as_python3(path).stderr


@pytest.mark.parametrize("prepare", ["missing", "folder-without-main", "unreadable"])
def test_unusable_scripts_are_refused_as_python3_does(poold, tmp_path, script, prepare):
    path = tmp_path / "script"
    if prepare == "folder-without-main":
        path.mkdir()
    elif prepare == "unreadable":
        path.write_text("pass")
        path.chmod(0)
    # root may read everything; without the capabilities it is as anybody
    wrap = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"] if os.getuid() == 0 else []
    poold.start(wrap=wrap)
    poold.wait_idle()

    def both(*command):
        return subprocess.run([*wrap, *command, path], env=poold.env, capture_output=True)

    theirs, ours = both(PYTHON), both(poold.program("poolctl"), "run")
    assert theirs.returncode in (1, 2)
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)


def test_works_in_the_clients_folder(poold, tmp_path):
    poold.start()
    done = poold.same_as_python3("-c", "import os; print(os.getcwd())", cwd=tmp_path)
    assert done.stdout == f"{tmp_path}\n".encode()


def test_works_in_a_removed_folder(poold, tmp_path):
    poold.start()
    code = "import os\ntry: os.getcwd()\nexcept FileNotFoundError: print('gone')"
    gone = tmp_path / "gone"
    for program in ([PYTHON], [poold.program("poolctl"), "run", "--no-fallback"]):
        gone.mkdir()
        done = subprocess.run(["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", *program, "-c", code], cwd=gone,
                              env=poold.env, capture_output=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"gone\n", b"")


ENVIRONMENT = """
import ctypes, os, time
getenv = ctypes.CDLL(None).getenv
getenv.restype = ctypes.c_char_p
names = sorted(os.environ)
print(names)
for name in names:
    assert getenv(os.fsencode(name)) == os.environb[os.fsencode(name)], name
print({name: os.environ[name] for name in names if len(os.environ[name]) < 1000})
print(sum(map(len, os.environ.values())), time.tzname, time.localtime(0).tm_hour, os.path.expanduser("~"))
"""


@pytest.mark.parametrize("change", [
    {},
    {"NEW": "value", "EMPTY": "", "TWO LINES": "a\nb", "BYTES": "\udcff\udc80"},
    {"TZ": "Asia/Kathmandu"},
    {"TZ": "XYZ-3"},
    {f"BIG_{i}": "x" * 100_000 for i in range(20)},
], ids=["plain", "odd", "tz", "tz-posix", "2-MB"])
def test_environment_is_the_clients_own_and_complete(poold, change):
    poold.start(env={"ONLY_OF_POOLD": "1"})
    done = poold.same_as_python3("-c", ENVIRONMENT, env=poold.env | change)
    assert b"ONLY_OF_POOLD" not in done.stdout


def test_another_home_has_its_own_packages(poold, tmp_path):
    """The user's site-packages are the client's."""
    poold.start()
    poold.same_as_python3("-c", "import sys, os; print(sys.path, os.environ['HOME'])", fallback=True,
                          env=poold.env | {"HOME": str(tmp_path)})


def test_programs_it_starts_see_the_clients_environment(poold):
    poold.start(env={"ONLY_OF_POOLD": "1"})
    code = "import subprocess; subprocess.run('env | sort', shell=True)"
    done = poold.same_as_python3("-c", code, env=poold.env | {"MINE": "2"})
    assert b"MINE=2" in done.stdout and b"ONLY_OF_POOLD" not in done.stdout


def test_umask_nice_and_limits_are_the_clients(poold, tmp_path):
    poold.start()
    code = ("import os, resource; open('made', 'w').close(); print(oct(os.umask(0)), os.nice(0), resource.getrlimit(resource.RLIMIT_NOFILE),"
            " resource.getrlimit(resource.RLIMIT_CORE))")
    modes = []
    for program in ([PYTHON], [poold.program("poolctl"), "run", "--no-fallback"]):
        done = subprocess.run(["bash", "-c", 'umask 027; ulimit -n 300; ulimit -c 0; exec nice -n 3 "$@"', "bash",
                               *program, "-c", code], cwd=tmp_path, env=poold.env, capture_output=True)
        modes.append((done.returncode, done.stdout, done.stderr, stat.S_IMODE((tmp_path / "made").stat().st_mode)))
        (tmp_path / "made").unlink()
    assert modes[0] == modes[1]
    assert modes[1][1:] == (b"0o27 3 (300, 300) (0, 0)\n", b"", 0o640 & ~0o027)


def test_ignored_signals_stay_ignored(poold):
    poold.start()
    code = "import signal; print(*(signal.getsignal(n) for n in (1, 2, 3, 10, 13, 15)))"
    done = []
    for program in ([PYTHON], [poold.program("poolctl"), "run", "--no-fallback"]):
        done.append(subprocess.run(["bash", "-c", 'trap "" HUP INT USR1; exec "$@"', "bash", *program, "-c", code],
                                   env=poold.env, capture_output=True))
    assert (done[0].returncode, done[0].stdout, done[0].stderr) == (done[1].returncode, done[1].stdout, done[1].stderr)


def test_two_runs_share_nothing(poold):
    code = ("import os, random, sys; print(os.getpid(), random.random(), hash('a'),"
            " next(line for line in open('/proc/self/maps') if '[stack]' in line).split('-')[0], sys.modules.get('wave'));"
            " import wave")
    poold.start("[pool:default]\nsize = 3\n")
    runs = [poold.run("-c", code).stdout.split() for _ in range(3)]
    for column in range(4):
        assert len({run[column] for run in runs}) == 3, runs
    assert {run[4] for run in runs} == {b"None"}


def test_a_worker_serves_one_run(poold):
    poold.start("[pool:default]\nsize = 1\n")
    worker, = poold.workers("idle")
    assert int(poold.run("-c", "import os; print(os.getpid())").stdout) == worker
    poold.wait_idle()
    assert worker not in poold.workers("idle")


def test_poolpython_is_an_interpreter(poold, tmp_path):
    poold.start()
    path = tmp_path / "tool"
    path.write_text(f"#!{poold.program('poolpython')}\nimport sys; print(sys.argv[1:]); sys.exit(3)\n")
    path.chmod(0o755)
    done = subprocess.run([path, "a", "--json"], env=poold.env, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"['a', '--json']\n", b"")
    poold.wait_idle()
    done = subprocess.run([poold.program("poolpython"), "-c", "print(1)"], env=poold.env, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")
    assert poold.pool()["hits"] == 2


# An interpreter may be found by its real path, and started under any name.
@pytest.mark.parametrize("name", ["", "nowhere", "run", "/usr/bin/python3"])
def test_poolpython_by_any_name(poold, name):
    poold.start()
    file = os.path.realpath(poold.program("poolpython"))
    done = subprocess.run([name, "-c", "print(1)"], executable=file, env=poold.env, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")
    assert poold.pool()["hits"] == 1


def test_poolpython_by_any_link(poold, tmp_path):
    poold.start()
    link = tmp_path / "program.exe"
    link.symlink_to(poold.program("poolpython"))
    done = subprocess.run([link, "-c", "print(1)"], env=poold.env, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")


def test_a_script_is_not_taken_for_poolpython(poold, tmp_path):
    poold.start()
    path = tmp_path / "python_script"
    path.write_text(f"#!{poold.program('poolctl')} run\nprint(1)\n")
    path.chmod(0o755)
    done = subprocess.run([path], env=poold.env, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP, signal.SIGQUIT],
                         ids=lambda number: number.name)
class TestSignals:
    HANDLE = """
import os, signal, sys, time
def handler(number, frame):
    os.write(1, b"got %d\\n" % number)  # print() may be in the middle of the other one
    sys.exit(7)
signal.signal(int(sys.argv[1]), handler)
print("ready", flush=True)
while True:
    time.sleep(0.1)  # a signal just before one long wait would not be handled until that ends
"""

    def test_reaches_the_script(self, poold, number):
        poold.start()
        client = poold.popen("-c", self.HANDLE, int(number))
        assert client.stdout.readline() == "ready\n"
        client.send_signal(number)
        assert client.communicate(timeout=60) == (f"got {int(number)}\n", "")
        assert client.returncode == 7

    def test_kills_client_and_script(self, poold, number):
        poold.start()
        code = "import os, resource, time; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n" \
               "print(os.getpid(), flush=True)\ntime.sleep(600)"
        client = poold.popen("-c", code)
        client.stdout.readline()
        client.send_signal(number)
        error = client.communicate(timeout=60)[1]
        assert client.returncode == -number
        assert ("KeyboardInterrupt" in error) == (number == signal.SIGINT)
