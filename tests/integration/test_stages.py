"""$POOLD_TRACE: when a run reached which of its stages, poolctl's, poold's and the worker's, by one clock."""

import time

from harness import eventually

# In the order in which they are reached.
STAGES = ["client", "connected", "asks", "received", "assigns", "woken", "compiled", "starts", "ended", "finished", "tells",
          "ends"]
CLIENTS = ["client", "connected", "asks", "ends"]


def run_traced(poold, path, *args):
    return poold.ctl("run", *args, env=poold.env | {"POOLD_TRACE": str(path)})


def stages_of(path):
    """Name to (nanoseconds, pid)."""
    words = [line.split() for line in path.read_text().splitlines()]
    assert len({name for name, _, _ in words}) == len(words)
    return {name: (int(nsec), int(pid)) for name, nsec, pid in words}


def wait_stages(path):
    """The worker's lines may be a moment later than poolctl's end."""
    return eventually(lambda: path.exists() and path.read_text(), lambda: path.exists() and "ends " in path.read_text()
                      and "tells " in path.read_text() and stages_of(path))


def test_every_stage_in_order(poold, tmp_path):
    poold.start()
    (worker,) = poold.workers("idle")
    path = tmp_path / "stages"
    before = time.monotonic_ns()
    done = run_traced(poold, path, "-c", "import os, time; print(os.getpid()); time.sleep(0.1); print(time.monotonic_ns())")
    after = time.monotonic_ns()
    pid, during = map(int, done.stdout.split())
    assert pid == worker
    stages = wait_stages(path)
    assert set(stages) == {*STAGES, "accepted"}
    times = [before, *(stages[name][0] for name in STAGES), after]
    assert times == sorted(times), stages
    assert before < stages["accepted"][0] <= stages["received"][0]
    assert stages["starts"][0] < during < stages["ended"][0]
    assert stages["ended"][0] - stages["starts"][0] >= 100_000_000
    assert {name for name, (_, pid) in stages.items() if pid != worker} == set(CLIENTS)


def test_runs_append(poold, tmp_path):
    path = tmp_path / "stages"
    poold.start()
    for _ in range(2):
        poold.wait_idle()
        assert run_traced(poold, path, "-c", "").returncode == 0
    text = eventually("both runs' lines", lambda: path.read_text().count("tells ") == 2 and path.read_text())
    assert len(text.splitlines()) == 2 * (len(STAGES) + 1)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_fallback_says_how_far_it_came(poold, tmp_path):
    path = tmp_path / "stages"
    assert run_traced(poold, path, "-c", "print(1)").stdout == b"1\n"
    assert list(stages_of(path)) == ["client"]


def test_only_an_absolute_path(poold, tmp_path):
    poold.start()
    done = poold.run("-c", "print(1)", env=poold.env | {"POOLD_TRACE": "stages"}, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")
    assert not (tmp_path / "stages").exists()


def test_a_file_that_cannot_be_written_is_no_error(poold, tmp_path):
    poold.start()
    done = run_traced(poold, tmp_path / "absent/stages", "-c", "print(1)")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")


def test_a_run_that_waited(poold, tmp_path):
    """poold's stages are those of when a worker had it, also for a run that was kept."""
    path = tmp_path / "stages"
    poold.start("[pool:default]\nsize = 1\nmax_workers = 1\non_empty = wait\n")
    first = poold.popen("-c", "import sys; sys.stdin.read()")
    eventually("the worker to be busy", lambda: poold.workers("busy"))
    second = poold.popen("-c", "", env=poold.env | {"POOLD_TRACE": str(path)})
    eventually("the second run to wait", lambda: poold.pool()["waiting"])
    assert first.communicate() == ("", "")
    freed = time.monotonic_ns()
    assert second.communicate() == ("", "")
    stages = wait_stages(path)
    assert stages["received"][0] < freed
    assert stages["received"][0] < stages["assigns"][0] < stages["woken"][0]
