"""poolctl explain: how a run would be served, and why not warm if it would not be."""


import pytest

import harness


def explain(poold, *args, **options):
    """The verdict, the reason, and the line itself. Nothing is run, nothing is counted."""
    done = poold.ctl("explain", *args, **options)
    assert done.stderr == b"" and done.stdout.count(b"\n") == 1, done
    words = done.stdout.decode().split(": ")
    assert (words[0], done.returncode) in (("warm", 0), ("cold", 1))
    return words[0], words[1] if words[0] == "cold" else None, done.stdout.decode()


def test_without_poold(poold):
    verdict, reason, line = explain(poold, "-c", "pass")
    assert (verdict, reason) == ("cold", "absent") and line.endswith("; /usr/bin/python3 runs it\n")


def test_disabled(poold):
    assert explain(poold, "-c", "pass", env=poold.env | {"POOLD_DISABLE": "1"})[1] == "disabled"


@pytest.fixture(scope="module")
def pools(prefix, tmp_path_factory):
    poold = harness.Poold(prefix, tmp_path_factory.mktemp("explain"))
    poold.start("[pool:plain]\nsize = 1\n[pool:isolated]\nsize = 1\noptions = -I\n[pool:none]\nsize = 0\n")
    try:
        yield poold
    finally:
        poold.stop()
        poold.expect_nothing_left()


def test_says_which_pool(pools, script):
    for args, pool in [(("-c", "raise SystemExit(3)"), "plain"), (("-I", "-m", "json.tool"), "isolated"),
                       ((script("1 / 0"), "a"), "plain"), (("--pool", "isolated", "-IBu", "-"), "isolated")]:
        verdict, _, line = explain(pools, *args)
        assert verdict == "warm" and f" pool {pool} " in line and "/usr/bin/python3" in line
    assert all(pool["hits"] == 0 and not pool["misses"] for pool in pools.status()["pools"])


@pytest.mark.parametrize("args, env, reason", [
    (["-O", "-c", "pass"], {}, "options"), (["--", "-v"], {}, "options"), (["-V"], {}, "options"), (["-h"], {}, "options"),
    (["--version"], {}, "options"), (["--help"], {}, "options"), (["--nonsense"], {}, "options"), (["-c"], {}, "options"),
    (["--pool", "nothing", "-c", "pass"], {}, "pool"), (["--pool", "none", "-c", "pass"], {}, "empty"),
    (["-c", "pass"], {"OMP_NUM_THREADS": "3"}, "environment"), (["-c", "pass"], {"PYTHONHASHSEED": "3"}, "environment"),
    (["-c", "pass"], {"VIRTUAL_ENV": "/nonexistent"}, "interpreter"), (["/nonexistent.py"], {}, "script"),
], ids=str)
def test_names_the_reason(pools, tmp_path, args, env, reason):
    env = pools.env | env
    verdict, named, line = explain(pools, *args, env=env, cwd=tmp_path)
    assert (verdict, named) == ("cold", reason) and line.endswith("; /usr/bin/python3 runs it\n")
    before = {pool["name"]: pool["misses"] for pool in pools.status()["pools"]}
    if reason != "script":  # a worker says so, and is used up
        assert pools.ctl("run", "--no-fallback", *args, env=env).returncode == 125
        after = {pool["name"]: pool["misses"] for pool in pools.status()["pools"]}
        counted, = [(name, key) for name in after for key in after[name] if after[name][key] != before[name].get(key, 0)]
        assert counted[1] == reason


@pytest.mark.parametrize("options, pool", [([], "plain"), (["-I"], "isolated")], ids=str)
def test_names_what_is_wrong_with_the_pool_of_these_options(pools, options, pool):
    env = pools.env | {"OMP_NUM_THREADS": "3"}
    before = pools.pool(pool)["misses"].get("environment", 0)
    assert explain(pools, *options, "-c", "pass", env=env)[1] == "environment"
    assert pools.ctl("run", "--no-fallback", *options, "-c", "pass", env=env).returncode == 125
    assert pools.pool(pool)["misses"]["environment"] == before + 1


def test_large_environment(pools):
    env = pools.env | {f"BIG_{i}": "x" * 100_000 for i in range(15)}
    assert explain(pools, "-c", "pass", env=env)[0] == "warm"


@pytest.mark.parametrize("args", [["--pool"], ["--tty=odd"]], ids=str)
def test_wrong_usage(pools, args):
    done = pools.ctl("explain", *args)
    assert (done.returncode, done.stdout) == (2, b"") and done.stderr.startswith(b"poolctl:")
