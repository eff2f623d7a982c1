"""When spent workers are replaced, and how many are kept."""

import os
import subprocess

import pytest

import harness
from harness import eventually

# A module that takes long to import, all of it CPU time.
SLOW_MODULE = """
import time
while time.process_time() < {seconds}:
    pass
"""

# Keeps every CPU busy until its standard input ends, and says when it has done so for a while.
USE_ALL_CPUS = """
import os, sys, time
children = []
for _ in range(2 * os.cpu_count()):
    pid = os.fork()
    if pid == 0:
        while True:
            pass
    children.append(pid)
print("busy", flush=True)
time.sleep(float(sys.argv[1]))
print("still busy", flush=True)
sys.stdin.read()
for pid in children:
    os.kill(pid, 9)
    os.waitpid(pid, 0)
"""

BUSY = "while True: pass"
WORK = """
import time
began, x = time.perf_counter(), 0
for i in range(6_000_000):
    x += i * i
print(time.perf_counter() - began)
"""


@pytest.fixture
def slow(tmp_path):
    """Makes a module that takes so many seconds of CPU time. Returns its lines for a pool."""

    def make(seconds):
        folder = tmp_path / "modules"
        folder.mkdir()
        (folder / "slow.py").write_text(SLOW_MODULE.format(seconds=seconds))
        return f"modules = slow\npath = {folder}\n"

    return make


def test_no_warm_up_beside_a_run_that_uses_all_cpus(poold, slow):
    """It waits for the run to end, unless it would take less than a fortieth of the CPU time."""
    poold.start(f"[poold]\nlog_level = debug\n[pool:default]\nsize = 2\n{slow(1)}")
    n_starts = poold.log.count("starting")
    run = poold.popen("-c", USE_ALL_CPUS, min(4, 10 / os.cpu_count()))
    assert run.stdout.readline() == "busy\n"
    assert run.stdout.readline() == "still busy\n"
    pool = poold.pool()
    assert (pool["busy"], pool["idle"], pool["starting"]) == (1, 1, 0)
    assert poold.log.count("starting") == n_starts
    run.communicate()
    poold.wait_idle()


def test_a_pool_is_refilled_even_if_no_cpu_is_ever_idle(poold, slow):
    poold.start(f"[pool:default]\nsize = 1\n{slow(0.2)}")
    run = poold.popen("-c", USE_ALL_CPUS, 0)
    poold.wait_idle()
    assert run.poll() is None
    run.communicate()


def test_a_pool_is_refilled_beside_a_run_that_leaves_a_cpu_idle(poold):
    poold.start("[pool:default]\nsize = 2\nmodules = json\n")
    run = poold.popen("-c", "import sys; sys.stdin.read()")
    poold.wait_idle()
    assert run.poll() is None
    run.communicate()


def test_refill_does_not_slow_the_run_that_caused_it(poold, slow):
    """
    Compared with one in a pool that is full, beside a process that keeps another CPU busy: that two CPUs may be threads of
    one core, and slow each other down, is no matter of refilling. Others use this machine, too: the best of several count.
    """
    poold.start(f"[pool:spent]\nsize = 3\n{slow(0.3)}\n[pool:full]\nsize = 1\n")
    times = {"spent": [], "full": []}

    def work(name):
        for pool in times:
            poold.wait_idle(pool)
        for _ in range(2 if name == "spent" else 0):  # the last one is for the work
            assert poold.run("--pool", name, "-c", "").returncode == 0
        neighbour = subprocess.Popen([harness.PYTHON, "-c", BUSY if name == "full" else ""])
        answer = poold.run("--pool", name, "-c", WORK)
        neighbour.kill()
        neighbour.wait()
        assert answer.returncode == 0, answer.stderr
        times[name].append(float(answer.stdout))

    def is_as_fast():
        work("full")
        work("spent")
        return len(times["full"]) >= 5 and min(times["spent"]) <= 1.05 * min(times["full"])

    eventually(lambda: f"a run beside a refill to be as fast as one without: {times}", is_as_fast, deadline=200)


def test_auto_grows_with_demand(poold, slow):
    poold.launch(f"[pool:default]\nsize = auto\nmin_idle = 0\nmax_idle = 2\n{slow(1)}")
    assert poold.pool()["size"] == 0
    for size in (1, 2, 2):
        assert poold.ctl("run", "-c", "print(1)").stdout == b"1\n"  # by python3
        assert poold.pool()["size"] == size
    assert poold.wait_idle()["idle"] == 2
    assert poold.run("-c", "print(2)").stdout == b"2\n"


def test_auto_shrinks_to_zero_without_demand(poold):
    poold.launch("[pool:default]\nsize = auto\nmin_idle = 0\nmax_idle = 4\n")
    assert poold.ctl("run", "-c", "").returncode == 0
    poold.wait_idle(count=1)
    eventually(lambda: f"an empty pool: {poold.pool()}", lambda: poold.pool()["size"] == poold.pool()["idle"] == 0)
    assert poold.pool()["state"] == "ready"


def test_an_old_worker_is_replaced(poold):
    poold.start("[pool:default]\nsize = 1\nmax_age = 1\n")
    (first,) = poold.workers("idle")
    eventually("another worker", lambda: poold.workers("idle") not in ([], [first]))


MEMINFO = "MemTotal: 16000000 kB\nMemFree: 100 kB\nMemAvailable: {available} kB\n"
HIDE_MEMORY = 'mount --bind "$0" /proc/meminfo && if [ -d /proc/pressure ]; then mount --bind "$1" /proc/pressure; fi && shift && exec "$@"'


def test_idle_workers_are_given_back_when_memory_is_scarce(poold, tmp_path):
    """By a pool that follows demand, also below min_idle. Others keep theirs."""
    meminfo, nothing = tmp_path / "meminfo", tmp_path / "nothing"
    meminfo.write_text(MEMINFO.format(available=8000000))
    nothing.mkdir()
    poold.start("[pool:fixed]\nsize = 1\n[pool:default]\nsize = auto\nmin_idle = 2\n",
                wrap=["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", HIDE_MEMORY, meminfo, nothing])
    kept = poold.workers("idle", "fixed")
    meminfo.write_text(MEMINFO.format(available=700000))
    eventually(lambda: f"all to be given back: {poold.pool()}", lambda: not poold.pool()["workers"])
    assert poold.pool()["size"] == 0 and poold.workers("idle", "fixed") == kept


def test_no_more_warm_up_at_once_than_max_starting(poold, tmp_path):
    """Of all pools together, each of which gets one before another gets more."""
    (tmp_path / "gate.py").write_text(f"import os, time\nwhile not os.path.exists({str(tmp_path / 'go')!r}):\n    time.sleep(0.01)\n")
    keys = f"size = 3\nmodules = gate\npath = {tmp_path}\n"
    poold.launch(f"[poold]\nmax_starting = 2\n[pool:one]\n{keys}[pool:other]\n{keys}")
    for _ in range(20):  # requests, each of which could start more
        assert poold.ctl("run", "-c", "").returncode == 0
        assert [pool["starting"] for pool in poold.status()["pools"]] == [1, 1]
    (tmp_path / "go").touch()
    for name in ("one", "other"):
        poold.wait_idle(name, 3)


def test_max_workers_caps_all_that_live(poold):
    """Those that run a script count, also for runs that wait."""
    poold.start("[pool:default]\nsize = 2\nmax_workers = 3\non_empty = wait\n")
    hold = "print(1, flush=True); input()"
    runs = [poold.popen("-c", hold) for _ in range(3)]
    assert all(run.stdout.readline() for run in runs)
    runs.append(poold.popen("-c", hold))
    eventually("it to wait", lambda: poold.pool()["waiting"] == 1)
    assert [worker["state"] for worker in poold.pool()["workers"]] == ["busy"] * 3
    runs[0].communicate("\n")
    assert runs[3].stdout.readline()
    for run in runs[1:]:
        assert run.communicate("\n")[1] == "" and run.returncode == 0
    assert poold.wait_idle()["idle"] == 2
