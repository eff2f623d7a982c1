"""Clients that break the rules, and processes that die: nobody else pays for it."""

import array
import contextlib
import fcntl
import os
import pathlib
import random
import re
import shlex
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest

import harness

HEADER = struct.Struct("<IHHIHH")
MAGIC, RUN, STATUS = 0x4C4F4F50, 2, 11
QUICK = "[poold]\nrequest_timeout = 1\n[pool:default]\nsize = 1\n"


def header(type_, payload_bytes, fds=0, magic=MAGIC, version=1):
    return HEADER.pack(magic, version, type_, payload_bytes, fds, 0)


def with_fds(data, count):
    """Sends the bytes with so many copies of one fd, as SCM_RIGHTS."""
    null = os.open("/dev/null", os.O_RDONLY)
    control = array.array("i", [null] * count)

    def send(connection):
        connection.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, control)] if count else [])
        os.close(null)

    return send


def plain(data):
    return lambda connection: connection.sendall(data)


RUDE = {
    "silence": lambda connection: None,
    "half-a-header": plain(header(RUN, 100)[:7]),
    "half-a-message": plain(header(STATUS, 4) + b"\0"),
    "run-without-its-fds": plain(header(RUN, 4) + b"\0" * 4),
    "random": plain(random.Random(1).randbytes(100_000)),
    "text": plain(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    "wrong-magic": plain(header(STATUS, 4, magic=1) + b"\0" * 4),
    "unknown-type": plain(header(999, 0)),
    "a-servers-message": plain(header(4, 0)),
    "oversized": plain(header(RUN, 0xFFFFFFFF, 2)),
    "wrong-fd-count": with_fds(header(RUN, 4, 2) + b"\0" * 4, 9),
    "uncalled-for-fds": with_fds(header(STATUS, 4) + b"\0" * 4, 5),
    "too-many-fds": with_fds(header(RUN, 4, 253) + b"\0" * 4, 253),
    "nonsense-payload": with_fds(header(RUN, 64, 2) + b"\xff" * 64, 2),
    "fds-and-silence": with_fds(header(RUN, 1 << 20, 2), 2),
    "trailing-bytes": plain(header(STATUS, 8) + b"\0" * 8),
}


def hung_up(connection, seconds):
    """Did poold end the connection within that time?"""
    connection.settimeout(seconds)
    try:
        while connection.recv(4096):
            pass
        return True
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("rude", RUDE, ids=str)
def test_rude_clients_are_dropped(poold, rude):
    poold.start(QUICK)
    worker = poold.workers("idle")
    fds = len(harness.fds_of(poold.pid))
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(poold.socket))
        try:
            RUDE[rude](connection)
        except (BrokenPipeError, ConnectionResetError):
            pass
        # others are served meanwhile
        assert poold.workers("idle") == worker
        assert poold.run("-c", "print(1)").stdout == b"1\n"
        assert hung_up(connection, 10)
    poold.wait_idle()
    harness.eventually("poold to close all it got", lambda: len(harness.fds_of(poold.pid)) == fds)


def test_other_versions_are_told(poold):
    poold.start(QUICK)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(poold.socket))
        connection.sendall(header(RUN, 4, version=99) + b"\0" * 4)
        answer = b""
        connection.settimeout(10)
        try:
            while data := connection.recv(4096):
                answer += data
        except ConnectionResetError:
            pass
    assert HEADER.unpack(answer[:HEADER.size])[2] == 1 and b"version\0" in answer


def test_more_strings_than_a_process_can_have(poold):
    """To look at them all would keep others waiting."""
    poold.start(QUICK)
    count = 10_000_000
    payload = struct.pack("<IxIIII", 1, 0, 0, count, count) + b"\0" * (count + 36)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(poold.socket))
        with_fds(header(RUN, len(payload), 2), 2)(connection)
        connection.sendall(payload)
        connection.settimeout(10)
        assert connection.recv(4096) == b""
    assert poold.run("-c", "print(1)").stdout == b"1\n"


def test_200_silent_clients(poold):
    poold.start(QUICK.replace("request_timeout = 1", "request_timeout = 5"))
    fds = len(harness.fds_of(poold.pid))
    connections = [socket.socket(socket.AF_UNIX) for _ in range(200)]
    try:
        for connection in connections:
            connection.connect(str(poold.socket))
        for n in range(5):
            poold.wait_idle()
            assert poold.run("-c", f"print({n})").stdout == b"%d\n" % n
        assert all(hung_up(connection, 10) for connection in connections)
    finally:
        for connection in connections:
            connection.close()
    poold.wait_idle()
    harness.eventually("poold to close all it got", lambda: len(harness.fds_of(poold.pid)) == fds)


FEW_FDS = ["bash", "-c", 'ulimit -n 40; exec "$@"', "bash"]


def test_silent_clients_that_have_all_the_fds(poold):
    """Others then are python3's, and are served again as soon as the silent ones have had their time."""
    poold.start(QUICK, wrap=FEW_FDS)
    connections = [socket.socket(socket.AF_UNIX) for _ in range(60)]
    try:
        for connection in connections:
            connection.connect(str(poold.socket))
        poold.wait_log("cannot accept clients for the time being: Too many open files")
        assert poold.ctl("run", "-c", "print(1)").stdout == b"1\n"
        assert all(hung_up(connection, 10) for connection in connections)
    finally:
        for connection in connections:
            connection.close()
    poold.wait_idle()
    done = subprocess.run([*FEW_FDS, poold.program("poolctl"), "run", "--no-fallback", "-c", "print(1)"], env=poold.env,
                          capture_output=True, timeout=harness.DEADLINE)
    assert done.stdout == b"1\n", done.stderr


def test_client_that_hangs_up_early(poold):
    """At any byte of its request."""
    poold.start(QUICK)
    for size in range(0, 30, 3):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(poold.socket))
            connection.sendall((header(RUN, 100, 2) + b"\0" * 100)[:size])
    assert poold.run("-c", "print(1)").stdout == b"1\n"


def test_killed_client_takes_its_script_along(poold):
    poold.start()
    client = poold.popen("-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    script = int(client.stdout.readline())
    client.kill()
    harness.eventually("the script to end", lambda: not harness.alive(script))
    client.communicate()
    poold.wait_idle()


def test_script_of_a_killed_client_gets_a_hangup_first(poold, tmp_path):
    poold.start()
    code = ("import signal, sys, time\ndef stop(*_):\n    open('hangup', 'w').close()\n    sys.exit()\n"
            "signal.signal(signal.SIGHUP, stop)\nprint(1, flush=True)\ntime.sleep(600)")
    client = poold.popen("-c", code, cwd=tmp_path)
    client.stdout.readline()
    client.kill()
    client.communicate()
    harness.eventually("the hangup", (tmp_path / "hangup").exists)
    poold.wait_idle()


def test_script_that_ignores_the_hangup_is_killed(poold):
    poold.start()
    code = ("import os, signal, time; signal.signal(signal.SIGHUP, signal.SIG_IGN); child = os.fork()\n"
            "if child: print(os.getpid(), child, flush=True)\ntime.sleep(600)")
    client = poold.popen("-c", code)
    processes = [int(pid) for pid in client.stdout.readline().split()]
    client.kill()
    client.communicate()
    harness.eventually("script and child to end", lambda: not any(map(harness.alive, processes)))


STRANGER = """
import os, sys
wanted, user = map(int, sys.argv[1:])
while True:
    open("/proc/sys/kernel/ns_last_pid", "w").write(str(wanted - 1))
    pid = os.fork()
    if not pid:
        break
    os.wait()
    if pid == wanted:
        sys.exit()
if os.getpid() == wanted:
    os.setresuid(user, user, user)
    os.setpgid(0, 0)
    os.write(1, b"here\\n")
    os.write(1, os.read(0, 5))
"""


def test_a_killed_client_costs_no_stranger(poold):
    """The group that a worker begins in is gone once it leads one itself, and its number free for others."""
    poold.start()
    worker, = poold.workers("idle")
    group, keeper = os.getpgid(worker), harness.parent_of(worker)
    client = poold.popen("-c", "print(1, flush=True); import time; time.sleep(600)", start_new_session=True)
    client.stdout.readline()
    assert os.getpgid(worker) == worker
    stranger = subprocess.Popen([*harness.AS_ROOT, harness.PYTHON, "-c", STRANGER, str(group), str(os.geteuid())],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert stranger.stdout.readline() == b"here\n"
    client.kill()
    client.communicate()
    harness.eventually("the keeper to end", lambda: not harness.alive(keeper))
    assert stranger.communicate(b"fine\n")[0] == b"fine\n"


UNPRIVILEGED = """
import fcntl, os, resource, sys
keeper = fcntl.fcntl(os.open(sys.argv[1], os.O_RDONLY), fcntl.F_DUPFD, 100)
os.closerange(4, 100)
os.setgroups([])
user = 100000 + os.getpid()  # has no other processes
os.setresgid(user, user, user)
os.setresuid(user, user, user)
resource.setrlimit(resource.RLIMIT_NPROC, (int(sys.argv[2]),) * 2)
os.execve(keeper, ["poold-keeper", "/bin/true", "true"], {})
"""


@pytest.mark.parametrize("n_processes", [1, 2])
def test_nothing_is_left_if_there_may_be_no_more_processes(prefix, n_processes):
    done = subprocess.run([*harness.AS_ROOT, harness.PYTHON, "-c", UNPRIVILEGED, prefix / "libexec/poold/poold-keeper",
                           str(n_processes)], stdin=subprocess.DEVNULL, capture_output=True, start_new_session=True,
                          timeout=harness.DEADLINE)
    assert done.returncode == 127 and b"cannot start /bin/true" in done.stderr
    harness.expect_no_children()


@pytest.mark.parametrize("end, status", [
    ("sys.exit(7)", 7), ("os._exit(8)", 8), ("os.kill(os.getpid(), 9)", -9), ("os.kill(os.getpid(), 15)", -15),
    ("os.execv('/bin/sh', ['sh', '-c', 'exit 6'])", 6),
])
def test_killed_poold_costs_no_running_script(poold, end, status):
    poold.start("[pool:default]\nsize = 2\n")
    client = poold.popen("-c", f"import os, sys\nprint(1, flush=True)\nprint(input(), flush=True)\n{end}")
    client.stdout.readline()
    poold.wait_idle()
    idle = poold.workers("idle")
    poold.kill()
    harness.eventually("idle workers to leave", lambda: not any(map(harness.alive, idle)))
    assert client.communicate("still here\n", timeout=60) == ("still here\n", "")
    assert client.returncode == status
    assert poold.ctl("run", "-c", "print('cold')").stdout == b"cold\n"


def test_killed_poold_is_replaced(poold):
    """By one that finds the socket of the dead."""
    poold.start()
    poold.kill()
    assert poold.socket.exists()
    harness.eventually("its workers to leave", lambda: not harness.reap())
    poold.start()
    assert poold.run("-c", "print(1)").stdout == b"1\n"


def test_killed_busy_worker_kills_its_client(poold):
    poold.start()
    client = poold.popen("-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    os.kill(int(client.stdout.readline()), signal.SIGKILL)
    client.communicate(timeout=60)
    assert client.returncode == -signal.SIGKILL
    poold.wait_idle()
    assert poold.run("-c", "print(1)").stdout == b"1\n"


WHO = {"worker": lambda worker: worker, "keeper": harness.parent_of}


@pytest.fixture(params=WHO)
def kill(request):
    """Kills a worker, or its parent, which takes it along."""
    return lambda worker: os.kill(WHO[request.param](worker), signal.SIGKILL)


def test_killed_idle_worker_is_replaced(poold, kill):
    poold.start("[pool:default]\nsize = 2\n")
    victim = poold.workers("idle")[0]
    kill(victim)
    poold.wait_log(f"pid={victim} ended unasked in state idle, wait status 0x9")
    harness.eventually("poold to see it", lambda: victim not in poold.workers("idle"))
    poold.wait_idle()
    assert poold.pool()["state"] == "ready"


def test_killed_starting_worker(poold, kill, tmp_path):
    """The pool is degraded, which says why, and tries again by itself."""
    started, go = tmp_path / "started", tmp_path / "go"
    (tmp_path / "slow.py").write_text(f"import os, time\nwith open({str(started)!r}, 'w') as f: f.write(f'{{os.getpid()}}\\n')\n"
                                      f"while not os.path.exists({str(go)!r}): time.sleep(0.01)\n")
    poold.launch(f"[pool:default]\nsize = 1\nmodules = slow\npath = {tmp_path}\n")
    harness.eventually("the start", lambda: started.exists() and started.read_text().endswith("\n"))
    kill(int(started.read_text()))
    poold.wait_log("ended unasked in state starting, wait status 0x9")
    pool = poold.pool()
    assert (pool["state"], pool["last_error"]) == ("degraded", "the worker died by signal 9 (Killed)")
    assert "the worker died by signal 9 (Killed)" in poold.ctl("status").stdout.decode()
    done = poold.ctl("run", "-v", "-c", "print(1)")
    assert (done.returncode, done.stdout) == (0, b"1\n") and done.stderr.startswith(b"poolctl: run by /"), done.stderr
    go.touch()
    pool = poold.wait_idle()
    assert (pool["state"], pool["last_error"]) == ("ready", None)


TWO_POOLS = "[pool:first]\nsize = 1\n{more}[pool:second]\nsize = 1\n"


def test_worker_killed_at_handoff(poold, kill):
    """Before it has read the run: another has it at once, and the client does not notice."""
    poold.start(TWO_POOLS.format(more=""))
    victim, = poold.workers("idle", "first")
    other, = poold.workers("idle", "second")
    os.kill(victim, signal.SIGSTOP)
    client = poold.popen("-v", "-c", "import sys; print(input()); sys.exit(3)")
    harness.eventually("the handoff", lambda: poold.pool("first")["busy"])
    start = time.monotonic()
    kill(victim)
    assert client.communicate("mine\n", timeout=60) == ("mine\n", f"poolctl: run by poold's worker {other}\n")
    # the client has not waited for what it waits for when it hears nothing
    assert client.returncode == 3 and time.monotonic() - start < 1
    poold.wait_log(f"pid={victim} ended before it took its run")
    first, second = poold.pool("first"), poold.pool("second")
    assert (first["hits"], first["misses"], second["hits"], second["misses"]) == (0, {"worker": 1}, 1, {})
    poold.wait_idle("first")


def test_worker_killed_before_handoff_and_poold_has_not_seen_it(poold, kill):
    poold.start(TWO_POOLS.format(more=""))
    victim, = poold.workers("idle", "first")
    os.kill(poold.pid, signal.SIGSTOP)
    kill(victim)
    harness.eventually("its end", lambda: not harness.alive(victim))
    client = poold.popen("-v", "-c", "print(input())")
    os.kill(poold.pid, signal.SIGCONT)
    out, said = client.communicate("mine\n", timeout=60)
    assert (client.returncode, out) == (0, "mine\n") and is_warm(said), said


def is_warm(said):
    """Or would be, but that the machine is so busy that the client runs out of patience."""
    return "run by poold's worker" in said or "within 1000 ms" in said


@pytest.fixture
def unseen(poold):
    """Kills a worker that poold takes to be idle for seconds more: its keeper, stopped, cannot tell."""
    with contextlib.suppress(ProcessLookupError), contextlib.ExitStack() as stack:
        def kill_unseen(worker):
            keeper = os.pidfd_open(harness.parent_of(worker))
            stack.callback(os.close, keeper)
            signal.pidfd_send_signal(keeper, signal.SIGSTOP)
            stack.callback(signal.pidfd_send_signal, keeper, signal.SIGCONT)
            os.kill(worker, signal.SIGKILL)
            harness.eventually("its end", lambda: not harness.alive(worker))

        yield kill_unseen


def test_dead_worker_costs_no_run_where_another_pool_fits(poold, unseen):
    poold.start(TWO_POOLS.format(more=""))
    unseen(*poold.workers("idle", "first"))
    done = poold.ctl("run", "-v", "-c", "print(1)")
    assert (done.returncode, done.stdout) == (0, b"1\n") and is_warm(done.stderr.decode()), done.stderr


def test_run_that_a_dead_worker_was_to_have_waits_for_the_next(poold, unseen):
    """And not for one of a pool that was not chosen, nor does it fail as that pool has it."""
    poold.start(TWO_POOLS.format(more="max_workers = 1\non_empty = fail\n") + "on_empty = wait\n")
    holder = poold.popen("--pool", "first", "-c", "print(1, flush=True); input()")
    assert holder.stdout.readline()
    unseen(*poold.workers("idle", "second"))
    done = poold.ctl("run", "-v", "-c", "print(input())", input=b"mine\n")
    assert (done.returncode, done.stdout) == (0, b"mine\n") and is_warm(done.stderr.decode()), done.stderr
    holder.communicate("\n", timeout=harness.DEADLINE)


# Audit hooks are called as the script is compiled, which is before its start.
TRAPPED = """
import os, sys
def hook(event, arguments):
    if event == "compile" and arguments[0] and b"spring the trap" in arguments[0]:
        try:
            os.unlink({trap!r} + "/" + min(os.listdir({trap!r})))
        except (FileNotFoundError, ValueError):
            return
        os.kill(os.getpid(), 9)
sys.addaudithook(hook)
"""


@pytest.mark.parametrize("n_killed", [1, 2, 3])
def test_worker_killed_as_it_prepares_the_run(poold, tmp_path, n_killed):
    """It has told the client of itself, but not started. After the third it is python3's run."""
    traps = tmp_path / "traps"
    traps.mkdir()
    for n in range(n_killed):
        (traps / str(n)).touch()
    (tmp_path / "trapped.py").write_text(TRAPPED.format(trap=str(traps)))
    poold.start(f"[pool:default]\nsize = 4\nmodules = trapped\npath = {tmp_path}\n")
    done = poold.ctl("run", "-v", "-c", "print(1) # spring the trap")
    assert (done.returncode, done.stdout) == (0, b"1\n"), done.stderr
    said = done.stderr.decode().splitlines()
    workers = [line for line in said if line.startswith("poolctl: run by poold's worker")]
    assert len(set(workers)) == min(n_killed + 1, 3)
    assert said[len(workers):] == ([] if n_killed < 3 else
                                   [f"poolctl: run by {harness.PYTHON}: the worker ended before it started the script"])
    poold.wait_idle()
    assert poold.run("-c", "print(2)").stdout == b"2\n"


def test_poold_killed_while_a_client_sends(poold, script):
    """A run that is larger than what a socket takes at once."""
    path = script("import os; print(len(os.environ['BIG']), len(os.environ))")
    env = poold.env | {"BIG": "x" * 100_000} | {f"BIG_{n}": "x" * 100_000 for n in range(10)}
    poold.start()
    os.kill(poold.pid, signal.SIGSTOP)
    client = subprocess.Popen([poold.program("poolctl"), "run", path], env=env, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
    harness.eventually("the client to wait", lambda: harness.state_of(client.pid) == "S" and
                       any(target.startswith("socket:") for target in harness.fds_of(client.pid).values()))
    poold.kill()
    assert client.communicate(timeout=60) == (poold.python3(path, env=env).stdout, b"")


def test_stopped_idle_worker_costs_no_run(poold):
    """A worker that does not answer: the client goes on by itself, or poold notices."""
    poold.start("[pool:default]\nsize = 1\n")
    worker, = poold.workers("idle")
    os.kill(worker, signal.SIGSTOP)
    try:
        assert poold.ctl("run", "-c", "print(1)").stdout == b"1\n"
    finally:
        if harness.alive(worker):
            os.kill(worker, signal.SIGCONT)


class TestFailingModule:
    INI = "[pool:default]\nsize = 1\nmodules = wave, broken\npath = {path}\n[pool:sound]\nsize = 1\n"
    BROKEN = "import time\nopen({log!r}, 'a').write(f'{{time.monotonic()}}\\n')\nraise RuntimeError('out of order')\n"

    @pytest.fixture
    def broken(self, poold, tmp_path):
        """A poold whose first pool cannot load its module, the module, and where that notes each try."""
        path = tmp_path / "modules"
        path.mkdir()
        tries = tmp_path / "tries"
        module = path / "broken.py"
        module.write_text(self.BROKEN.format(log=str(tries)))
        poold.launch(self.INI.format(path=path))
        harness.eventually("a try", tries.exists)
        return poold, module, tries

    def test_is_shown_and_runs_fall_back(self, broken):
        poold, module, _ = broken
        harness.eventually("the pool to be degraded", lambda: poold.pool()["state"] == "degraded")
        error = poold.pool()["last_error"]
        assert "RuntimeError: out of order" in error and str(module) in error and "broken" in error
        poold.wait_log("RuntimeError: out of order")
        assert "out of order" in poold.ctl("status").stdout.decode()
        assert poold.ctl("run", "--pool", "default", "-c", "print(1)").stdout == b"1\n"
        # the other pool is none the worse for it
        poold.wait_idle("sound")
        assert poold.run("--pool", "sound", "-c", "print(2)").stdout == b"2\n"

    def test_is_tried_again_after_growing_pauses(self, broken):
        _, _, tries = broken
        harness.eventually("four tries", lambda: len(tries.read_text().splitlines()) >= 4)
        times = [float(line) for line in tries.read_text().splitlines()]
        pauses = [later - earlier for earlier, later in zip(times, times[1:])]
        assert pauses[0] > 0.2 and pauses[1] > 1.2 * pauses[0] and pauses[2] > 1.2 * pauses[1], pauses

    def test_recovers_when_it_is_repaired(self, broken):
        poold, module, _ = broken
        harness.eventually("the pool to be degraded", lambda: poold.pool()["state"] == "degraded")
        module.write_text("value = 42\n")
        poold.wait_idle("default")
        assert poold.pool()["state"] == "ready"
        assert poold.run("--pool", "default", "-c", "import broken; print(broken.value)").stdout == b"42\n"


@pytest.mark.parametrize("module, why", [
    ("import os; os._exit(3)", "the worker exited with status 3"),
    ("import os; os.abort()", "the worker died by signal 6 (Aborted)"),
    ("import ctypes; ctypes.string_at(0)", "the worker died by signal 11 (Segmentation fault)"),
    ("raise SystemExit(0)", "SystemExit"), ("def f(:", "SyntaxError"), ("import nonexistent_module", "nonexistent_module"),
    ("raise ValueError('x' * 100_000_000)", "ValueError: xxx"),
], ids=["exits", "aborts", "crashes", "SystemExit", "syntax", "missing", "talks"])
def test_modules_that_end_their_worker(poold, tmp_path, module, why):
    (tmp_path / "odd.py").write_text(module)
    poold.launch(f"[pool:default]\nsize = 1\nmodules = odd\npath = {tmp_path}\n")
    harness.eventually("the pool to be degraded", lambda: poold.pool()["state"] == "degraded")
    error = poold.pool()["last_error"]
    assert why in error and len(error) <= 65536
    assert why in poold.ctl("status").stdout.decode()
    done = poold.ctl("run", "-v", "-c", "print(1)")
    assert done.stdout == b"1\n"
    assert b'pool "default" has no idle worker, since they fail to start: `poolctl status` shows why\n' in done.stderr


@pytest.mark.parametrize("how", ["", "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
                                 "os.setsid() if os.fork() else None"], ids=["sleeps", "blocks signals", "forks"])
def test_module_that_hangs(poold, tmp_path, how):
    (tmp_path / "slow.py").write_text(f"import os, signal, time\n{how}\n"
                                      "with open(f'{os.path.dirname(__file__)}/pids', 'a') as f: print(os.getpid(), file=f)\n"
                                      "time.sleep(600)\n")
    poold.launch(f"[pool:default]\nsize = 1\nmodules = slow\npath = {tmp_path}\nstart_timeout = 1\n")
    start = time.monotonic()
    assert poold.ctl("run", "-c", "print(1)").stdout == b"1\n"
    assert time.monotonic() - start < 10
    harness.eventually("the pool to be degraded", lambda: poold.pool()["state"] == "degraded")
    assert poold.pool()["last_error"] == "the modules were not imported within start_timeout"
    assert "has not imported its modules within start_timeout, 1 s\n" in poold.log
    assert "the modules were not imported within start_timeout" in poold.ctl("status").stdout.decode()
    hung = int((tmp_path / "pids").read_text().split()[0])
    harness.eventually("the module to end", lambda: not harness.alive(hung))


def test_module_that_prints_gigabytes(poold, tmp_path):
    """All of it goes where the log goes, however slowly that is read. poold neither keeps nor waits for it."""
    size = 1 << 31
    (tmp_path / "loud.py").write_text("import os\nfor _ in range(2048): os.write(1, b'x' * (1 << 20))\n")
    reader, writer = os.pipe()
    seen = []

    def read():
        while data := os.read(reader, 1 << 20):
            seen.append(len(data))
            if started.is_set():
                continue
            started.set()
            go.wait()  # for a while nobody reads at all

    started, go = threading.Event(), threading.Event()
    thread = threading.Thread(target=read)
    thread.start()
    try:
        poold.launch(f"[pool:default]\nsize = 1\nmodules = loud\npath = {tmp_path}\n[pool:sound]\nsize = 1\n",
                     wrap=["bash", "-c", f'exec "$@" >&{writer} 2>&1', "bash"], pass_fds=[writer])
        os.close(writer)
        started.wait(harness.DEADLINE)
        poold.wait_idle("sound")
        assert poold.run("--pool", "sound", "-c", "print(1)").stdout == b"1\n"
        assert poold.ctl("run", "--pool", "default", "-c", "print(2)").stdout == b"2\n"
        go.set()
        poold.wait_idle("default")
        assert poold.run("--pool", "default", "-c", "print(3)").stdout == b"3\n"
        status = pathlib.Path(f"/proc/{poold.pid}/status").read_text()
        assert int(re.search(r"VmHWM:\s+(\d+)", status)[1]) < 16 * 1024
        poold.stop()
    finally:
        go.set()
        poold.stop()
        harness.eventually("all to be gone", lambda: not harness.reap())
        thread.join()
        os.close(reader)
    assert sum(seen) >= size


@pytest.mark.parametrize("what", ["time.sleep(0.001)", "pass"], ids=["waking", "spinning"])
def test_module_that_starts_threads(poold, tmp_path, script, what):
    (tmp_path / "busy.py").write_text(
        f"import threading, time\ndef work():\n    while True: {what}\n"
        "threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]\nfor thread in threads: thread.start()\n")
    poold.start(f"[pool:default]\nsize = 1\nmodules = busy\npath = {tmp_path}\n")
    path = script("import busy, sys, threading\nprint(threading.active_count(), [t.is_alive() for t in busy.threads])\nsys.exit(4)")
    assert poold.same_as_python3(path).returncode == 4


# --- What runs out ---

@pytest.mark.parametrize("log", ["2>/dev/full", "2>&-", "2> >(:)"], ids=["full disk", "closed", "reader gone"])
def test_log_that_cannot_be_written(poold, log):
    """The log is lost, and nothing else."""
    poold.launch("[pool:default]\nsize = 1\nmodules = nonexistent_module\n[pool:sound]\nsize = 1\n",
                 wrap=["bash", "-c", f'exec "$@" {log}', "bash"])
    poold.wait_idle("sound")
    for n in range(5):
        poold.wait_idle("sound")
        assert poold.run("--pool", "sound", "-c", f"print({n})").stdout == b"%d\n" % n
    harness.eventually("the failure to be seen", lambda: "nonexistent_module" in poold.pool()["last_error"])
    assert poold.ctl("run", "--pool", "default", "-c", "print(1)").stdout == b"1\n"


def test_log_that_nobody_reads(poold):
    """A pager that was left alone, say: lines are left out rather than that anybody waits."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    poold.start("[poold]\nlog_level = debug\n[pool:default]\nsize = 1\n", pass_fds=[writer],
                wrap=["bash", "-c", f'exec "$@" 2>&{writer}', "bash"])
    os.close(writer)
    for n in range(60):
        poold.wait_idle()
        assert poold.run("-c", f"print({n})").stdout == b"%d\n" % n
    log = os.read(reader, 1 << 20)
    poold.wait_idle()
    poold.run("-c", "pass")
    poold.stop()
    while data := os.read(reader, 1 << 20):
        log += data
    os.close(reader)
    missing = re.search(rb"warn: (\d+) lines are missing here", log)
    assert missing and int(missing[1]) > 10, log


def test_worker_that_runs_out_of_memory(poold, tmp_path):
    """As its module is imported, under a limit that poold has."""
    module = tmp_path / "large.py"
    module.write_text("data = bytearray(1 << 30)\n")
    poold.launch(f"[pool:default]\nsize = 1\nmodules = large\npath = {tmp_path}\n",
                 wrap=["bash", "-c", 'ulimit -S -v 500000; exec "$@"', "bash"])
    harness.eventually("the pool to be degraded", lambda: poold.pool()["state"] == "degraded")
    assert poold.pool()["last_error"].endswith("MemoryError\n") and str(module) in poold.pool()["last_error"]
    poold.wait_log("cannot import module=large")
    assert poold.ctl("run", "-c", "print(1)").stdout == b"1\n"
    module.write_text("data = bytearray(1)\n")
    assert poold.wait_idle()["state"] == "ready"


@pytest.fixture
def as_user(poold):
    """
    Has the programs run as a user who has no other processes. Root's right to read and write files stays theirs.
    Returns what to put before other commands of that user's.
    """
    user = 100000 + os.getpid()
    become = [*harness.AS_ROOT, "setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups",
              "--inh-caps=-all,+dac_override", "--ambient-caps=-all,+dac_override", "env",
              *(f"{name}={value}" for name, value in poold.env.items())]
    programs = poold.folder / "bin"
    programs.mkdir()
    for name in ("poold", "poolctl"):
        (programs / name).write_text(f'#!/bin/sh\nexec {shlex.join(become)} {shlex.quote(poold.program(name))} "$@"\n')
        (programs / name).chmod(0o755)
    poold.bin = programs
    yield become
    poold.stop()
    subprocess.run([*harness.AS_ROOT, "rm", "-rf", poold.socket.parent], check=True)


@pytest.mark.parametrize("n_processes, error", [
    (1, "Resource temporarily unavailable"), (3, "the worker exited with status 127"),
], ids=["no keeper", "no worker"])
def test_out_of_processes(poold, as_user, n_processes, error):
    """Of what cannot be started nothing is left half. Runs are python3's, until there may be more processes."""

    def limit(soft):
        subprocess.run([*as_user, "prlimit", f"--pid={poold.status()['pid']}", f"--nproc={soft}:"], check=True)

    poold.start()
    limit(n_processes)
    assert poold.run("-c", "print(0)").stdout == b"0\n"
    harness.eventually("the pool to be degraded", lambda: poold.pool()["state"] == "degraded")
    assert poold.pool()["last_error"] == error
    poold.wait_log("Resource temporarily unavailable")
    assert error in poold.ctl("status").stdout.decode()
    harness.eventually("all to end", lambda: not harness.children_of(poold.status()["pid"]))
    done = poold.ctl("run", "-v", "-c", "print(1)")
    assert done.stdout == b"1\n" and done.stderr.startswith(b"poolctl: run by /"), done.stderr
    limit(1000)
    pool = poold.wait_idle()
    assert (pool["state"], pool["last_error"]) == ("ready", None)
    assert poold.ctl("run", "-v", "-c", "print(2)").stdout == b"2\n"


# --- Clocks ---

JUMPING = """
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* The time of day is another at each call, up to years before or after. */
static time_t somewhere(time_t now) {
        static unsigned n = 1;

        return now + (time_t)(n++ * 2654435761u % 200000000) - 100000000;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
        long r = syscall(SYS_clock_gettime, clock, now);

        if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
                now->tv_sec = somewhere(now->tv_sec);
        return (int)r;
}

int gettimeofday(struct timeval *now, void *zone) {
        struct timespec precise;

        clock_gettime(CLOCK_REALTIME, &precise);
        now->tv_sec = precise.tv_sec;
        now->tv_usec = precise.tv_nsec / 1000;
        return 0;
}

time_t time(time_t *ret_now) {
        struct timespec now;

        clock_gettime(CLOCK_REALTIME, &now);
        if (ret_now)
                *ret_now = now.tv_sec;
        return now.tv_sec;
}
"""


def expect_life_as_usual(poold, n_runs=10):
    """Workers are started and handed out, silent clients dropped in time; no time that is shown is out of this world."""
    start = time.monotonic()
    for n in range(n_runs):
        poold.wait_idle()
        assert poold.run("-c", f"print({n})").stdout == b"%d\n" % n
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(poold.socket))
        silent_since = time.monotonic()
        assert hung_up(connection, 10) and time.monotonic() - silent_since > 0.9
    poold.wait_idle()
    status, elapsed = poold.status(), time.monotonic() - start
    pool, = status["pools"]
    assert (pool["hits"], pool["misses"]) == (n_runs, {}) and pool["warmup_ms"]["p99"] < 60_000
    assert elapsed - 1 <= status["uptime_s"] <= elapsed + 60
    assert all(0 <= worker["age_s"] <= elapsed + 60 for worker in pool["workers"])
    assert "start_timeout" not in poold.log and "degraded" not in poold.log


def test_clock_that_jumps(poold, tmp_path):
    """The time of day may be set at any time: nobody waits by it."""
    library = tmp_path / "jumping.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-x", "c", "-", "-o", library], input=JUMPING, text=True, check=True)
    poold.env["LD_PRELOAD"] = str(library)
    poold.start(QUICK)
    maps = [pathlib.Path(f"/proc/{pid}/maps").read_text() for pid in (poold.pid, *poold.workers("idle"))]
    assert all(str(library) in each for each in maps)
    assert abs(float(poold.run("-c", "import time; print(time.time())").stdout) - time.time()) > 1000
    poold.stop()
    poold.start(QUICK)
    expect_life_as_usual(poold)


def test_machine_that_is_old(poold):
    """Up for 30 years, as far as anybody can see: in a time namespace, which clients and workers have as well."""
    holder = subprocess.Popen([*harness.AS_ROOT, "unshare", "--time", "--monotonic=1000000000", "--boottime=1000000000",
                               "cat"], stdin=subprocess.PIPE)
    own = os.readlink("/proc/self/ns/time")
    try:
        harness.eventually("the namespace", lambda: os.readlink(f"/proc/{holder.pid}/ns/time") != own)
        programs = poold.folder / "bin"
        programs.mkdir()
        for name in ("poold", "poolctl"):
            (programs / name).write_text(f'#!/bin/sh\nexec nsenter -t {holder.pid} --time {poold.program(name)} "$@"\n')
            (programs / name).chmod(0o755)
        poold.bin = programs
        poold.start(QUICK)
        uptime = float(poold.run("-c", "import time; print(time.monotonic())").stdout)
        assert uptime > 1_000_000_000
        poold.stop()
        poold.start(QUICK)
        expect_life_as_usual(poold)
    finally:
        poold.stop()
        holder.communicate()
