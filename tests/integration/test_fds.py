"""What the client had open is what the script has open, at the same numbers; and no more than that."""

import itertools
import os
import pathlib
import subprocess

import pytest
from harness import PYTHON

# Our own connections are sockets that no program started by the script gets, out of the way.
SHOW = """
import os
for fd in sorted(map(int, os.listdir("/proc/self/fd"))):
    try:
        target, inherited = os.readlink(f"/proc/self/fd/{fd}"), os.get_inheritable(fd)
        if not (fd > 500 and target.startswith("socket:") and not inherited):
            print(fd, target, inherited, file=out)
    except OSError:
        pass
"""


def both(poold, shell, *arguments, **options):
    """What `bash -c shell` gives with "$@" being python3 and being poolctl."""
    results = []
    for program in ([PYTHON], [poold.program("poolctl"), "run", "--no-fallback"]):
        done = subprocess.run(["bash", "-c", shell, "bash", *program, *map(str, arguments)], env=poold.env,
                              capture_output=True, timeout=60, **options)
        results.append((done.returncode, done.stdout, done.stderr))
    return results


def test_process_substitution(poold, script, tmp_path):
    poold.start()
    (tmp_path / "y").write_text("b\na\n")
    path = script("import sys\nprint([open(name).read() for name in sys.argv[1:]])")
    theirs, ours = both(poold, '"$@" <(sort y) <(sort -r y)', path, cwd=tmp_path)
    assert ours == theirs == (0, b"['a\\nb\\n', 'b\\na\\n']\n", b"")


@pytest.mark.parametrize("closed", [combination for n in range(4) for combination in itertools.combinations(range(3), n)],
                         ids=lambda closed: "".join(map(str, closed)) or "none")
def test_closed_standard_streams(poold, script, tmp_path, closed):
    path = script("import sys\nout = open('shown', 'w')\nprint(sys.stdin is None, sys.stdout is None,"
                  " sys.stderr is None, file=out)\n" + SHOW)
    redirections = " ".join(f"{fd}{'<' if fd == 0 else '>'}&-" for fd in closed)
    shown = []
    poold.start()
    for program in ([PYTHON], [poold.program("poolctl"), "run", "--no-fallback"]):
        streams = {name: open(tmp_path / name, "w+b") for name in ("0", "1", "2")}
        done = subprocess.run(["bash", "-c", f'"$@" {redirections}', "bash", *program, path], env=poold.env, cwd=tmp_path,
                              stdin=streams["0"], stdout=streams["1"], stderr=streams["2"], timeout=60)
        shown.append((done.returncode, (tmp_path / "shown").read_text(), *(stream.tell() for stream in streams.values())))
        (tmp_path / "shown").unlink()
    assert shown[0] == shown[1]


def test_every_open_file_arrives_at_its_number(poold, script, tmp_path):
    poold.start()
    (tmp_path / "file").write_text("text")
    path = script("import sys, os\nout = sys.stdout\n" + SHOW + "print(os.read(9, 10), os.write(200, b'written'))")
    shell = 'exec 9<file 100>>log 200>out 3</dev/null; "$@"'
    theirs, ours = both(poold, shell, path, cwd=tmp_path, stdin=subprocess.DEVNULL)
    # the pipes of the two runs are not the same
    strip = lambda text: [line for line in text.splitlines() if b"pipe:" not in line]
    assert (ours[0], strip(ours[1]), ours[2]) == (theirs[0], strip(theirs[1]), theirs[2])
    assert b"b'text' 7" in ours[1]
    assert (tmp_path / "out").read_text() == "written"


def test_close_on_exec_files_stay(poold, tmp_path):
    poold.start()
    with open(tmp_path / "private", "w") as private:
        assert not os.get_inheritable(private.fileno())
        done = poold.run("-c", "import sys\nout = sys.stdout\n" + SHOW)
    assert b"private" not in done.stdout


def test_a_script_has_nothing_of_poolds(poold):
    """But for one connection, of which the script's own programs get nothing."""
    poold.start()
    done = poold.run("-c", "import subprocess; subprocess.run(['ls', '-l', '/proc/self/fd'])")
    fds = [line.split()[-3] for line in done.stdout.decode().splitlines() if "->" in line]
    assert set(fds) <= {"0", "1", "2", "3"}, done.stdout


def test_what_poold_was_started_with_is_not_in_the_way(poold):
    poold.start(wrap=["bash", "-c", 'exec 7</etc/passwd 251</etc/passwd; exec "$@"', "bash"])
    theirs, ours = both(poold, 'exec 7</etc/hostname; "$@"', "-c", "import os; print(os.path.realpath('/proc/self/fd/7'))")
    assert ours == theirs == (0, b"/etc/hostname\n", b"")


def test_many_open_files(poold):
    poold.start()
    shell = 'for i in $(seq 20 150); do eval "exec $i</dev/null"; done; "$@"'
    code = "import os; print(sum(os.path.samefile(f'/proc/self/fd/{i}', '/dev/null') for i in range(20, 151)))"
    theirs, ours = both(poold, shell, "-c", code)
    assert ours == theirs == (0, b"131\n", b"")


@pytest.mark.parametrize("numbers", [[], [62], [63], [64], range(3, 63), range(3, 64), range(3, 65), [3, 639]],
                         ids=lambda numbers: f"{min(numbers, default='none')}-{max(numbers, default='none')}")
def test_wherever_the_files_are(poold, numbers):
    """Low ones are asked for by number, else they are listed."""
    poold.start()
    code = "import os; print([i for i in range(3, 640) if os.path.exists(f'/proc/self/fd/{i}') and os.get_inheritable(i)])"
    opened = "".join(f"exec {number}</dev/null; " for number in numbers)
    theirs, ours = both(poold, opened + 'exec "$@"', "-c", code)
    assert ours == theirs == (0, f"{list(numbers)}\n".encode(), b"")


@pytest.mark.parametrize("limit", [7, 8, 18, 19, 20])
def test_a_low_limit_of_open_files(poold, limit):
    """Either there is room for all that a warm run needs, or it is python3's."""
    poold.start()
    theirs, ours = [subprocess.run(["bash", "-c", f'ulimit -Sn {limit}; exec "$@"', "bash", *program, "-c", "print('once')"],
                                   env=poold.env, capture_output=True, timeout=60)
                    for program in ([PYTHON], [poold.program("poolctl"), "run"])]
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    assert (poold.pool()["hits"] == 1) == (limit >= 19)


def test_more_open_files_than_a_message_can_carry_fall_back(poold):
    poold.start()
    shell = 'ulimit -n 1024; for i in $(seq 20 500); do eval "exec $i</dev/null"; done; exec "$@"'
    code = "import os; print(sum(os.path.samefile(f'/proc/self/fd/{i}', '/dev/null') for i in range(20, 501)))"
    done = subprocess.run(["bash", "-c", shell, "bash", poold.program("poolctl"), "run", "-c", code], env=poold.env,
                          capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"481\n", b"")
    assert poold.wait_idle()["idle"] == 1


@pytest.mark.parametrize("limit", ["-S", ""], ids=["soft", "hard"])
def test_open_files_above_a_limit_that_was_lowered_later(poold, limit):
    """Where no file could be given its number any more, it is there in python3 all the same."""
    poold.start()
    shell = f'exec 300</dev/null; ulimit {limit} -n 256; exec "$@"'
    code = "import os; print(os.path.realpath('/proc/self/fd/300'))"
    done = subprocess.run(["bash", "-c", shell, "bash", poold.program("poolctl"), "run", "-c", code], env=poold.env,
                          capture_output=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"/dev/null\n", b"")
    assert poold.pool()["misses"] == ({"fds": 1} if not limit else {})


def test_pipeline(poold):
    poold.start()
    shell = 'seq 1 200000 | "$@" 2>err | cat; status=${PIPESTATUS[1]}; cat err >&2; exit $status'
    theirs, ours = both(poold, shell, "-c", "import sys; print(sum(map(int, sys.stdin)))", cwd=poold.folder)
    assert ours == theirs == (0, b"20000100000\n", b"")


def test_closed_pipe(poold):
    poold.start()
    theirs, ours = both(poold, '"$@" | head -1', "-c", "for i in range(100000): print(i)")
    assert ours == theirs


def test_stdout_and_stderr_stay_apart(poold):
    poold.start()
    done = poold.same_as_python3("-c", "import sys, os; print('out'); print('err', file=sys.stderr); os.system('echo sh >&2')")
    assert (done.stdout, done.stderr) == (b"out\n", b"err\nsh\n")


def test_pipeline_ends_when_the_script_does(poold):
    """Neither poold nor a worker keeps the client's pipe open."""
    poold.start("[pool:default]\nsize = 2\n")
    client = poold.popen("-c", "import os, sys; print('here', flush=True); sys.stdin.read()")
    assert client.stdout.readline() == "here\n"
    pipe = os.readlink(f"/proc/self/fd/{client.stdout.fileno()}")
    holders = [path for pid in [poold.pid, *poold.workers("idle")] for path in pathlib.Path(f"/proc/{pid}/fd").iterdir()
               if os.readlink(path) == pipe]
    assert not holders
    client.communicate(timeout=60)
