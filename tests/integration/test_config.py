"""The ini file: what is wrong is named by file, line, section and key, all of it at once, before anything starts."""

import os
import subprocess

import pytest

import harness

EX_CONFIG = 78


def poold_with(poold, text, *options):
    poold.ini.write_text(text)
    return subprocess.run([poold.program("poold"), "--config", poold.ini, *options], env=poold.env, capture_output=True,
                          text=True, timeout=harness.DEADLINE)


@pytest.mark.parametrize("check", [[], ["--check"]], ids=["start", "check"])
@pytest.mark.parametrize("text, line, names", [
    ("[poold]\nsokcet = /x\n", 2, ["poold", "sokcet"]),
    ("[poold]\n\nlog_level = loud\n", 3, ["poold", "log_level", "loud"]),
    ("[pool:a]\nsize = many\n", 2, ["pool:a", "size", "many"]),
    ("[pool:a]\nsize = -1\n", 2, ["pool:a", "size", "-1"]),
    ("[pool:a]\nsize = 1000000\n", 2, ["pool:a", "size", "1000000"]),
    ("[pool:a]\nsize = 2x\n", 2, ["pool:a", "size", "2x"]),
    ("[pool:a]\nsize =\n", 2, ["pool:a", "size"]),
    ("[pool:a]\nsocket = /x\n", 2, ["pool:a", "socket"]),
    ("[pool:a]\npython = bin/python\n", 2, ["pool:a", "python", "bin/python", "not an absolute path"]),
    ("[pool:a]\npython = /nonexistent\n", 2, ["pool:a", "python", "/nonexistent", "No such file"]),
    ("[pool:a]\n\npython = ~\n", 3, ["pool:a", "python", "'~'", "Permission denied"]),
    ("[pool:a]\npython = /bin/true\n", 2, ["pool:a", "python", "/bin/true", "no CPython 3.9 or later"]),
    ("[pool:a]\npython = {bin}/poolpython\n", 2, ["pool:a", "python", "poolpython", "only starts another python"]),
    ("[polo:a]\nsize = 1\n", 1, ["polo:a"]),
    ("[pool:]\nsize = 1\n", 1, ["pool:"]),
    ("size = 1\n", 1, ["size"]),
    ("[pool:a]\nnonsense\n", 2, []),
])
def test_errors_name_their_place(poold, text, line, names, check):
    done = poold_with(poold, text.format(bin=poold.bin), *check)
    assert (done.returncode, done.stdout) == (EX_CONFIG, "")
    assert f"{poold.ini}:{line}:" in done.stderr
    for name in names:
        assert name in done.stderr


def test_every_error_is_reported(poold):
    done = poold_with(poold, "[poold]\na = 1\n[pool:x]\nsize = b\nc = 1\n", "--check")
    assert done.returncode == EX_CONFIG
    assert [f":{line}:" in done.stderr for line in (2, 4, 5)] == [True] * 3


@pytest.mark.parametrize("text", [
    "", "; only a comment\n", "[poold]\n", "[pool:a]\n",
    "[poold]\nsocket = %t/poold/poold.sock\nlog_level = debug\n[pool:a]\nsize = 3\nmodules = os, json\npath = ~/x\n",
    "[pool:a]\nmodules =\n    os\n    json ; a comment\n[pool:b]\nmodules = wave\n",
])
def test_good_files_pass_the_check(poold, text):
    done = poold_with(poold, text, "--check")
    assert done.returncode == 0, done.stderr


def test_the_sample_passes_the_check_and_is_the_defaults(poold, prefix):
    sample, = prefix.rglob("poold.ini")
    done = poold_with(poold, sample.read_text(), "--check")
    assert done.returncode == 0, done.stderr


def test_missing_file(poold):
    done = subprocess.run([poold.program("poold"), "--config", "/nonexistent/poold.ini"], capture_output=True, env=poold.env)
    assert done.returncode == EX_CONFIG and b"/nonexistent/poold.ini" in done.stderr


@pytest.mark.parametrize("place", ["POOLD_CONFIG", "XDG_CONFIG_HOME", "~/.config"])
def test_file_is_found(poold, place):
    folder = poold.folder / "home/.config/poold" if place == "~/.config" else poold.folder / "config/poold"
    folder.mkdir(parents=True)
    (folder / "poold.ini").write_text("[nonsense]\na = b\n")
    found = {"POOLD_CONFIG": folder / "poold.ini", "XDG_CONFIG_HOME": folder.parent, "~/.config": folder.parent}[place]
    env = poold.env if place == "~/.config" else poold.env | {place: str(found)}
    done = subprocess.run([poold.program("poold"), "--check"], env=env, capture_output=True)
    assert done.returncode == EX_CONFIG and os.fsencode(folder / "poold.ini") in done.stderr


def test_socket_elsewhere(poold):
    place = poold.runtime / "else where/s"
    poold.env["POOLD_SOCKET"] = str(place)
    poold.start(f"[poold]\nsocket = {place}\n[pool:default]\nsize = 1\n")
    assert poold.status()["socket"] == str(place)
    assert poold.run("-c", "print(1)").stdout == b"1\n"


def test_socket_path_that_is_too_long(poold):
    done = poold_with(poold, f"[poold]\nsocket = %t/{'x' * 108}\n")
    assert done.returncode == EX_CONFIG and f"{poold.ini}:2:" in done.stderr and "socket" in done.stderr


def test_pools_are_as_configured(poold):
    poold.start("[pool:one]\nsize = 1\n[pool:two]\nsize = 2\nmodules =\n    wave\n    zipfile\n")
    assert [(pool["name"], pool["size"], pool["idle"], pool["state"]) for pool in poold.status()["pools"]] == \
        [("one", 1, 1, "ready"), ("two", 2, 2, "ready")]


def test_status(poold):
    poold.start()
    poold.run("-c", "pass")
    poold.ctl("run", "--pool", "nothing", "-c", "pass")
    poold.wait_idle()
    status = poold.status()
    assert status["pid"] == poold.pid
    assert status["socket"] == str(poold.socket)
    assert status["uptime_s"] >= 0 and status["version"]
    pool, = status["pools"]
    assert {"name", "state", "size", "starting", "idle", "busy", "hits", "misses", "warmup_ms", "handoff_us",
            "workers"} <= pool.keys()
    assert (pool["hits"], pool["idle"], pool["busy"]) == (1, 1, 0)
    assert {"p50", "p99"} <= pool["handoff_us"].keys()
    worker, = pool["workers"]
    assert worker["state"] == "idle" and worker["pss_kb"] > 1000 and worker["age_s"] >= 0
    assert b"default" in poold.ctl("status").stdout
