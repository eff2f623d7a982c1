"""What holds a run: run_timeout, memory_max, the niceness of a warm-up, env_sensitive."""

import os
import pathlib
import resource
import signal
import time

import pytest

import harness

# What a process has and may change for a run: the scheduling, as sched_getattr(2) has it.
NICE = "import os, sys; sys.stdout.write(f'{os.getpriority(os.PRIO_PROCESS, 0)} {os.sched_getscheduler(0)}')"

BUSY_UNTIL_TOLD = """\
import os, sys, time
print(os.getpid(), flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
"""

IGNORES = "import signal, sys, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(1, flush=True)\ntime.sleep(600)\n"


def said(seconds, pool="default"):
    return f'poolctl: ended after {seconds} s, the run_timeout of pool "{pool}"\n'.encode()


def start(poold, keys, **options):
    return poold.start(f"[pool:default]\nsize = 1\n{keys}", **options)


# --- run_timeout ---


def test_run_that_lasts_longer_is_ended(poold):
    start(poold, "run_timeout = 1\n")
    began = time.monotonic()
    run = poold.run("-c", "import time; print('begun', flush=True); time.sleep(600)")
    assert (run.returncode, run.stdout, run.stderr) == (-signal.SIGTERM, b"begun\n", said(1))
    assert 1 <= time.monotonic() - began < 10
    poold.wait_log('ended after 1 s, the run_timeout of pool "default"')


def test_time_begins_with_the_run_and_not_with_the_worker(poold):
    start(poold, "run_timeout = 2\n")
    worker, = poold.workers("idle")
    harness.eventually("the worker to be older than any run may be", lambda: poold.pool()["workers"][0]["age_s"] > 3)
    run = poold.run("-c", "import os; print(os.getpid())")
    assert (run.returncode, run.stdout, run.stderr) == (0, f"{worker}\n".encode(), b"")


def test_no_timeout_is_none(poold):
    """The key's own value, and what one pool has is not another's."""
    poold.start("[pool:default]\nsize = 1\n[pool:short]\nsize = 1\nrun_timeout = 1\n")
    long = poold.popen("-c", "print(1, flush=True); input()")
    assert long.stdout.readline() == "1\n"
    short = poold.run("-c", "import time; time.sleep(600)", env=poold.env | {"POOLD_POOL": "short"})
    assert short.stderr == said(1, "short")
    assert long.communicate("go\n") == ("", "")
    assert long.returncode == 0


@pytest.mark.parametrize("code, status, out", [
    ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(0)); time.sleep(600)", 0, b""),
    ("signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); time.sleep(600)", 7, b""),
    ("try: time.sleep(600)\nfinally: print('never')", -signal.SIGTERM, b""),
    ("signal.signal(signal.SIGTERM, lambda *_: sys.exit()); atexit.register(print, 'end')\ntime.sleep(600)", 0, b"end\n"),
], ids=["0", "7", "default", "atexit"])
def test_script_keeps_its_own_end(poold, code, status, out):
    start(poold, "run_timeout = 1\n")
    run = poold.run("-c", f"import atexit, signal, sys, time\n{code}")
    assert (run.returncode, run.stdout, run.stderr) == (status, out, said(1))


def test_one_that_ignores_it_is_killed_ten_seconds_later(poold):
    start(poold, "run_timeout = 1\n")
    began = time.monotonic()
    run = poold.run("-c", IGNORES)
    assert (run.returncode, run.stderr) == (-signal.SIGKILL, said(1))
    assert time.monotonic() - began >= 11


def test_whole_process_group_is_ended(poold, tmp_path):
    start(poold, "run_timeout = 1\n")
    code = ("import os, subprocess, sys, time\nchild = subprocess.Popen(['sleep', '600'])\n"
            "open('child', 'w').write(str(child.pid))\ntime.sleep(600)\n")
    assert poold.run("-c", code, cwd=tmp_path).returncode == -signal.SIGTERM
    child = int((tmp_path / "child").read_text())
    harness.eventually("the child to end", lambda: not harness.alive(child))


def test_stopped_run_is_ended(poold):
    """It has to go on to hear of it. Nobody but the keeper could continue it: poolctl is stopped, too."""
    start(poold, "run_timeout = 2\n")
    run = poold.popen("-c", "import os, signal; print(os.getpid(), flush=True); os.kill(os.getpid(), signal.SIGSTOP)")
    pid = int(run.stdout.readline())
    harness.eventually("the run to be stopped", lambda: harness.state_of(pid) == "T")
    harness.eventually("the run to end", lambda: not harness.alive(pid))
    os.kill(run.pid, signal.SIGCONT)
    assert run.communicate(timeout=harness.DEADLINE)[1].encode() == said(2)
    assert run.returncode == -signal.SIGTERM


def test_timeout_holds_without_poold(poold):
    start(poold, "run_timeout = 3\n")
    run = poold.popen("-c", "import time; print(1, flush=True); time.sleep(600)")
    assert run.stdout.readline() == "1\n"
    poold.kill(signal.SIGKILL)
    assert run.communicate(timeout=harness.DEADLINE)[1].encode() == said(3)
    assert run.returncode == -signal.SIGTERM


def test_timeout_holds_under_the_next_poold(poold):
    """Which has other limits: the run keeps those that it began with."""
    start(poold, "run_timeout = 4\n")
    run = poold.popen("-c", "import time; print(1, flush=True); time.sleep(600)")
    assert run.stdout.readline() == "1\n"
    poold.kill(signal.SIGKILL)
    start(poold, "run_timeout = 600\n")
    assert run.communicate(timeout=harness.DEADLINE)[1].encode() == said(4)
    assert run.returncode == -signal.SIGTERM


def test_timeout_at_a_terminal(poold, tmp_path):
    """The script has it raw, and the line is written when the user has it back."""
    import pexpect
    start(poold, "run_timeout = 2\n")
    child = pexpect.spawn(poold.program("poolctl"), ["run", "--no-fallback", "-c",
                          "import tty, time; tty.setraw(0); print('raw', flush=True); time.sleep(600)"],
                          env=poold.env, timeout=harness.DEADLINE)
    child.expect_exact("raw")
    child.expect_exact(said(2).strip().decode() + "\r\n")
    child.expect(pexpect.EOF)
    child.wait()
    assert child.signalstatus == signal.SIGTERM


# --- memory_max, without control groups ---

GRAB = "import sys\ntry: data = bytearray(int(sys.argv[1]))\nexcept MemoryError: print('no')\nelse: print('yes')\n"


def test_memory_max_of_a_process(poold):
    """Its own memory counts, not what it only reserves or shares."""
    start(poold, "memory_max = 300M\n")
    poold.wait_log("memory_max holds for each process alone: ")
    assert poold.run("-c", GRAB, 200 << 20).stdout == b"yes\n"
    poold.wait_idle()
    assert poold.run("-c", GRAB, 300 << 20).stdout == b"no\n"
    poold.wait_idle()
    reserve = "import mmap; mmap.mmap(-1, 4 << 30, mmap.MAP_PRIVATE | 0x4000, mmap.PROT_READ); print('yes')"
    assert poold.run("-c", reserve).stdout == b"yes\n"


def test_memory_max_cannot_be_raised_by_raising_the_soft_limit(poold):
    start(poold, "memory_max = 300M\n")
    code = "import resource; print(*resource.getrlimit(resource.RLIMIT_DATA))"
    assert poold.run("-c", code).stdout == f"{300 << 20} {300 << 20}\n".encode()


def test_memory_max_is_for_runs_and_not_for_warm_ups(poold, tmp_path):
    (tmp_path / "large.py").write_text("data = bytearray(400 << 20)\n")
    start(poold, f"memory_max = 300M\nmodules = large\npath = {tmp_path}\n")
    assert poold.run("-c", "import large; print(len(large.data))").stdout == f"{400 << 20}\n".encode()


def test_limit_of_the_client_stays(poold):
    """One that the worker cannot take over is a miss, whatever memory_max is."""
    start(poold, "memory_max = 600M\n")

    def limit():
        resource.setrlimit(resource.RLIMIT_DATA, (500 << 20, 500 << 20))

    run = poold.ctl("run", "-c", "import resource; print(*resource.getrlimit(resource.RLIMIT_DATA))", preexec_fn=limit)
    assert run.stdout == f"{500 << 20} {500 << 20}\n".encode()
    assert {"reason": "limits"}.items() <= {"reason": next(iter(poold.pool()["misses"]))}.items()


def test_no_memory_max_is_none(poold):
    start(poold, "")
    code = "import resource; print(*resource.getrlimit(resource.RLIMIT_DATA))"
    poold.same_as_python3("-c", code)


# --- nice ---

# Says how it finds itself, and waits, so that the worker can be looked at.
SLOW = """\
import os, threading, time
first = os.getpriority(os.PRIO_PROCESS, 0)
thread = threading.Thread(target=time.sleep, args=(600,), daemon=True)
thread.start()
open("{folder}/pid", "w").write(str(os.getpid()))
while not os.path.exists("{folder}/go"):
    time.sleep(0.01)
"""


def niceness_of(pid):
    """Of each of its threads."""
    return [int((task / "stat").read_text().rpartition(")")[2].split()[16])
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]


def warm_up(poold, folder, keys="", **options):
    """Starts poold with a worker that warms up until the file `go` is there, and returns its pid."""
    (folder / "slow.py").write_text(SLOW.format(folder=folder))
    poold.launch(f"[pool:default]\nsize = 1\nmodules = slow\npath = {folder}\n{keys}", **options)
    text = harness.eventually("the warm-up", lambda: (folder / "pid").exists() and (folder / "pid").read_text())
    return int(text)


@pytest.mark.parametrize("keys, nice", [("", 10), ("nice = 0\n", 0), ("nice = 19\n", 19), ("nice = 3\n", 3)])
def test_warm_up_is_nice_and_its_run_is_not(poold, tmp_path, keys, nice):
    worker = warm_up(poold, tmp_path, keys, wrap=MAY_BE_NICE)
    assert niceness_of(worker) == [nice, nice]
    assert harness.children_of(worker) == []
    (tmp_path / "go").touch()
    poold.wait_idle()
    assert niceness_of(worker) == [0, 0]
    poold.same_as_python3("-c", NICE)


# Lets a command go back to its niceness of now, whoever it runs as.
MAY_BE_NICE = ["sh", "-c", f'{" ".join(harness.AS_ROOT)} prlimit --nice=20:20 --pid $$ && exec "$@"', "sh"] \
    if harness.AS_ROOT else []
# Takes away what would let it.
MAY_NOT = ["prlimit", "--nice=0:0", *(["setpriv", "--inh-caps=-sys_nice", "--bounding-set=-sys_nice"]
                                      if os.geteuid() == 0 else [])]


@pytest.mark.parametrize("nice", [0, 5, 12])
def test_run_has_the_clients_niceness(poold, tmp_path, nice):
    """Also one that is less nice than the warm-up was."""
    worker = warm_up(poold, tmp_path, wrap=MAY_BE_NICE)
    assert niceness_of(worker) == [10, 10]
    (tmp_path / "go").touch()
    poold.wait_idle()
    assert poold.run("-c", NICE, preexec_fn=lambda: os.nice(nice)).stdout == f"{nice} 0".encode()


def test_nicer_poold_stays_so(poold, tmp_path):
    worker = warm_up(poold, tmp_path, "nice = 5\n", wrap=["nice", "-n", "12", *MAY_BE_NICE])
    assert niceness_of(worker) == [12, 12]
    (tmp_path / "go").touch()
    poold.wait_idle()
    assert niceness_of(worker) == [12, 12]


def test_no_niceness_that_could_not_be_taken_back(poold, tmp_path):
    worker = warm_up(poold, tmp_path, wrap=MAY_NOT)
    assert niceness_of(worker) == [0, 0]
    assert poold.log.count("info: workers warm up without niceness") == 1
    (tmp_path / "go").touch()
    poold.wait_idle()


# --- env_sensitive ---


def explain(poold, **variables):
    return poold.ctl("explain", "-c", "0", env=poold.env | variables).stdout.decode()


def test_variables_that_the_pool_names(poold):
    start(poold, "env_sensitive = MY_MODEL, SHOP_*\nenv.SHOP_SIZE = 3\n")
    assert "environment" in explain(poold)  # SHOP_SIZE is set in the workers only
    fitting = {"SHOP_SIZE": "3"}
    run = poold.run("-c", "import os; print(os.environ['SHOP_SIZE'])", env=poold.env | fitting)
    assert (run.returncode, run.stdout) == (0, b"3\n")
    poold.wait_idle()

    for variables, what in [
            ({"SHOP_SIZE": "4"}, "SHOP_SIZE is different in the pool's workers"),
            ({"SHOP_SIZE": "3", "SHOP_OWNER": "me"}, "SHOP_OWNER is not set in the pool's workers"),
            ({"SHOP_SIZE": "3", "MY_MODEL": ""}, "MY_MODEL is not set in the pool's workers"),
            ({}, "SHOP_SIZE is set in the pool's workers only")]:
        answer = explain(poold, **variables)
        assert what in answer and "environment" in answer
        run = poold.run("-c", "print('never')", env=poold.env | variables)
        assert run.returncode == 125 and what in run.stderr.decode() and run.stdout == b""
    assert poold.pool()["misses"] == {"environment": 4}

    for variables in {"MY_MODELS": "1"}, {"MY": "1"}, {"SHOP": "1"}:  # other names
        run = poold.run("-c", "print(1)", env=poold.env | fitting | variables)
        assert run.stdout == b"1\n", run.stderr
        poold.wait_idle()


def test_named_variable_that_else_could_be_applied_late(poold):
    start(poold, "env_sensitive = PYTHONPATH, PYTHONBREAKPOINT\n")
    for name in "PYTHONPATH", "PYTHONBREAKPOINT":
        assert f"{name} is not set in the pool's workers" in explain(poold, **{name: "/nonesuch"})


def test_variables_that_nobody_names_do_not_matter(poold):
    start(poold, "")
    for name in "SHOP_SIZE", "PYTHONBREAKPOINT":
        assert "environment" not in explain(poold, **{name: "/nonesuch"})
