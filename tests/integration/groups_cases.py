"""A control group for each worker. test_groups.py runs this as root of a machine with nothing else in it."""

import os
import pathlib
import signal

import pytest

import harness
from harness import eventually

ROOT = pathlib.Path("/sys/fs/cgroup")

# Takes more memory than any memory_max here, by touching it.
GRAB = "import sys\nprint('begun', flush=True)\ndata = bytearray(200 << 20)\nfor i in range(0, len(data), 4096): data[i] = 1\nprint('never')\n"
WAITS = "import os\nprint(os.getpid(), flush=True)\nprint('heard', input())\n"
LIMITED = "[pool:default]\nsize = 1\nmemory_max = 64M\n"


class Base:
    """What poold has been delegated."""

    def __init__(self, path):
        self.path = path
        path.mkdir()

    def enter(self):
        """What to put before a command that is to run there."""
        return ["sh", "-c", f'echo $$ >{self.path}/cgroup.procs && exec "$@"', "sh"]

    def workers(self):
        return sorted(self.path.glob("worker-*"))

    def processes(self, group):
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]

    def of(self, pid):
        """The process's group."""
        line, = [line for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines() if line.startswith("0::")]
        return ROOT / line[len("0::/"):]


@pytest.fixture
def base(tmp_path):
    (ROOT / "cgroup.subtree_control").write_text("+memory")
    base = Base(ROOT / f"poold-test-{os.getpid()}-{tmp_path.name}")
    yield base

    def remove():
        for folder, _, _ in os.walk(base.path, topdown=False):
            os.rmdir(folder)
        return True

    def removed():
        try:
            return remove()
        except OSError:
            return False

    eventually("the groups to be empty", removed)


@pytest.fixture
def poold(base, prefix, tmp_path):
    """As everywhere, but gone before its groups are."""
    with harness.supervised(prefix, tmp_path) as supervisor:
        yield supervisor


def start(poold, base, ini=LIMITED):
    return poold.start(ini, wrap=base.enter())


def waiting(poold, **options):
    """A run that has begun, and its pid."""
    poold.wait_idle()
    run = poold.popen("-c", WAITS, **options)
    return run, int(run.stdout.readline())


def expect_its_own_end(run):
    assert run.communicate("all clear\n", timeout=harness.DEADLINE) == ("heard all clear\n", "")
    assert run.returncode == 0


def expect_oom(run):
    assert (run.returncode, run.stdout) == (-signal.SIGKILL, b"begun\n")
    assert run.stderr == f'poolctl: killed for its memory, by the memory_max of pool "default", {64 << 20} bytes\n'.encode()


def test_each_worker_has_its_own(poold, base):
    start(poold, base, "[pool:default]\nsize = 2\nmemory_max = 64M\n[pool:free]\nsize = 1\n")
    assert base.of(poold.pid) == base.path / "poold"
    for pool, limit in ("default", str(64 << 20)), ("free", "max"):
        for pid in poold.workers("idle", pool):
            group = base.of(pid)
            assert group.parent == base.path and base.processes(group) == [pid]
            assert (group / "memory.max").read_text().strip() == limit
            assert base.of(harness.parent_of(pid)) == base.path / "poold"
    assert len(base.workers()) == 3
    assert "memory_max holds for each process alone" not in poold.log


def test_a_run_that_takes_too_much_dies_alone(poold, base):
    start(poold, base, LIMITED.replace("size = 1", "size = 3"))
    before = poold.pid
    other, other_pid = waiting(poold)
    expect_oom(poold.run("-c", GRAB))
    poold.wait_log("killed for its memory, by the memory_max of pool")
    poold.wait_idle(count=1)  # more would come only when a CPU is idle, and there is but one, which asks for them
    assert harness.alive(other_pid)
    expect_its_own_end(other)
    assert poold.pid == before and poold.process.poll() is None
    done = poold.run("-c", "print(1)")
    assert done.stdout == b"1\n", (done, poold.log)


def test_all_of_its_processes_count(poold, base):
    """The script sees one of them die, as under docker; its own status is its own."""
    start(poold, base)
    code = f"import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', {GRAB!r}], capture_output=True).returncode)"
    run = poold.run("-c", code)
    assert (run.returncode, run.stdout, run.stderr) == (0, b"-9\n", b"")


def test_a_kill_for_another_reason_is_not_explained(poold, base):
    start(poold, base)
    run = poold.run("-c", "import os; os.kill(os.getpid(), 9)")
    assert (run.returncode, run.stderr) == (-signal.SIGKILL, b"")


def test_no_limit_but_a_group(poold, base):
    start(poold, base, "[pool:default]\nsize = 1\n")
    assert poold.run("-c", GRAB).stdout == b"begun\nnever\n"


def test_timeout_and_memory_max(poold, base):
    start(poold, base, LIMITED + "run_timeout = 2\n")
    run = poold.run("-c", "import time; time.sleep(600)")
    assert run.returncode == -signal.SIGTERM and b"ended after 2 s" in run.stderr


def test_groups_go_with_their_runs(poold, base):
    start(poold, base)
    for i in range(3):
        assert poold.run("-c", "print(1)").returncode == 0
        poold.wait_idle()
    eventually(lambda: f"{base.workers()} to be one", lambda: len(base.workers()) == 1)
    idle, = poold.workers("idle")
    assert base.workers() == [base.of(idle)]
    poold.stop()
    eventually(lambda: f"{base.workers()} to be none", lambda: not base.workers())


def test_what_a_run_leaves_behind_keeps_its_group(poold, base, tmp_path):
    start(poold, base)
    code = ("import subprocess\n"
            "print(subprocess.Popen(['sleep', '600'], stdin=-3, stdout=-3, stderr=-3, start_new_session=True).pid)")
    left = int(poold.run("-c", code).stdout)
    group = base.of(left)
    poold.wait_idle()
    assert poold.run("-c", "print(1)").returncode == 0
    poold.wait_idle()
    assert harness.alive(left) and base.processes(group) == [left]
    os.kill(left, signal.SIGKILL)
    eventually("it to end", lambda: not harness.alive(left))
    harness.reap()
    assert poold.run("-c", "print(1)").returncode == 0
    eventually("its group to be removed", lambda: not group.exists())


def test_next_poold(poold, base):
    """It removes what is empty, and leaves running scripts their limit, also if the controller was off meanwhile."""
    start(poold, base)
    run, pid = waiting(poold)
    group = base.of(pid)
    poold.kill(signal.SIGKILL)
    eventually("the idle workers to leave", lambda: base.workers() == [group])
    (base.path / "worker-999999999-7-0").mkdir()
    (base.path / "cgroup.subtree_control").write_text("-memory")  # as poold.service does
    assert not (group / "memory.max").exists()

    start(poold, base, "[pool:default]\nsize = 1\n")
    assert not (base.path / "worker-999999999-7-0").exists()
    assert harness.alive(pid) and base.of(pid) == group
    assert (group / "memory.max").read_text() == f"{64 << 20}\n"
    expect_its_own_end(run)
    eventually("the group to be removed", lambda: not group.exists())


def test_run_of_a_killed_poold_is_told(poold, base):
    """The keeper tells: it is not in the group, and needs no poold."""
    start(poold, base)
    poold.wait_idle()
    run = poold.popen("-c", "input()\n" + GRAB)
    eventually("the run", lambda: poold.pool()["busy"] == 1)
    poold.kill(signal.SIGKILL)
    out, err = run.communicate("go\n", timeout=harness.DEADLINE)
    assert run.returncode == -signal.SIGKILL and "killed for its memory" in err


def test_group_with_others_in_it_is_left_alone(poold, base):
    """memory_max then holds for each process."""
    poold.start(LIMITED, wrap=["sh", "-c", f'echo $$ >{base.path}/cgroup.procs; sleep 600 & "$@"; s=$?; kill $!; exit $s', "sh"])
    poold.wait_log("memory_max holds for each process alone: there are other processes in poold's control group")
    assert list(base.path.glob("*/")) == []
    run = poold.run("-c", GRAB)
    assert run.returncode == 1 and b"MemoryError" in run.stderr
    os.kill(poold.status()["pid"], signal.SIGTERM)
    assert poold.process.wait(harness.DEADLINE) == 0


def test_run_in_a_run_does_not_get_around_its_limit(poold, base):
    start(poold, base, LIMITED.replace("size = 1", "size = 2"))
    code = "import subprocess, sys\nprint(subprocess.run([sys.argv[1], 'explain', '-c', '0'], capture_output=True, text=True).stdout)"
    answer = poold.run("-c", code, poold.program("poolctl")).stdout.decode()
    assert "cgroup" in answer and "a limit on memory holds" in answer
    poold.wait_idle()
    assert poold.ctl("explain", "-c", "0").stdout.decode().find("cgroup") < 0
