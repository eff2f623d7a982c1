"""CPython's own test suite, each module inside a worker with numpy and torch. POOLD_TEST_ALL=1 adds seldom-telling ones."""

import os
import re
import time

import pytest

import harness
import regrtest

# Those that take longest come first.
MODULES = """
    test_concurrent_futures test_multiprocessing_spawn test_multiprocessing_forkserver test_multiprocessing_fork
    test_asyncio test_signal test_ssl test_subprocess test_io test_socket test_logging test_faulthandler
    test_selectors test_threading test_poll test_compileall test_venv test__xxsubinterpreters test_abc test_argparse
    test_ast test_asyncgen test_asynchat test_asyncore test_atexit test_audit test_baseexception test_bdb
    test_buffer test_builtin test_c_locale_coercion test_class test_cmd_line test_cmd_line_script test_code
    test_codeccallbacks test_codecs test_codeop test_collections test_compile test_context test_contextlib
    test_contextlib_async test_coroutines test_cprofile test_ctypes test_dataclasses test_datetime test_descr
    test_dict test_dis test_doctest test_eintr test_email test_embed test_enum test_epoll test_exception_group
    test_exceptions test_fcntl test_file test_fileio test_finalization test_fork1 test_frame test_frozen
    test_fstring test_funcattrs test_functools test_gc test_generators test_getpass test_glob test_global
    test_grammar test_gzip test_httpservers test_imp test_import test_importlib test_inspect test_interpreters
    test_iter test_itertools test_json test_linecache test_list test_locale test_marshal test_memoryview test_mmap
    test_module test_modulefinder test_multiprocessing_main_handling test_operator test_optparse test_os
    test_pathlib test_pdb test_pickle test_pkg test_pkgutil test_popen test_posix test_print test_profile
    test_property test_pty test_py_compile test_pyclbr test_pydoc test_raise test_re test_readline test_regrtest
    test_repl test_resource test_runpy test_scope test_script_helper test_select test_shelve test_shutil test_site
    test_sundry test_support test_symtable test_syntax test_sys test_sys_setprofile test_sys_settrace test_sysconfig
    test_tarfile test_tempfile test_thread test_threadedtempfile test_threading_local test_threadsignals test_time
    test_tokenize test_trace test_traceback test_tracemalloc test_types test_typing test_unicode test_unittest
    test_unparse test_utf8_mode test_wait3 test_wait4 test_warnings test_weakref test_weakset test_zipfile
    test_zipimport
""".split()

# More about what is written in Python or C alone than about the interpreter.
MORE = """
    test_array test_bisect test_bool test_bufio test_bytes test_calendar test_cmd test_complex test_configparser
    test_copy test_csv test_dbm test_decimal test_deque test_dictviews test_except_star test_fileinput test_float
    test_fnmatch test_format test_fractions test_getopt test_gettext test_hash test_hashlib test_heapq test_hmac
    test_int test_isinstance test_long test_lzma test_mailbox test_math test_metaclass test_minidom test_openpty
    test_ordered_dict test_patma test_posixpath test_pprint test_pstats test_pwd test_queue test_random test_range
    test_reprlib test_rlcompleter test_sax test_sched test_secrets test_set test_shlex test_slice test_smtplib
    test_sort test_stat test_statistics test_strftime test_string test_string_literals test_strptime test_struct
    test_structseq test_super test_syslog test_textwrap test_timeit test_tuple test_urllib test_urlparse test_uuid
    test_webbrowser test_with test_wsgiref test_xml_etree test_yield_from test_zipapp test_zlib test_zoneinfo
""".split()
if os.environ.get("POOLD_TEST_ALL"):
    MODULES += MORE

# What a worker with numpy and torch cannot pass: (module, test, as -m takes it) and why. Each must still fail.
EXCEPTIONS = {
    ("test_inspect", "test__all__"): "torch.package replaces inspect.getfile by a function of its own",
    ("test_inspect", "test_getfile_class_without_module"): "torch.package's getfile raises AttributeError for it",
}


@pytest.fixture(scope="module")
def suite(start_poold, tmp_path_factory):
    poold = start_poold(f"[pool:default]\nsize = {regrtest.AT_ONCE + 1}\nmodules = numpy, torch\n")
    poold.env["COLUMNS"] = "80"

    def warm(*args, **options):
        """In a worker, as soon as one is idle."""
        end = time.monotonic() + harness.DEADLINE
        while True:
            done = poold.run("-m", "test", *args, **options)
            not_yet = done.returncode == 125 and re.search(rb"\((empty|timeout|warming)\)|no idle worker", done.stderr)
            if not not_yet or time.monotonic() > end:
                return done
            poold.wait_idle(count=1)

    def cold(*args, **options):
        return poold.python3("-m", "test", *args, **options)

    return regrtest.Suite(warm, cold, tmp_path_factory.mktemp("cpython"), EXCEPTIONS)


@pytest.fixture(scope="module")
def runs(suite):
    yield from suite.start_all(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_module(suite, runs, module):
    suite.expect_as_python3(module, runs[module].result())


@pytest.mark.parametrize("module, test", EXCEPTIONS)
def test_exception_still_fails(suite, runs, module, test):
    runs[module].result()
    assert suite.outcome(suite.run, module, only=test).done.returncode == 2


def test_that_many_ran(suite, runs, count):
    assert suite.tests > 10_000
    count(f"CPython's suite in a worker: {suite.summary(MODULES)}")
