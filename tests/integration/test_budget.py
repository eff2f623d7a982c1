"""What a warm run may cost, in counts that do not depend on the machine's mood: instructions and system calls.

A budget is about twice what a run took when it was set: it does not see a percent, but does see a second round trip, a
file that is read for each run, or a loop over all fds. Who makes a run cheaper lowers it.
"""

import os
import re
import shutil
import statistics
import subprocess

import pytest

import harness
from harness import eventually

RUNS = 5
BUDGET = {
    "poolctl's instructions": 80_000,
    "poolctl's system calls": 300,
    "poold's system calls for a handover": 50,
    "poold's system calls for a run and a replacement": 250,
    "a worker's system calls": 180,
}
# How often poold looks whether a CPU is idle, and how many events it is told of at once, depends on the machine's load.
OF_LOAD = re.compile(r'epoll_wait\(|openat\([^"]*"/sys/devices/system/cpu/|--- ')


@pytest.fixture
def env(poold):
    """An environment of known size, poold's as well."""
    poold.env = {name: poold.env[name] for name in ("XDG_RUNTIME_DIR", "HOME", "LC_ALL", "PATH")}
    return poold.env


def needs(tool):
    path = shutil.which(tool, path="/usr/bin:/bin")
    assert path, f"{tool} is not installed"
    return path


def expect_within(what, count):
    print(f"{what}: {count}, of {BUDGET[what]}")
    assert 0 < count <= BUDGET[what], f"{what}: {count}; the budget is {BUDGET[what]}"


def lines_of(path):
    return path.read_text().splitlines()


def callgrind(env, log, *command):
    done = subprocess.run([needs("valgrind"), "--tool=callgrind", "--callgrind-out-file=/dev/null", f"--log-file={log}",
                           *command], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=harness.DEADLINE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_instructions_of_poolctl(poold, env, tmp_path):
    """In user space. What valgrind sets in the environment, a run that fits must find set in the pool."""
    inside = dict(line.split("=", 1) for line in callgrind(env, tmp_path / "log", "/usr/bin/env").splitlines())
    added = "".join(f"env.{name} = {value}\n" for name, value in inside.items() if env.get(name) != value)
    poold.start(f"[pool:default]\nsize = 1\n{added}")
    said = callgrind(env, tmp_path / "log", poold.program("poolctl"), "run", "--no-fallback", "-c", "print(1)")
    assert said == "1\n"
    collected = re.search(r"Collected : (\d+)", (tmp_path / "log").read_text())
    expect_within("poolctl's instructions", int(collected[1]))


def test_system_calls_of_poolctl(poold, env, tmp_path):
    poold.start()
    done = subprocess.run([needs("strace"), "-o", tmp_path / "calls", poold.program("poolctl"), "run", "--no-fallback", "-c",
                           "print(1)"], env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=harness.DEADLINE)
    assert (done.returncode, done.stdout) == (0, b"1\n"), done.stderr
    expect_within("poolctl's system calls", len(lines_of(tmp_path / "calls")))


def is_handover(call):
    return call.startswith("sendmsg(") and "SCM_RIGHTS" in call


def handovers(calls):
    """How many calls poold made each time from a connection to the next look for what else there is to do."""
    for number, call in enumerate(calls):
        if not is_handover(call):
            continue
        begin = max(at for at in range(number) if re.match(r"accept4\(.* = \d+$", calls[at]))
        end = next((at for at in range(number, len(calls)) if calls[at].startswith("epoll_wait(")), len(calls))
        yield sum(not OF_LOAD.match(call) for call in calls[begin:end])


def test_system_calls_of_poold_and_its_workers(poold, env, tmp_path):
    """strace as a process apart, so that what is started is poold. It writes a file for each process."""
    traces = tmp_path / "traces"
    traces.mkdir()
    poold.start(wrap=[needs("strace"), "-D", "-ff", "-q", "-o", traces / "calls"])
    of_poold = traces / f"calls.{poold.pid}"
    eventually("strace to have begun", of_poold.exists)
    workers, before = [], len(lines_of(of_poold))
    for _ in range(RUNS):
        done = poold.run("-c", "import os; print(os.getpid())", env=env)
        assert done.returncode == 0, done.stderr
        workers.append(int(done.stdout))
        # Unlike `poolctl status`, this costs poold nothing.
        eventually("a worker's replacement", lambda: poold.log.count("ready warmup_ms") > len(workers))
    calls = lines_of(of_poold)[before:]

    at_handover = list(handovers(calls))
    assert len(at_handover) == RUNS
    expect_within("poold's system calls for a handover", statistics.median(at_handover))
    all_calls = [call for call in calls if not OF_LOAD.match(call)]
    expect_within("poold's system calls for a run and a replacement", len(all_calls) // RUNS)
    for pid in workers:
        trace = traces / f"calls.{pid}"
        eventually("a worker to end", lambda: "+++ exited" in trace.read_text())
        calls = lines_of(trace)
        begin = next(number for number, call in enumerate(calls) if call.startswith("recvmsg(") and "SCM_RIGHTS" in call)
        expect_within("a worker's system calls", len(calls) - begin)
