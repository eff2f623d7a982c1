"""CPython's own test suite in a python3 whose sys.executable is poolpython: what its tests start comes from the pools."""

import pytest

import regrtest

# The first seven are about nothing but how an interpreter starts, runs and ends.
MODULES = """
    test_signal test_subprocess test_cmd_line test_cmd_line_script test_runpy test_atexit test_script_helper
    test_asyncio.test_subprocess test_faulthandler test_threading test_multiprocessing_main_handling test_regrtest
    test_os test_pdb test_posix test_traceback test_import test_fork1 test_bdb test_doctest test_popen test_tempfile
    test_thread test_unittest
""".split()

# (module, test, as -m takes it) and why. Each must still fail.
EXCEPTIONS = {
    ("test_subprocess", "test_pass_fds_redirected"): "looks for fds up to the limit: a worker has two of its own",
    ("test_os", "test_getppid"): "the parent of a run is not who started it",
}

# The options of most children; of each so many that tests which start one after the other find idle ones.
POOLS = {
    "plain": (48, "-X faulthandler"),
    "isolated": (16, "-X faulthandler -I"),
    "no-environment": (24, "-E"),
    "no-user-site": (4, "-E -s"),
    "development": (4, "-X dev"),
}

# regrtest sets this one for itself, and what is called PYTHON* has to be the pool's, too.
GUARD = ("PYTHONREGRTEST_UNICODE_GUARD", "guard")

# -m test, but that the tests find another interpreter from their first import on.
REGRTEST = "import sys; sys.executable = sys.argv.pop(1); from test.libregrtest import main; main()"


@pytest.fixture(scope="module")
def poold(start_poold):
    poold = start_poold("".join(f"[pool:{name}]\nsize = {size}\noptions = {options}\non_empty = wait\nenv.{'='.join(GUARD)}\n"
                                for name, (size, options) in POOLS.items()))
    poold.env |= {"COLUMNS": "80", GUARD[0]: GUARD[1]}
    return poold


@pytest.fixture(scope="module")
def suite(poold, tmp_path_factory):
    def with_poolpython(*args, **options):
        return poold.python3("-c", REGRTEST, poold.program("poolpython"), *args, **options)

    def with_python3(*args, **options):
        return poold.python3("-m", "test", *args, **options)

    return regrtest.Suite(with_poolpython, with_python3, tmp_path_factory.mktemp("cpython"), EXCEPTIONS)


@pytest.fixture(scope="module")
def runs(suite):
    yield from suite.start_all(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_module(suite, runs, module):
    suite.expect_as_python3(module, runs[module].result())


def test_most_children_are_warm(suite, runs, poold, count):
    hits, misses = 0, {}
    for run in runs.values():
        run.result()
    for pool in poold.status()["pools"]:
        hits += pool["hits"]
        for reason, times in pool["misses"].items():
            misses[reason] = misses.get(reason, 0) + times
    children = hits + sum(misses.values())
    reasons = ", ".join(f"{reason} {times}" for reason, times in sorted(misses.items(), key=lambda miss: -miss[1]))
    count(f"CPython's suite with poolpython as sys.executable: {suite.summary(MODULES)}")
    count(f"  of {children} processes {hits} were warm, {hits * 100 // children} %; others fell back: {reasons}")
    assert hits >= 0.8 * children


@pytest.mark.parametrize("module, test", EXCEPTIONS)
def test_exception_still_fails(suite, runs, module, test):
    runs[module].result()
    assert suite.outcome(suite.run, module, only=test).done.returncode == 2
