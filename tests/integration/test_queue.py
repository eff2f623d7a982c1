"""A run that finds no idle worker: it waits, falls back or fails, as its pool's on_empty says."""

import os
import signal
import subprocess
import threading
import time

import harness

ONE = "[pool:default]\nsize = 1\nmax_workers = 1\n"
PID = "import os; print(os.getpid(), flush=True)"
HOLD = PID + "; input()"  # a run that has the only worker until it is let go


def hold(poold):
    run = poold.popen("-c", HOLD)
    assert run.stdout.readline()
    return run


def let_go(run):
    assert run.communicate("\n", timeout=harness.DEADLINE)[1] == "" and run.returncode == 0


def waiting(poold, count):
    """Waits until so many clients are connected to poold for a run: beside its listener and what its workers have."""
    harness.eventually(f"{count} runs to wait", lambda: poold.pool()["waiting"] == count)


def test_fallback_is_at_once(poold):
    poold.start(ONE)
    first = hold(poold)
    done = poold.ctl("run", "-v", "-c", "print(1)")
    assert done.returncode == 0 and done.stdout == b"1\n" and b"no idle worker" in done.stderr
    let_go(first)
    assert poold.pool()["misses"] == {"empty": 1}


def test_wait_first_come_first_served(poold, tmp_path):
    poold.start(ONE + "on_empty = wait\n")
    first, order = hold(poold), tmp_path / "order"
    runs = []
    for i in range(5):
        runs.append(poold.popen("-c", f"open({str(order)!r}, 'a').write('{i}')"))
        waiting(poold, i + 1)
    let_go(first)
    for run in runs:
        assert run.communicate(timeout=harness.DEADLINE) == ("", "") and run.returncode == 0
    assert order.read_text() == "01234"
    status = poold.pool()
    assert (status["hits"], status["misses"], status["waiting"]) == (6, {}, 0)


def test_a_run_that_names_no_pool_waits_for_all_that_it_fits(poold):
    pool = "[pool:{}]\nsize = 1\nmax_workers = 1\non_empty = wait\nwait_timeout = 3600\n"
    poold.start(pool.format("first") + pool.format("other") + "options = -O\n" + pool.format("second"))
    holders = [poold.popen("--pool", name, "-c", HOLD) for name in ("first", "second")]
    assert all(run.stdout.readline() for run in holders)
    named = poold.popen("--pool", "first", "-c", "pass")
    harness.eventually("it to wait", lambda: poold.pool("first")["waiting"] == 1)
    runs = [poold.popen("-c", "pass") for _ in range(3)]
    harness.eventually("all to wait", lambda: poold.pool("first")["waiting"] == 4)
    let_go(holders[1])
    for run in runs:
        assert run.communicate(timeout=harness.DEADLINE) == ("", "") and run.returncode == 0
    assert named.poll() is None and poold.pool("first")["waiting"] == 1 and poold.pool("second")["hits"] == 4
    let_go(holders[0])
    assert named.communicate(timeout=harness.DEADLINE) == ("", "") and named.returncode == 0


def test_a_pool_that_fails_is_not_waited_for_where_another_fits(poold):
    poold.launch("[pool:broken]\nsize = 1\nmodules = nonesuch_of_poold\n"
                "[pool:default]\nsize = 1\nmax_workers = 1\non_empty = wait\nwait_timeout = 3600\n")
    poold.wait_idle()
    harness.eventually("the pool to fail", lambda: poold.pool("broken")["state"] == "degraded")
    first = hold(poold)
    run = poold.popen("-c", "print(1)")
    waiting(poold, 1)
    let_go(first)
    assert run.communicate(timeout=harness.DEADLINE) == ("1\n", "") and run.returncode == 0
    assert poold.pool()["hits"] == 2


def test_wait_timeout_is_followed_by_python3(poold):
    poold.start(ONE + "on_empty = wait\nwait_timeout = 1\n")
    first = hold(poold)
    begin = time.monotonic()
    done = poold.ctl("run", "-v", "-c", "print(1)")
    assert done.returncode == 0 and done.stdout == b"1\n" and b"no idle worker" in done.stderr
    assert 1 <= time.monotonic() - begin < 20
    let_go(first)


def test_a_waiting_run_waits_longer_than_a_reply_may_take(poold):
    poold.start(ONE + "on_empty = wait\n")
    first = hold(poold)
    run = poold.popen("-c", PID)
    waiting(poold, 1)
    begin = time.monotonic()
    harness.eventually("more than PROTO_REPLY_MS", lambda: time.monotonic() - begin > 2.5)
    assert run.poll() is None
    let_go(first)
    assert run.communicate(timeout=harness.DEADLINE)[1] == "" and run.returncode == 0


def test_interrupted_while_it_waits(poold):
    poold.start(ONE + "on_empty = wait\n")
    first = hold(poold)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        run = poold.popen("-c", PID)
        waiting(poold, 1)
        begin = time.monotonic()
        run.send_signal(number)
        assert run.wait(harness.DEADLINE) == -number and run.communicate() == ("", "")
        assert time.monotonic() - begin < 1
        waiting(poold, 0)
    let_go(first)
    poold.wait_idle()
    assert poold.run("-c", "print(1)").stdout == b"1\n"


def test_stopped_and_continued_while_it_waits(poold):
    poold.start(ONE + "on_empty = wait\n")
    first = hold(poold)
    run = poold.popen("-c", "print(7)")
    waiting(poold, 1)
    run.send_signal(signal.SIGSTOP)
    harness.eventually("it to stop", lambda: harness.state_of(run.pid) == "T")
    let_go(first)
    waiting(poold, 0)
    run.send_signal(signal.SIGCONT)
    assert run.communicate(timeout=harness.DEADLINE) == ("7\n", "") and run.returncode == 0


def test_fail(poold):
    poold.start(ONE + "on_empty = fail\n")
    first = hold(poold)
    done = poold.ctl("run", "-c", "print(1)")
    assert done.returncode == 125 and done.stdout == b"" and b"on_empty = fail" in done.stderr
    done = poold.ctl("explain", "-c", "print(1)")
    assert done.returncode == 1 and done.stdout.startswith(b"cold: empty: ")
    assert b"on_empty = fail" in done.stdout and b"python3" not in done.stdout
    let_go(first)


def test_fail_is_for_an_empty_pool_only(poold):
    poold.start(ONE + "on_empty = fail\n")
    done = poold.ctl("run", "-X", "dev", "-c", "print(1)")
    assert done.returncode == 0 and done.stdout == b"1\n"


def test_degraded_pool_makes_nobody_wait(poold):
    poold.launch("[pool:default]\nmodules = there_is_no_such\non_empty = wait\n")
    harness.eventually("the pool to fail", lambda: poold.pool()["state"] == "degraded")
    begin = time.monotonic()
    assert poold.ctl("run", "-c", "print(1)").stdout == b"1\n"
    assert time.monotonic() - begin < 20


def test_poold_ends_while_runs_wait(poold):
    poold.start(ONE + "on_empty = wait\n")
    for number, why in ((signal.SIGTERM, "poold is stopping"), (signal.SIGKILL, "no poold listens")):
        first = hold(poold)
        env = poold.env
        run = subprocess.Popen([poold.program("poolctl"), "run", "-v", "-c", "print(1)"], env=env, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        waiting(poold, 1)
        os.kill(poold.pid, number)
        out, err = run.communicate(timeout=harness.DEADLINE)
        assert run.returncode == 0 and out == "1\n" and why in err
        let_go(first)
        poold.process.wait(harness.DEADLINE)
        if number == signal.SIGTERM:
            poold.start(ONE + "on_empty = wait\n")


def test_pool_without_idle_workers_serves_those_who_wait(poold):
    """size = 0: workers are started for runs that wait for them, and only for those."""
    poold.launch("[pool:default]\nsize = 0\non_empty = wait\n")
    assert poold.pool()["workers"] == []
    assert poold.run("-c", "print(1)").stdout == b"1\n"
    assert poold.pool()["hits"] == 1


def test_many_wait(poold):
    poold.start("[pool:default]\nsize = 2\nmax_workers = 4\non_empty = wait\n")
    runs = [poold.popen("-c", f"print({i})") for i in range(100)]
    for i, run in enumerate(runs):
        assert run.communicate(timeout=harness.DEADLINE) == (f"{i}\n", "") and run.returncode == 0
    assert poold.pool()["hits"] == 100


def test_those_who_wait_do_so_no_longer_when_the_pool_fails(poold, tmp_path):
    """Nobody knows when its modules can be imported again: python3 runs them then as it does any that come later."""
    os.mkfifo(tmp_path / "gate")
    (tmp_path / "slow.py").write_text(f"open({str(tmp_path / 'gate')!r}).read()\nraise ImportError('no')\n")
    poold.launch(f"[pool:default]\nsize = 1\nmodules = slow\npath = {tmp_path}\non_empty = wait\nwait_timeout = 3600\n")
    runs = [subprocess.Popen([poold.program("poolctl"), "run", "-v", "-c", "print(1)"], env=poold.env, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    waiting(poold, 2)
    (tmp_path / "gate").write_text("")  # returns when a worker has opened the other end
    (tmp_path / "gate").unlink()
    (tmp_path / "gate").write_text("")
    for run in runs:
        out, err = run.communicate(timeout=harness.DEADLINE)
        assert (run.returncode, out) == (0, "1\n") and "no idle worker" in err
    assert poold.pool()["misses"] == {"degraded": 2}


def test_those_who_wait_do_not_mind_one_worker_that_is_killed(poold, tmp_path):
    os.mkfifo(tmp_path / "gate")
    (tmp_path / "slow.py").write_text(f"open({str(tmp_path / 'gate')!r}).read()\n")
    poold.launch(ONE + f"modules = slow\npath = {tmp_path}\non_empty = wait\nwait_timeout = 3600\n")
    run = poold.popen("-c", "print(1)")
    waiting(poold, 1)
    first, = harness.eventually("a worker to start", lambda: poold.workers("starting"))
    os.kill(first, signal.SIGKILL)
    harness.eventually("the pool to fail", lambda: poold.pool()["state"] == "degraded")
    (tmp_path / "gate").write_text("")  # returns when the next worker has opened the other end
    assert run.communicate(timeout=harness.DEADLINE) == ("1\n", "") and run.returncode == 0
    (tmp_path / "gate").unlink()
    (tmp_path / "gate").write_text("")  # for the one that replaces it


def test_a_busy_pool_starves_no_other(poold, tmp_path):
    """Of the warm-ups that max_starting allows, each pool that runs wait for gets some."""
    pool = "[pool:{}]\nsize = 1\non_empty = wait\nwait_timeout = 5\n"
    poold.start("[poold]\nmax_starting = 1\n" + pool.format("busy") + pool.format("other"))
    done = threading.Event()

    def keep_busy():
        while not done.is_set():
            for run in [poold.popen("--pool", "busy", "-c", "pass") for _ in range(4)]:
                run.communicate(timeout=harness.DEADLINE)

    threads = [threading.Thread(target=keep_busy) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        harness.eventually("a queue", lambda: poold.pool("busy")["waiting"] > 1)
        for _ in range(3):
            assert poold.run("--pool", "other", "-c", "print(1)").stdout == b"1\n"
    finally:
        done.set()
        for thread in threads:
            thread.join()
