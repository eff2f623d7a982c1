"""Workers and poold killed at every stage of a run, and at random under load: no run is lost, none is started twice."""

import collections
import contextlib
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import threading

import pytest

import harness

CLAIMED = re.compile(r'^read\(\d+, "\\1\\0\\0\\0\\0\\0\\0\\0", 8\) += 8', re.M)

# Appends to a file of its run's own before it says anything: who was started twice has two lines.
SCRIPT = """
import os, sys, time
number = int(sys.argv[1])
with open(sys.argv[2], "a") as starts:
    starts.write(f"{os.getpid()}\\n")
print("begin", number, flush=True)
time.sleep(number % 7 * float(sys.argv[3]))
print("end", number)
sys.exit(number % 120)
"""


class Run:
    """One `poolctl run` of SCRIPT, and how it went."""

    def __init__(self, poold, script, number, pause=0.01):
        self.number = number
        self.starts_file = script.with_name(f"starts-{number}")
        done = poold.ctl("run", "-v", script, number, self.starts_file, pause)
        self.status, self.output = done.returncode, done.stdout
        self.said = done.stderr.decode()

    def __repr__(self):
        return f"run {self.number}: {self.status} {self.output} {self.said!r}, started {self.starts}"

    @property
    def workers(self):
        """Those that it was given to, one after the other."""
        return [int(pid) for pid in re.findall(r"run by poold's worker (\d+)", self.said)]

    @property
    def is_cold(self):
        return f"run by {harness.PYTHON}:" in self.said

    @property
    def starts(self):
        return self.starts_file.read_text().splitlines() if self.starts_file.exists() else []

    def is_right(self):
        expected = f"begin {self.number}\nend {self.number}\n".encode()
        return (self.status, self.output, len(self.starts)) == (self.number % 120, expected, 1)

    def is_killed(self):
        """It ended as its worker has, and left nothing that is wrong."""
        expected = f"begin {self.number}\nend {self.number}\n".encode()
        return self.status == -signal.SIGKILL and not self.is_cold and len(self.starts) <= 1 and \
            expected.startswith(self.output)


# --- At every stage ---

class Tracer:
    """strace, attached to a process."""

    def __init__(self, pid, log, *options):
        self.log = log
        self.process = subprocess.Popen([*harness.AS_ROOT, "strace", "-qq", "-o", log, *options, "-p", str(pid)])
        # One that is to kill it at once, at the call that it sleeps in, may have done so.
        harness.eventually("strace to be there", lambda: not harness.alive(pid) or self.is_attached(pid))

    @staticmethod
    def is_attached(pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return "TracerPid:\t0\n" not in pathlib.Path(f"/proc/{pid}/status").read_text()

    def end(self):
        """What the process has called, which has ended."""
        self.process.wait(harness.DEADLINE)
        return self.log.read_text()


def numbered(trace, until=None):
    """The system calls of a trace, each with how often it has been made by then: what strace may be told to act on."""
    seen = collections.Counter()
    for line in trace.splitlines():
        if call := re.match(r"(\w+)\(", line):
            if call[1] == until:
                return
            seen[call[1]] += 1
            yield call[1], seen[call[1]]


def kill_at(call):
    return "-e", f"inject={call[0]}:signal=SIGKILL:when={call[1]}"


def test_worker_killed_at_every_system_call(poold, script, tmp_path):
    """Up to the start another one has the run and the client notices nothing; then the run has died, like its worker."""
    path = script(SCRIPT)
    poold.start("[pool:first]\nsize = 1\n[pool:second]\nsize = 2\n")
    fds = len(harness.fds_of(poold.pid))

    def run(number, *options):
        poold.wait_idle("first")
        poold.wait_idle("second")
        victim, = poold.workers("idle", "first")
        tracer = Tracer(victim, tmp_path / "trace", *options)
        run = Run(poold, path, number)
        return victim, run, tracer.end()

    _, whole, trace = run(1000)
    assert whole.is_right() and CLAIMED.search(trace)
    calls = list(numbered(trace))
    assert len(calls) > 50
    ends = collections.Counter()
    for number, call in enumerate(calls):
        victim, done, trace = run(number, *kill_at(call))
        if "+++ killed by SIGKILL" not in trace:
            assert done.is_right(), (call, done)
            ends["spared"] += 1
        elif not CLAIMED.search(trace):
            assert done.is_right() and not done.is_cold and done.workers[-1] != victim, (call, done)
            ends["retried"] += 1
        else:
            assert done.is_killed() or done.is_right(), (call, done)
            ends["killed" if done.is_killed() else "reported"] += 1
    # most calls are made before the start
    assert ends["retried"] > 20 and ends["killed"] > 5 and ends["spared"] < 10, ends
    poold.wait_idle("first")
    harness.eventually("poold to close all it got", lambda: len(harness.fds_of(poold.pid)) == fds)


def test_poold_killed_at_every_system_call(poold, script, tmp_path):
    """From the client's connection to the end of its worker: the run is whole, be it python3's or a worker's."""
    path = script(SCRIPT)

    def run(number, *options):
        poold.start()
        tracer = Tracer(poold.pid, tmp_path / "trace", *options)
        return Run(poold, path, number), tracer

    whole, tracer = run(1000)
    poold.wait_idle()
    poold.stop()
    calls = list(numbered(tracer.end(), until="socketpair"))
    assert whole.is_right() and len(calls) > 15
    ends = collections.Counter()
    for number, call in enumerate(calls):
        done, tracer = run(number, *kill_at(call))
        poold.kill()
        tracer.end()
        assert done.is_right(), (call, done)
        ends["cold" if done.is_cold else "warm"] += 1
        harness.eventually("its workers to leave", lambda: not harness.reap())
    assert ends["cold"] and ends["warm"], ends


# --- At random ---

N_RUNS, N_CLIENTS, N_RESTARTS = 1000, 20, 5
INI = "[poold]\nmax_starting = 4\n[pool:default]\nsize = 20\nmax_workers = 40\n"
WAIT = "on_empty = wait\nwait_timeout = 60\n"


class Load:
    """N_RUNS runs from N_CLIENTS clients at once."""

    def __init__(self, poold, script, ini):
        self.poold, self.script, self.ini = poold, script, ini
        self.runs = []
        self.numbers = iter(range(N_RUNS))
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.be_client) for _ in range(N_CLIENTS)]

    def be_client(self):
        while True:
            with self.lock:
                number = next(self.numbers, None)
            if number is None:
                return
            run = Run(self.poold, self.script, number, pause=0.1)
            with self.lock:
                self.runs.append(run)

    def wait(self, n_runs):
        harness.eventually(lambda: f"{n_runs} runs, not {len(self.runs)}", lambda: len(self.runs) >= n_runs,
                           deadline=300)

    def restart_meanwhile(self):
        """poold is restarted N_RESTARTS times, ordered to or killed."""
        for n_restart in range(1, N_RESTARTS + 1):
            self.wait(N_RUNS * n_restart // (N_RESTARTS + 1))
            if n_restart % 2:
                self.poold.kill()
            else:
                self.poold.process.terminate()
                assert self.poold.process.wait(harness.DEADLINE) == 0
            self.poold.launch(self.ini)

    def go(self):
        for thread in self.threads:
            thread.start()
        try:
            self.restart_meanwhile()
        finally:
            for thread in self.threads:
                thread.join()
        assert sorted(run.number for run in self.runs) == list(range(N_RUNS))


class Killer:
    """Kills a worker a second, be it starting, idle or busy, if there is one, which on a busy machine is seldom so."""

    def __init__(self, poold):
        self.poold = poold
        self.random = random.Random(1)
        self.killed = {}  # pid to the state that it was in when it was chosen
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def workers(self):
        answer = self.poold.ctl("status", "--json")
        if answer.returncode:
            return []  # poold is being restarted
        return [(worker["pid"], worker["state"]) for pool in json.loads(answer.stdout)["pools"]
                for worker in pool["workers"]]

    def kill(self, pid, state):
        """Unless it has ended meanwhile and its number is somebody else's."""
        try:
            process = os.pidfd_open(pid)
        except ProcessLookupError:
            return False
        try:
            if pid not in harness.descendants_of(os.getpid()):
                return False
            # A worker that starts is known by its keeper's number, and ends with it.
            victims = [pid, *harness.children_of(pid)] if state == "starting" else [pid]
            signal.pidfd_send_signal(process, signal.SIGKILL)
            self.killed |= dict.fromkeys(victims, state)
            return True
        except (FileNotFoundError, ProcessLookupError):
            return False
        finally:
            os.close(process)

    def kill_one(self):
        by_state = collections.defaultdict(list)
        for pid, state in self.workers():
            by_state[state].append(pid)
        if not by_state:
            return False
        state = self.random.choice(sorted(by_state))
        pid = self.random.choice(by_state[state])
        # or else all would be killed as they start, where one is to come
        self.done.wait(self.random.uniform(0, 0.5))
        return self.kill(pid, state)

    def work(self):
        has_killed = True
        while not self.done.wait(1 if has_killed else 0.02):
            has_killed = self.kill_one()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()


def summary(runs):
    return collections.Counter("cold" if run.is_cold else "warm" if run.is_right() else "killed" for run in runs)


def test_1000_runs_while_poold_is_restarted(poold, script):
    """Those that find no worker are python3's."""
    poold.start(INI)
    load = Load(poold, script(SCRIPT), INI)
    load.go()
    assert not [run for run in load.runs if not run.is_right()]
    ends = summary(load.runs)
    assert ends["warm"] and ends["cold"], ends
    poold.wait_idle()


@pytest.mark.parametrize("ini, n_warm", [(INI, 1), (INI + WAIT, 200)], ids=["fallback", "wait"])
def test_1000_runs_while_poold_is_restarted_and_workers_are_killed(poold, script, ini, n_warm):
    """Each gives its right output and status, or has died by our own signal to its worker."""
    poold.start(ini)
    load = Load(poold, script(SCRIPT), ini)
    with Killer(poold) as killer:
        load.go()
    wrong = [run for run in load.runs
             if not run.is_right() and not (run.is_killed() and run.workers[-1] in killer.killed)]
    assert not wrong
    ends = summary(load.runs)
    print(ends, collections.Counter(killer.killed.values()))
    assert ends["warm"] >= n_warm and len(killer.killed) >= 5, (ends, killer.killed)
    poold.wait_idle()
    assert poold.run("-c", "print(1)").stdout == b"1\n"
