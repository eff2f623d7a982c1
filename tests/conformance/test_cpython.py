"""CPython's own test suite, each module inside a worker that has numpy and torch loaded.

A module that fails there is run under python3, too: whatever passes there must pass in a worker.
"""

import concurrent.futures
import re
import time
import xml.etree.ElementTree

import pytest

import harness

MODULES = """
    test_abc test_argparse test_array test_asyncgen test_atexit test_audit test_bdb test_bisect test_bool test_bufio
    test_builtin test_bytes test_c_locale_coercion test_calendar test_class test_cmd test_code test_codecs
    test_collections test_configparser test_context test_contextlib test_contextlib_async test_copy test_coroutines
    test_csv test_ctypes test_dataclasses test_decimal test_descr test_dict test_dis test_doctest test_enum test_epoll
    test_exceptions test_fcntl test_file test_fileio test_finalization test_float test_fnmatch test_fork1
    test_fractions test_frame test_funcattrs test_functools test_gc test_generators test_getopt test_getpass
    test_gettext test_glob test_global test_gzip test_hash test_hashlib test_heapq test_hmac test_httpservers
    test_import test_importlib test_inspect test_int test_io test_iter test_json test_linecache test_list test_locale
    test_long test_marshal test_math test_memoryview test_minidom test_mmap test_module test_modulefinder
    test_operator test_optparse test_ordered_dict test_os test_pathlib test_pdb test_pickle test_pkgutil test_posix
    test_pprint test_print test_property test_pty test_pyclbr test_queue test_raise test_random test_range test_re
    test_readline test_reprlib test_resource test_rlcompleter test_runpy test_sax test_sched test_scope test_secrets
    test_select test_set test_shelve test_shutil test_site test_slice test_sort test_stat
    test_statistics test_string test_strptime test_struct test_subprocess test_super test_symtable test_syntax
    test_sys test_sys_setprofile test_sys_settrace test_sysconfig test_tarfile test_tempfile test_textwrap test_thread
    test_threading test_threading_local test_threadsignals test_time test_timeit test_tokenize test_trace
    test_traceback test_tracemalloc test_tuple test_types test_typing test_unicode test_unittest test_urlparse
    test_utf8_mode test_uuid test_wait3 test_wait4 test_warnings test_weakset test_with test_xml_etree test_zipimport
    test_zlib
    test_asyncio.test_context test_asyncio.test_events test_asyncio.test_futures test_asyncio.test_locks
    test_asyncio.test_queues test_asyncio.test_runners test_asyncio.test_subprocess test_asyncio.test_tasks
    test_asyncio.test_taskgroups test_asyncio.test_timeouts test_asyncio.test_unix_events
""".split()

# What a worker with numpy and torch cannot pass: (module, test, as -m takes it) and why. Each must still fail.
EXCEPTIONS = {
    ("test_inspect", "test__all__"): "torch.package replaces inspect.getfile by a function of its own",
    ("test_inspect", "test_getfile_class_without_module"): "torch.package's getfile raises AttributeError for it",
}

TIMEOUT = 240
AT_ONCE = 2


class Suite:
    def __init__(self, poold, folder):
        self.poold = poold
        self.folder = folder
        self.tests = 0

    def arguments(self, module, only=None):
        """regrtest's. -m chooses among all tests of a module; -i leaves out."""
        chosen = ["-m", only] if only else [word for (of, test) in EXCEPTIONS if of == module for word in ("-i", test)]
        return ["-m", "test", "-u", "none", "--junit-xml", self.folder / f"{module}.xml", *chosen, module]

    def ended(self, run, module, only=None):
        """Runs it to its end, in a folder of its own, and returns what it came to."""
        folder = self.folder / f"in {module}"
        folder.mkdir(exist_ok=True)
        return run(*self.arguments(module, only), cwd=folder, timeout=TIMEOUT)

    def warm(self, module, only=None):
        """The same in a worker, as soon as one is idle."""
        end = time.monotonic() + harness.DEADLINE
        while True:
            done = self.ended(self.poold.run, module, only)
            not_yet = done.returncode == 125 and re.search(rb"\((empty|timeout|warming)\)|no idle worker", done.stderr)
            if not not_yet or time.monotonic() > end:
                return done
            time.sleep(0.1)

    def names(self, module):
        """How many tests the module's last run had, and those that failed."""
        path = self.folder / f"{module}.xml"
        if not path.exists():
            return 0, set()
        cases = list(xml.etree.ElementTree.parse(path).iter("testcase"))
        bad = {case.get("name") for case in cases if case.find("error") is not None or case.find("failure") is not None}
        return len(cases), bad


@pytest.fixture(scope="module")
def suite(start_poold, tmp_path_factory):
    poold = start_poold(f"[pool:default]\nsize = {AT_ONCE + 1}\nmodules = numpy, torch\n")
    poold.env["COLUMNS"] = "80"
    return Suite(poold, tmp_path_factory.mktemp("cpython"))


@pytest.fixture(scope="module")
def runs(suite):
    """Each module's run, started beforehand: the tests below take what it came to."""
    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as executor:
        started = {module: executor.submit(suite.warm, module) for module in MODULES}
        yield started
        executor.shutdown(cancel_futures=True)


def tail(done):
    return (done.stdout + done.stderr).decode(errors="replace")[-6000:]


@pytest.mark.parametrize("module", MODULES)
def test_module(suite, runs, module):
    done = runs[module].result()
    tests, bad = suite.names(module)
    suite.tests += tests
    if done.returncode == 0:
        assert tests > 0
        return
    assert done.returncode != 125, tail(done)
    cold = suite.ended(suite.poold.python3, module)
    _, bad_cold = suite.names(module)
    assert cold.returncode != 0 and bad <= bad_cold, f"fails in a worker, not under python3: {bad - bad_cold}\n{tail(done)}"


@pytest.mark.parametrize("module, test", EXCEPTIONS)
def test_exception_still_fails(suite, runs, module, test):
    runs[module].result()
    assert suite.warm(module, only=test).returncode != 0


def test_that_many_ran(suite, count):
    assert suite.tests > 0
    count(f"CPython's suite in a worker: {len(MODULES)} modules, {suite.tests} tests, {len(EXCEPTIONS)} exceptions")
