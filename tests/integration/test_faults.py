"""Clients that break the rules, and processes that die: nobody else pays for it."""

import array
import os
import random
import signal
import socket
import struct
import subprocess
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


def test_many_silent_clients(poold):
    poold.start(QUICK)
    fds = len(harness.fds_of(poold.pid))
    connections = [socket.socket(socket.AF_UNIX) for _ in range(100)]
    try:
        for connection in connections:
            connection.connect(str(poold.socket))
        assert poold.run("-c", "print(1)").stdout == b"1\n"
        assert all(hung_up(connection, 10) for connection in connections)
    finally:
        for connection in connections:
            connection.close()
    poold.wait_idle()
    harness.eventually("poold to close all it got", lambda: len(harness.fds_of(poold.pid)) == fds)


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


def test_killed_idle_worker_is_replaced(poold):
    poold.start("[pool:default]\nsize = 2\n")
    victim = poold.workers("idle")[0]
    os.kill(victim, signal.SIGKILL)
    harness.eventually("poold to see it", lambda: victim not in poold.workers("idle"))
    poold.wait_idle()
    assert poold.pool()["state"] == "ready"


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
    ("import os; os._exit(3)", ""), ("import os; os.abort()", ""), ("raise SystemExit(0)", "SystemExit"),
    ("def f(:", "SyntaxError"), ("import nonexistent_module", "nonexistent_module"),
], ids=["exits", "aborts", "SystemExit", "syntax", "missing"])
def test_modules_that_end_their_worker(poold, tmp_path, module, why):
    (tmp_path / "odd.py").write_text(module)
    poold.launch(f"[pool:default]\nsize = 1\nmodules = odd\npath = {tmp_path}\n")
    harness.eventually("the pool to be degraded", lambda: poold.pool()["state"] == "degraded")
    assert why in poold.pool()["last_error"]
    assert poold.ctl("run", "-c", "print(1)").stdout == b"1\n"


def test_module_that_hangs(poold, tmp_path):
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(600)\n")
    poold.launch(f"[pool:default]\nsize = 1\nmodules = slow\npath = {tmp_path}\nstart_timeout = 1\n")
    start = time.monotonic()
    assert poold.ctl("run", "-c", "print(1)").stdout == b"1\n"
    assert time.monotonic() - start < 10
    harness.eventually("the pool to be degraded", lambda: poold.pool()["state"] == "degraded")
