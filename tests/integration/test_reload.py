"""poolctl reload and SIGHUP: what changed is made anew beside what is there, and nothing is lost over it."""

import os
import signal
import subprocess
import threading

import pytest

import harness

HOLD = "print(1, flush=True); input()"


def reload(poold, ini):
    poold.ini.write_text(ini)
    return poold.ctl("reload")


def expect_reloaded(poold, ini, said):
    done = reload(poold, ini)
    assert (done.returncode, done.stderr) == (0, b"") and said in done.stdout.decode(), done


def modules_there(poold, *options):
    return poold.run(*options, "-c", "import sys; print('json' in sys.modules, 'decimal' in sys.modules)").stdout.split()


def test_unchanged_pool_keeps_its_workers(poold):
    ini = "[pool:default]\nsize = 2\nmodules = json\n"
    poold.start(ini)
    workers = poold.workers("idle")
    expect_reloaded(poold, ini, "0 pools new, 0 renewed, 1 as they were, 0 gone")
    expect_reloaded(poold, ini + "[pool:other]\nsize = 1\n", "1 pools new, 0 renewed, 1 as they were, 0 gone")
    poold.wait_idle("other")
    assert poold.workers("idle") == workers


def test_changed_pool_warms_beside_the_old_one(poold, tmp_path):
    (tmp_path / "slow.py").write_text(f"import os\nopen({str(tmp_path / 'gate')!r}).read()\n")
    os.mkfifo(tmp_path / "gate")
    poold.start("[pool:default]\nsize = 2\nmodules = json\n")
    old = poold.workers("idle")
    expect_reloaded(poold, f"[pool:default]\nsize = 1\nmodules = decimal, slow\npath = {tmp_path}\n",
                    "0 pools new, 1 renewed, 0 as they were, 0 gone")
    assert modules_there(poold) == [b"True", b"False"]  # served while the new generation warms up
    (tmp_path / "gate").write_text("")  # returns when its worker has opened the other end
    harness.eventually("the old generation to be gone", lambda: not set(old) & set(
        worker["pid"] for pool in poold.status()["pools"] for worker in pool["workers"]))
    harness.eventually("one pool to be left", lambda: len(poold.status()["pools"]) == 1)
    poold.wait_idle()
    ran = poold.popen("-c", "import sys; print('decimal' in sys.modules)")
    assert ran.communicate(timeout=harness.DEADLINE)[0] == "True\n"
    with open(tmp_path / "gate", "w"):  # for the one that replaces it
        pass


def test_those_who_wait_for_the_old_generation_get_the_new_one(poold, tmp_path):
    """They do so while the new one fails. When its modules are mended the old one goes, which has no worker then."""
    ini = "[poold]\nmax_starting = 1\n[pool:default]\nsize = 1\nmax_workers = 1\non_empty = wait\n"
    gate = tmp_path / "gate"
    poold.start(ini)
    holder = poold.popen("-c", HOLD)
    assert holder.stdout.readline()
    expect_reloaded(poold, ini + f"modules = mod\npath = {tmp_path}\n", "1 renewed")
    harness.eventually("the new one to fail", lambda: poold.pool()["state"] == "degraded")
    os.mkfifo(gate)
    (tmp_path / "mod.py").write_text(f"open({str(gate)!r}).read()\n")
    harness.eventually("it to try again", lambda: poold.pool()["starting"] == 1 and "recycling" in poold.log)
    waiting = [poold.popen(*options, "-c", "import sys; print('mod' in sys.modules)")
               for options in ([], ["--pool", "default"]) * 2]
    harness.eventually("all to wait for the old one", lambda: poold.status()["pools"][1]["waiting"] == 4)
    assert holder.communicate("\n", timeout=harness.DEADLINE) == ("", "")
    harness.eventually("the old one to have no worker", lambda: poold.status()["pools"][1]["workers"] == [])
    gate.write_text("")  # returns when the worker has opened the other end
    gate.unlink()
    gate.write_text("")
    for run in waiting:
        assert run.communicate(timeout=harness.DEADLINE) == ("True\n", ""), poold.log
    harness.eventually("the old one to go", lambda: len(poold.status()["pools"]) == 1)


def test_new_generation_that_fails_leaves_the_old_one(poold):
    poold.start("[pool:default]\nsize = 1\nmodules = json\n")
    expect_reloaded(poold, "[pool:default]\nsize = 1\nmodules = decimal, there_is_no_such\n", "1 renewed")
    harness.eventually("the new one to fail", lambda: poold.pool()["state"] == "degraded")
    for _ in range(2):
        harness.eventually("an old worker", lambda: any(pool["idle"] for pool in poold.status()["pools"]))
        assert modules_there(poold) == [b"True", b"False"]
    expect_reloaded(poold, "[pool:default]\nsize = 1\nmodules = decimal\n", "1 renewed")
    harness.eventually("the third to take over", lambda: len(poold.status()["pools"]) == 1)
    poold.wait_idle()
    assert modules_there(poold) == [b"False", b"True"]


def test_back_again(poold):
    """What is taken back before the new generation has come up keeps the workers it had."""
    ini = "[pool:default]\nsize = 1\n"
    poold.start(ini)
    workers = poold.workers("idle")
    expect_reloaded(poold, ini + "modules = there_is_no_such\n", "1 renewed")
    expect_reloaded(poold, ini, "1 as they were")
    harness.eventually("one pool to be left", lambda: len(poold.status()["pools"]) == 1)
    assert poold.workers("idle") == workers


def test_running_scripts_are_not_touched(poold):
    poold.start("[pool:default]\nsize = 1\n[pool:doomed]\nsize = 1\n")
    runs = [poold.popen("-c", HOLD), poold.popen("--pool", "doomed", "-c", HOLD)]
    assert all(run.stdout.readline() for run in runs)
    expect_reloaded(poold, "[pool:default]\nsize = 1\nmodules = json\n", "1 renewed, 0 as they were, 1 gone")
    for run in runs:
        assert run.communicate("\n", timeout=harness.DEADLINE) == ("", "") and run.returncode == 0
    harness.eventually("the pools of before to be gone", lambda: len(poold.status()["pools"]) == 1)
    assert b"no pool" in poold.run("--pool", "doomed", "-c", "").stderr


@pytest.mark.parametrize("ini, wrong", [
    ("[pool:default]\nsize = many\n", ":2: section [pool:default], key size: 'many' is not"),
    ("[pool:default]\npython = /nonexistent/python\n", "/nonexistent/python"),
])
def test_bad_file_changes_nothing(poold, ini, wrong):
    poold.start("[pool:default]\nsize = 1\n")
    workers = poold.workers("idle")
    done = reload(poold, ini)
    assert done.returncode == 1 and done.stdout == b"" and wrong in done.stderr.decode()
    assert wrong in poold.log
    assert poold.workers("idle") == workers and poold.pool()["size"] == 1


def test_sizes_apply_to_the_workers_there_are(poold):
    poold.start("[pool:default]\nsize = 3\n")
    before = poold.workers("idle")
    expect_reloaded(poold, "[pool:default]\nsize = 1\n", "1 as they were")
    left = harness.eventually("two to go", lambda: len(poold.workers("idle")) == 1 and poold.workers("idle"))
    assert left[0] in before
    expect_reloaded(poold, "[pool:default]\nsize = 2\n", "1 as they were")
    assert left[0] in harness.eventually("one to come", lambda: poold.wait_idle(count=2) and poold.workers("idle"))


def test_keys_that_need_a_restart_are_named(poold):
    poold.start("[pool:default]\nsize = 1\n")
    ini = f"[poold]\nsocket = {poold.runtime}/other.sock\n[pool:default]\nsize = 1\n"
    for _ in range(2):
        expect_reloaded(poold, ini, "it takes a restart of poold to change socket")
    assert poold.run("-c", "print(1)").stdout == b"1\n"


def test_sighup(poold):
    poold.start("[pool:default]\nsize = 1\n")
    poold.ini.write_text("[poold]\nlog_level = debug\n[pool:default]\nsize = 2\n")
    os.kill(poold.pid, signal.SIGHUP)
    poold.wait_idle(count=2)
    assert "reloaded: " in poold.log
    poold.ini.write_text("nonsense")
    os.kill(poold.pid, signal.SIGHUP)
    poold.wait_log("not reloaded")
    assert poold.pool()["size"] == 2


def test_a_slow_interpreter_keeps_nobody_waiting(poold, tmp_path):
    """What a `python` is has to be asked of itself, which may take long."""
    gate, slow = tmp_path / "gate", tmp_path / "python"
    os.mkfifo(gate)
    slow.write_text(f"#!/bin/sh\nread line <{gate}\nexec {harness.PYTHON} \"$@\"\n")
    slow.chmod(0o755)
    poold.start("[pool:default]\nsize = 1\n")
    poold.ini.write_text(f"[pool:default]\nsize = 1\n[pool:slow]\nsize = 0\npython = {slow}\n")
    os.kill(poold.pid, signal.SIGHUP)
    with open(gate, "w") as opened:  # it is being asked
        assert poold.run("-c", "print(1)").stdout == b"1\n"
        assert "not reloaded" not in poold.log
        opened.write("\n")
    poold.wait_log("only starts another python")  # and that was its answer


def test_a_poold_that_is_stopped(poold):
    """Whoever waits for it is told so."""
    poold.start()
    os.kill(poold.pid, signal.SIGSTOP)
    waiting = subprocess.Popen([poold.program("poolctl"), "reload"], env=poold.env, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True)
    try:
        assert waiting.stderr.readline().startswith("poolctl: no answer yet: ")
    finally:
        os.kill(poold.pid, signal.SIGCONT)
    out, err = waiting.communicate(timeout=harness.DEADLINE)
    assert (out, err, waiting.returncode) == ("0 pools new, 0 renewed, 1 as they were, 0 gone\n", "", 0)


def test_stop_does_not_wait_for_a_slow_interpreter(poold, tmp_path):
    gate, slow = tmp_path / "gate", tmp_path / "python"
    os.mkfifo(gate)
    slow.write_text(f"#!/bin/sh\nread line <{gate}\n")
    slow.chmod(0o755)
    poold.start("[pool:default]\nsize = 1\n")
    poold.ini.write_text(f"[pool:default]\nsize = 1\n[pool:slow]\nsize = 0\npython = {slow}\n")
    os.kill(poold.pid, signal.SIGHUP)
    with open(gate, "w"):  # it is being asked
        poold.process.terminate()
        assert poold.process.wait(10) == 0


def test_waiting_runs_get_a_worker_of_the_new_generation(poold):
    ini = "[pool:default]\nsize = 1\nmax_workers = 1\non_empty = wait\n"
    poold.start(ini)
    first = poold.popen("-c", HOLD)
    assert first.stdout.readline()
    second = poold.popen("-c", "import sys; print('decimal' in sys.modules)")
    harness.eventually("it to wait", lambda: poold.pool()["waiting"] == 1)
    expect_reloaded(poold, ini + "modules = decimal\n", "1 renewed")
    assert second.communicate(timeout=harness.DEADLINE) == ("True\n", "") and second.returncode == 0
    assert first.communicate("\n", timeout=harness.DEADLINE) == ("", "")


def test_many_reloads(poold):
    poold.start("[pool:default]\nsize = 1\n")
    for i in range(20):
        poold.ini.write_text(f"[pool:default]\nsize = 1\nenv.X = {i}\n")
        os.kill(poold.pid, signal.SIGHUP)
        assert poold.ctl("reload").returncode == 0
    harness.eventually("one pool to be left", lambda: len(poold.status()["pools"]) == 1)
    poold.wait_idle()
    assert poold.run("-c", "print(1)").stdout == b"1\n"


def test_old_generation_ends_although_all_of_the_new_one_are_taken_at_once(poold):
    """By those who wait: its workers are never seen idle."""
    ini = "[pool:default]\nsize = 1\non_empty = wait\nmax_workers = 3\n"
    poold.start(ini)
    done = threading.Event()

    def keep_busy():
        while not done.is_set():
            poold.run("-c", "pass")

    threads = [threading.Thread(target=keep_busy) for _ in range(8)]
    for thread in threads:
        thread.start()
    try:
        harness.eventually("a queue", lambda: poold.pool()["waiting"] > 3)
        expect_reloaded(poold, ini + "modules = json\n", "1 renewed")
        harness.eventually("the old generation to go", lambda: len(poold.status()["pools"]) == 1, deadline=10)
    finally:
        done.set()
        for thread in threads:
            thread.join()


def test_run_that_waits_for_a_pool_that_is_gone(poold):
    keys = "size = 1\nmax_workers = 1\non_empty = wait\n"
    poold.start(f"[pool:default]\n{keys}[pool:doomed]\n{keys}")
    first = poold.popen("--pool", "doomed", "-c", HOLD)
    assert first.stdout.readline()
    second = poold.popen("--pool", "doomed", "-c", "")
    harness.eventually("it to wait", lambda: poold.pool("doomed")["waiting"] == 1)
    expect_reloaded(poold, f"[pool:default]\n{keys}", "1 gone")
    _, err = second.communicate(timeout=harness.DEADLINE)
    assert second.returncode == 125 and 'there is no pool "doomed" (pool)' in err
    assert poold.pool()["misses"] == {"pool": 1}
    assert first.communicate("\n", timeout=harness.DEADLINE) == ("", "") and first.returncode == 0


def test_order_of_the_pools(poold):
    """What has only changed its place keeps its workers, and its new place counts."""
    one, other = "[pool:one]\nsize = 1\n", "[pool:other]\nsize = 1\n"
    poold.start(one + other)
    workers = [poold.workers("idle", name) for name in ("one", "other")]
    for ini, first in ((other + one, b"other"), (one + other, b"one")):
        expect_reloaded(poold, ini, "2 as they were")
        assert b" pool " + first + b" " in poold.ctl("explain", "-c", "").stdout
    assert [poold.workers("idle", name) for name in ("one", "other")] == workers


def test_new_generation_is_as_large_as_demand_has_made_the_old_one(poold, tmp_path):
    """Also where an idle pool has no workers: the old ones do not go before there are new ones."""
    ini = f"[pool:default]\nsize = auto\nmin_idle = 0\non_empty = wait\npath = {tmp_path}\n"
    (tmp_path / "slow.py").write_text(f"open({str(tmp_path / 'gate')!r}).read()\n")
    os.mkfifo(tmp_path / "gate")
    poold.launch(ini)
    runs = [poold.popen("-c", HOLD) for _ in range(3)]
    assert all(run.stdout.readline() for run in runs)
    for run in runs:
        run.communicate("\n")
    poold.wait_idle(count=2)
    expect_reloaded(poold, ini + "modules = slow\n", "1 renewed")
    pool = harness.eventually("a new worker", lambda: (pool := poold.pool())["starting"] and pool)
    assert pool["size"] >= 2 and poold.status()["pools"][1]["idle"] >= 2
    (tmp_path / "gate").write_text("")  # returns when a worker has opened the other end
    (tmp_path / "gate").unlink()
    (tmp_path / "gate").write_text("")
    harness.eventually("the old generation to go", lambda: len(poold.status()["pools"]) == 1)
    poold.wait_idle(count=2)


def test_pool_of_two_generations_that_goes_is_one(poold):
    one = "[pool:one]\nsize = 1\n"
    poold.start(one + "[pool:doomed]\nsize = 1\n")
    expect_reloaded(poold, one + "[pool:doomed]\nsize = 1\nmodules = there_is_no_such\n", "1 renewed")
    expect_reloaded(poold, one, "1 as they were, 1 gone")
    harness.eventually("one pool to be left", lambda: len(poold.status()["pools"]) == 1)
