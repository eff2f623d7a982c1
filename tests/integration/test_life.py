"""poold itself: one per socket, an orderly end, many runs, and rest."""

import concurrent.futures
import contextlib
import fcntl
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import pytest

import harness

REST_SECONDS = 10


def second(poold):
    return subprocess.run([poold.program("poold"), "--config", poold.ini], env=poold.env, capture_output=True,
                          timeout=harness.DEADLINE)


def test_second_poold_is_an_error_and_harms_nobody(poold):
    poold.start()
    worker = poold.workers("idle")
    done = second(poold)
    assert done.returncode > 0 and done.stdout == b"" and str(poold.socket).encode() in done.stderr
    assert poold.socket.exists() and poold.workers("idle") == worker
    assert poold.run("-c", "print(1)").stdout == b"1\n"


def test_two_that_start_at_once(poold):
    poold.ini.write_text("[pool:default]\nsize = 1\n")
    rivals = [subprocess.Popen([poold.program("poold"), "--config", poold.ini], env=poold.env, stderr=subprocess.DEVNULL)
              for _ in range(4)]
    harness.eventually("all but one to give up", lambda: sum(rival.poll() is None for rival in rivals) == 1)
    harness.eventually("the last to answer", lambda: poold.ctl("status").returncode == 0)
    for rival in rivals:
        rival.terminate()
    assert sorted(rival.wait(harness.DEADLINE) for rival in rivals)[0] == 0


def test_socket_is_private(poold):
    poold.start()
    assert oct(poold.socket.stat().st_mode & 0o777) == "0o600"
    assert oct(poold.socket.parent.stat().st_mode & 0o777) == "0o700"


def test_something_that_is_no_socket_is_kept(poold):
    poold.socket.parent.mkdir(mode=0o700)
    poold.socket.write_text("precious")
    poold.ini.write_text("[pool:default]\n")
    assert second(poold).returncode > 0
    assert poold.socket.read_text() == "precious"
    poold.socket.unlink()


def test_something_that_is_no_socket_is_not_linked_over(poold):
    poold.socket.parent.mkdir(mode=0o700)
    poold.socket.write_text("precious")
    elsewhere = poold.runtime / "own/poold.sock"
    poold.env["POOLD_SOCKET"] = str(elsewhere)
    poold.launch(f"[poold]\nsocket = {elsewhere}\n")
    poold.stop()
    assert poold.socket.read_text() == "precious"
    poold.socket.unlink()


@pytest.mark.parametrize("successor", ["", "[poold]\nsocket = {elsewhere}\n"], ids=["default", "same"])
def test_link_of_a_killed_poold_is_taken_over(poold, successor):
    elsewhere = poold.runtime / "own/poold.sock"
    poold.launch(f"[poold]\nsocket = {elsewhere}\n")
    assert poold.socket.is_symlink()
    poold.kill()
    poold.start(successor.format(elsewhere=elsewhere) + "[pool:default]\nsize = 1\n")
    assert poold.run("-c", "print(1)").stdout == b"1\n"
    poold.stop()
    assert not os.path.lexists(poold.socket)
    for left in elsewhere, elsewhere.with_name("poold.sock.lock"):
        left.unlink(missing_ok=True)


def test_stopping_leaves_the_files_of_another_alone(poold):
    """Somebody has removed ours, so that another poold could start."""
    poold.start()
    lock = poold.socket.with_name("poold.sock.lock")
    poold.socket.unlink()
    lock.unlink()
    other = subprocess.Popen([poold.program("poold"), "--config", poold.ini], env=poold.env, stderr=subprocess.DEVNULL)
    harness.eventually("the other to answer", lambda: poold.ctl("status").returncode == 0)
    poold.stop()
    assert poold.socket.exists() and lock.exists() and poold.ctl("status").returncode == 0
    other.terminate()
    assert other.wait(harness.DEADLINE) == 0


def test_started_with_sigchld_ignored(poold):
    """As by a parent that does not want to reap: the kernel would then do it in our place."""
    poold.start("[pool:default]\nsize = 1\n", preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert poold.run("-c", "print(1)").stdout == b"1\n"
    harness.eventually("poold to see the worker's end", lambda: poold.pool()["busy"] == 0)


@pytest.mark.parametrize("how", ["SIGTERM", "SIGINT", "poolctl stop"])
def test_stopping_lets_running_scripts_finish(poold, how):
    poold.start("[pool:default]\nsize = 2\n")
    client = poold.popen("-c", "import sys; print(1, flush=True); print(input()); sys.exit(7)")
    client.stdout.readline()
    poold.wait_idle()
    idle = poold.workers("idle")
    stop = None
    if how == "poolctl stop":
        stop = subprocess.Popen([poold.program("poolctl"), "stop"], env=poold.env)
    else:
        poold.process.send_signal(signal.Signals[how])
    harness.eventually("idle workers to leave", lambda: not any(map(harness.alive, idle)))
    # a new run is python3's now
    assert poold.ctl("run", "-c", "print('cold')").stdout == b"cold\n"
    assert client.poll() is None
    assert client.communicate("to the end\n", timeout=60) == ("to the end\n", "")
    assert client.returncode == 7
    assert poold.process.wait(harness.DEADLINE) == 0
    assert stop is None or stop.wait(harness.DEADLINE) == 0
    assert not poold.socket.exists()


def test_stopping_does_not_wait_for_ever(poold):
    """Past the deadline, what still runs is left to finish alone."""
    poold.start("[poold]\ndrain_timeout = 1\n[pool:default]\nsize = 1\n")
    client = poold.popen("-c", "import sys; print(1, flush=True); print(input()); sys.exit(7)")
    client.stdout.readline()
    poold.process.terminate()
    assert poold.process.wait(harness.DEADLINE) == 0
    assert client.communicate("alone\n", timeout=60) == ("alone\n", "")
    assert client.returncode == 7


class TestManyRuns:
    INI = "[pool:default]\nsize = 4\n"
    CODE = "import sys; n = int(sys.argv[1]); print('out', n); print('err', n, file=sys.stderr); sys.exit(n % 256)"

    def expect(self, n, done):
        expected = (n % 256, f"out {n}\n".encode(), f"err {n}\n".encode())
        assert (done.returncode, done.stdout, done.stderr) == expected

    @pytest.fixture
    def filled(self, poold):
        """After the runs poold has as many fds and processes as before, and not a file more."""

        def left():
            return (len(harness.fds_of(poold.pid)), len(harness.children_of(poold.pid)),
                    sorted(str(path) for path in poold.runtime.rglob("*")))

        poold.start(self.INI)
        before = left()
        yield poold
        poold.wait_idle()
        harness.eventually(lambda: f"{left()} to be {before} again", lambda: left() == before)

    def test_500_in_a_row(self, filled):
        for n in range(500):
            self.expect(n, filled.ctl("run", "-c", self.CODE, n))
        pool = filled.pool()
        assert pool["hits"] + sum(pool["misses"].values()) == 500

    def test_50_at_once(self, filled):
        with concurrent.futures.ThreadPoolExecutor(50) as threads:
            runs = [threads.submit(filled.ctl, "run", "-c", self.CODE, n) for n in range(50)]
            for n, run in enumerate(runs):
                self.expect(n, run.result())

    def test_50_that_are_killed(self, filled):
        clients = [subprocess.Popen([filled.program("poolctl"), "run", "-c", "import time; time.sleep(600)"],
                                    env=filled.env) for _ in range(50)]
        for client in clients:
            client.kill()
            assert client.wait(harness.DEADLINE) == -signal.SIGKILL
        harness.eventually("every script to end", lambda: filled.pool()["busy"] == 0)


def wakeups(pid):
    return int(re.search(r"^voluntary_ctxt_switches:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1])


def cpu_seconds(pid):
    """The time that the process has been running, proc_pid_stat(5)."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class TestRest:
    @pytest.fixture
    def resting(self, poold):
        """The pids of a poold that has served a run, and of its workers, all of them asleep."""
        poold.start("[pool:default]\nsize = 2\n")
        poold.run("-c", "pass")
        poold.wait_idle()
        harness.eventually("the last worker to be gone", lambda: len(harness.children_of(poold.pid)) == 2)
        pids = [poold.pid, *poold.workers("idle"), *harness.children_of(poold.pid)]
        harness.eventually("all to sleep", lambda: all(harness.state_of(pid) == "S" for pid in pids))
        return pids

    def test_nothing_wakes_up(self, resting):
        before = {pid: wakeups(pid) for pid in resting}
        time.sleep(REST_SECONDS)
        assert {pid: wakeups(pid) for pid in resting} == before

    def test_no_system_call_is_made(self, resting):
        strace = [*harness.AS_ROOT, "timeout", "-s", "INT", str(REST_SECONDS), "strace", "-qq", "-f", "-c", "-p"]
        traces = [subprocess.Popen([*strace, str(pid)],
                                   stderr=subprocess.PIPE, text=True) for pid in resting]
        for trace in traces:
            said = trace.communicate()[1]
            calls = {line.split()[-1]: int(line.split()[3]) for line in said.splitlines() if re.match(r"\s*\d+\.\d", line)}
            calls.pop("total", None)
            # what it sleeps in is interrupted once, by strace itself
            slept = {"epoll_wait", "epoll_pwait", "restart_syscall", "recvmsg", "poll", "ppoll"}
            assert calls.keys() <= slept and sum(calls.values()) <= 2, said

    def test_client_that_keeps_what_it_got(self, poold):
        """The worker's pidfd and the connection, long after poold has closed its own."""
        poold.start()
        client = poold.popen("-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)")
        worker = int(client.stdout.readline())
        client.send_signal(signal.SIGSTOP)
        os.kill(worker, signal.SIGKILL)
        harness.eventually("poold to reap the worker", lambda: harness.state_of(worker) == "X")
        poold.wait_idle()
        before = cpu_seconds(poold.pid)
        time.sleep(1)
        spent = cpu_seconds(poold.pid) - before
        client.send_signal(signal.SIGCONT)
        client.communicate(timeout=harness.DEADLINE)
        assert client.returncode == -signal.SIGKILL and spent < 0.1

    def test_idle_poold_is_small(self, poold):
        poold.start("[pool:default]\nsize = 4\n")
        for _ in range(20):
            poold.ctl("run", "-c", "pass", env=poold.env | {f"BIG_{i}": "x" * 100_000 for i in range(10)})
        poold.wait_idle()
        status = pathlib.Path(f"/proc/{poold.pid}/status").read_text()
        assert int(re.search(r"VmRSS:\s+(\d+)", status)[1]) < 8 * 1024

    def test_poold_loads_no_python(self, poold):
        poold.start()
        assert "/libpython" not in pathlib.Path(f"/proc/{poold.pid}/maps").read_text()
        assert b"PyObject" not in pathlib.Path(poold.program("poold")).read_bytes()


def test_poolctl_needs_only_libc(poold):
    headers = subprocess.run(["readelf", "--dynamic", poold.program("poolctl")], capture_output=True, text=True, check=True)
    assert re.findall(r"NEEDED.*\[(.*)\]", headers.stdout) in ([], ["libc.so.6"])


def test_poold_survives_without_stdio(poold):
    poold.ini.write_text("[pool:default]\nsize = 1\n")
    poold.process = subprocess.Popen(["bash", "-c", 'exec "$@" <&- >&- 2>&-', "bash", poold.program("poold"), "--config",
                                      poold.ini], env=poold.env)
    poold.log_file.touch()
    harness.eventually("poold to answer", poold.answers)
    poold.wait_idle()
    assert poold.run("-c", "print(1)").stdout == b"1\n"
    assert {harness.fds_of(poold.pid)[number] for number in range(3)} == {"/dev/null"}


def test_out_of_fds(poold):
    """With few fds poold serves fewer at once; it neither ends nor spins, and costs no run."""
    poold.start("[pool:default]\nsize = 1\n", wrap=["bash", "-c", 'ulimit -n 40; exec "$@"', "bash"])
    fds = len(harness.fds_of(poold.pid))
    with concurrent.futures.ThreadPoolExecutor(30) as threads:
        runs = [threads.submit(poold.ctl, "run", "-c", "print(1)") for _ in range(30)]
        results = {(run.result().returncode, run.result().stdout, run.result().stderr) for run in runs}
    assert results == {(0, b"1\n", b"")}
    poold.wait_idle()
    harness.eventually("poold to close all it got", lambda: len(harness.fds_of(poold.pid)) == fds)


@pytest.mark.parametrize("has_socket", [False, True])
def test_lock_that_its_holder_is_about_to_let_go(poold, has_socket):
    """As a worker does that a poold was starting when it was killed. One that is kept is somebody's."""
    poold.socket.parent.mkdir(mode=0o700)
    gone = subprocess.Popen(["true"])
    gone.wait()
    with contextlib.ExitStack() as held:
        lock = held.enter_context(open(f"{poold.socket}.lock", "w"))
        print(gone.pid, file=lock, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)
        if has_socket:
            listener = held.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(str(poold.socket))
            listener.listen()
        with pytest.raises(AssertionError, match="another poold has the lock of this socket"):
            poold.launch()
        letting_go = threading.Timer(0.2, held.close)
        letting_go.start()
        poold.launch()
        letting_go.join()
    assert poold.wait_idle()
