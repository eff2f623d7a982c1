"""Python's options and variables: each run as under python3, and warm wherever a warm worker can be that."""

import re
import subprocess

import pytest

import harness

POOLS = """
[pool:plain]
size = 1
[pool:isolated]
size = 1
options = -I -X faulthandler
[pool:optimized]
size = 1
options = -OO
[pool:bytes]
size = 1
options = -bb -d
[pool:dev]
size = 1
options = -X dev -X utf8=0
[pool:no_site]
size = 1
options = -S -E
[pool:filters]
size = 1
modules = filters
path = {folder}
[pool:warns]
size = 1
modules = warns
path = {folder}
"""
MODULES = {
    "filters": "import warnings\nwarnings.filterwarnings('ignore', message='quiet')\nwarnings.simplefilter('error', BytesWarning)\n",
    "warns": "import warnings\nwarnings.warn('old', DeprecationWarning)\n",
}

SHOW = r"""
import sys, warnings
print(sys.flags, sys.warnoptions, sys._xoptions, sys.dont_write_bytecode, sys.argv, sys.path)
print(sys.orig_argv)
print(*warnings.filters, sep="\n")
for stream in (sys.stdin, sys.stdout, sys.stderr):
    print(stream.encoding, stream.errors, stream.line_buffering, stream.write_through, stream.newlines, stream.buffer)
import faulthandler
print(faulthandler.is_enabled(), __debug__, __doc__, "site" in sys.modules, type(sys.flags).__name__, repr(__file__ if "__file__" in globals() else 0))
warnings.warn("a warning")
warnings.warn("deprecated", DeprecationWarning)
print("\u20ac\udc80".encode("utf-8", "replace"), "to stderr", file=sys.stderr)
"""

WARM = [
    "", "-u", "-B", "-q", "-qq", "-P", "-t", "-uBq", "-u -B -q -P",
    "-W error::UserWarning:nowhere", "-W default", "-W always -W always", "-W ignore -W default::DeprecationWarning",
    "-Wi", "-W once:a", "-W default:a.*:UserWarning:__main__:12", "-W module::DeprecationWarning", "-W error",
    "-W ignore:::nowhere", "-X faulthandler", "-Xfaulthandler=1", "-X showrefcount", "-X nonsense=1=2 -X nonsense -X x",
    "-X faulthandler -uBW default",
]
START = [
    "-I", "-IB", "-B -I -u", "-X faulthandler -I", "-I -W default", "-I -X nonsense", "-IEsP",
    "-OO", "-O -O", "-OOB", "-bb -d", "-dbb", "-bdb -W error::UserWarning", "-X dev -X utf8=0", "-Xutf8=0 -X dev -W ignore", "-SE", "-ES -q",
    "-X dev -X utf8=0 -X dev",
]
COLD = [
    "-O", "-OOO", "-E", "-s", "-S", "-b", "-d", "-R", "-v", "-X dev", "-X utf8", "-X importtime",
    "-X frozen_modules=off", "-X no_debug_ranges", "-X int_max_str_digits=700", "-X warn_default_encoding",
    "-X pycache_prefix=/nonexistent", "-X tracemalloc", "-X tracemalloc=5", "-X int_max_str_digits=x", "-X dev -X utf8=1 -X utf8=0",
    "-I -O", "-W nonsense", "-W error::nonsense", "-W error::numpy.VisibleDeprecationWarning", "-z", "-X", "-W",
    "--nonsense", "--check-hash-based-pycs always", "-J", "-V", "-VV", "-h", "-?", "--version", "--help", "--help-env", "-uV",
]


@pytest.fixture(scope="module")
def pools(prefix, tmp_path_factory):
    poold = harness.Poold(prefix, tmp_path_factory.mktemp("options"))
    modules = poold.folder / "modules"
    modules.mkdir()
    for name, text in MODULES.items():
        (modules / f"{name}.py").write_text(text)
    poold.start(POOLS.format(folder=modules))
    try:
        yield poold
    finally:
        poold.stop()
        poold.expect_nothing_left()


def hits(poold):
    return sum(pool["hits"] for pool in poold.status()["pools"])


def outcome(done):
    """What must be the same: all but addresses, which differ from one python3 to the next."""
    return (done.returncode, *(re.sub(rb"0x[0-9a-f]{8,}", b"0x", text) for text in (done.stdout, done.stderr)))


def same(poold, *args, warm=True, **options):
    """Runs both, expects the same of both, and that it was warm or was not."""
    theirs = poold.python3(*args, **options)
    for pool in poold.status()["pools"]:
        poold.wait_idle(pool["name"])
    if warm:
        explained = poold.ctl("explain", "--", *args, **options)
        assert (explained.returncode, explained.stdout[:5]) == (0, b"warm:"), explained
    before = hits(poold)
    ours = poold.ctl("run", "--", *args, **options)
    assert outcome(ours) == outcome(theirs)
    assert hits(poold) - before == (1 if warm else 0), (poold.status(), poold.log[-2000:])
    return ours


@pytest.mark.parametrize("kind", ["-c", "script"])
@pytest.mark.parametrize("options, warm", [(options, True) for options in WARM + START] + [(options, False) for options in COLD])
def test_options(pools, script, tmp_path, options, warm, kind):
    if options in ("-v", "-X importtime"):  # they print times
        assert pools.run("--", *options.split(), "-c", "").returncode == 125
        return
    run = ["-c", SHOW] if kind == "-c" else [script(SHOW)]
    same(pools, *options.split(), *run, "an argument", "-u", warm=warm, cwd=tmp_path)


@pytest.mark.parametrize("options", ["", "-u", "-W default", "-X faulthandler -I"])
@pytest.mark.parametrize("kind", ["module", "stdin", "dash"])
def test_options_of_other_kinds(pools, tmp_path, options, kind):
    (tmp_path / "shows.py").write_text(SHOW)
    arguments = {"module": ["-m", "shows"], "stdin": [], "dash": ["-", "a"]}[kind]
    same(pools, *options.split(), *arguments, cwd=tmp_path, input=SHOW.encode())


VARIABLES = [
    ({"PYTHONUNBUFFERED": "1"}, True), ({"PYTHONUNBUFFERED": "0"}, True), ({"PYTHONUNBUFFERED": ""}, True),
    ({"PYTHONUNBUFFERED": "yes"}, True), ({"PYTHONUNBUFFERED": "-1"}, True),
    ({"PYTHONDONTWRITEBYTECODE": "1"}, True), ({"PYTHONDONTWRITEBYTECODE": "0"}, True),
    ({"PYTHONWARNINGS": "error"}, True), ({"PYTHONWARNINGS": "default,,ignore::UserWarning,default"}, True),
    ({"PYTHONWARNINGS": ""}, True), ({"PYTHONWARNINGS": "nonsense"}, False),
    ({"PYTHONIOENCODING": "latin1"}, True), ({"PYTHONIOENCODING": "UTF8:replace"}, True),
    ({"PYTHONIOENCODING": ":ignore"}, True), ({"PYTHONIOENCODING": "ascii:"}, True), ({"PYTHONIOENCODING": "ascii:xmlcharrefreplace"}, True),
    ({"PYTHONIOENCODING": "nonsense"}, False), ({"PYTHONIOENCODING": "hex"}, False), ({"PYTHONIOENCODING": "utf-16"}, True),
    ({"PYTHONFAULTHANDLER": "1"}, True), ({"PYTHONFAULTHANDLER": "0"}, True), ({"PYTHONSAFEPATH": "1"}, True),
    ({"PYTHONSTARTUP": "/nonexistent"}, True), ({"PYTHONBREAKPOINT": "0"}, True), ({"PYTHONASYNCIODEBUG": "1"}, True),
    ({"PYTHONPATH": "/nonexistent"}, True), ({"PYTHONPATH": "here:/usr/lib/../lib::here/"}, True), ({"PYTHONPATH": ""}, True),
    ({"PYTHONPATH": "/usr/lib/python3/dist-packages"}, True), ({"PYTHONPATH": "archive.zip"}, False),
    ({"PYTHONPATH": "customized"}, False), ({"PYTHONPATH": "shadows"}, False),
    ({"PYTHONINSPECT": "1"}, True), ({"PYTHONSTARTUP": "x", "PYTHON_BASIC_REPL": "1"}, True), ({"PYTHONHASHSEED": "0"}, False), ({"PYTHONHASHSEED": "nonsense"}, False),
    ({"PYTHONMALLOC": "debug"}, False), ({"PYTHONOPTIMIZE": "1"}, False), ({"PYTHONDEBUG": "1"}, False),
    ({"PYTHONNOUSERSITE": "1"}, False), ({"PYTHONHOME": "/nonexistent"}, False), ({"PYTHONUTF8": "1"}, False),
    ({"PYTHONDEVMODE": "1"}, False), ({"PYTHONTRACEMALLOC": "1"}, False), ({"PYTHONINTMAXSTRDIGITS": "700"}, False),
    ({"LC_ALL": "C"}, False), ({"LC_ALL": "POSIX"}, False), ({"LANG": "de_DE.UTF-8"}, True),
]


@pytest.mark.parametrize("variables, warm", VARIABLES, ids=str)
def test_variables(pools, tmp_path, variables, warm):
    for folder, name in [("here", "module.py"), ("customized", "sitecustomize.py"), ("shadows", "sitecustomize.pyc")]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text("print('imported')\n")
    (tmp_path / "shadows/encodings").mkdir()
    (tmp_path / "shadows/encodings/__init__.py").write_text("from encodings import *")
    (tmp_path / "archive.zip").write_bytes(b"PK\5\6" + bytes(18))
    env = pools.env | variables
    same(pools, "-c", SHOW, warm=warm, env=env, cwd=tmp_path)
    same(pools, "-u", "-Wonce", "-X", "b", "-c", SHOW, warm=warm, env=env, cwd=tmp_path)


@pytest.mark.parametrize("variables", [variables for variables, _ in VARIABLES
                                       if all(name.startswith("PYTHON") for name in variables)], ids=str)
def test_isolated_runs_ignore_variables(pools, tmp_path, variables):
    same(pools, "-I", "-c", SHOW, env=pools.env | variables, cwd=tmp_path)


def test_module_of_pythonpath(pools, tmp_path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/module.py").write_text("print(__file__, __spec__)")
    same(pools, "-c", "import module", env=pools.env | {"PYTHONPATH": "here"}, cwd=tmp_path)
    same(pools, "-m", "module", env=pools.env | {"PYTHONPATH": "here"}, cwd=tmp_path)


@pytest.mark.parametrize("text", [
    "this is no python\nprint(1)\n1 / 0\n", "\n1 / 0", "no line's end", "first\r\nprint(__file__)\r\n",
    "first\n# coding: latin1\nprint('\u00e9')\n",
])
def test_first_line_skipped(pools, script, text):
    same(pools, "-x", script(text))
    same(pools, "-ux", script(text), "a")


@pytest.mark.parametrize("options, warm", [("-W error", False), ("-W ignore", True), ("", True), ("-W default", False)])
def test_warnings_of_the_compiler(pools, script, options, warm):
    same(pools, *options.split(), script(r"print('\d')"), warm=warm)


def test_filters_of_preloaded_modules_lie_above(pools):
    """As if the module had been imported by the script, and so after -W."""
    env = pools.env | {"POOLD_POOL": "filters", "PYTHONPATH": str(pools.folder / "modules")}
    code = "import filters, warnings; print(*warnings.filters, sep='\\n'); warnings.warn('quiet')"
    for options in ("", "-W error", "-W default -W error::BytesWarning", "-W error::BytesWarning"):
        same(pools, *options.split(), "-c", code, env=env)


@pytest.mark.parametrize("options, warm", [
    ("", True), ("-W ignore", True), ("-Wi::DeprecationWarning", True), ("-W error", False), ("-W default", False),
    ("-W ignore -W always", False),
])
def test_modules_that_warn(pools, options, warm):
    """-W would have shown or raised what the worker has passed over in silence."""
    env = pools.env | {"POOLD_POOL": "warns", "PYTHONPATH": str(pools.folder / "modules")}
    same(pools, *options.split(), "-c", "import warns; print('imported')", warm=warm, env=env)


def test_faulthandler_says_where(pools, script):
    path = script("import os, resource, signal\nresource.setrlimit(resource.RLIMIT_CORE, (0, 0))\n"
                  "os.kill(os.getpid(), signal.SIGSEGV)\n")
    assert same(pools, "-X", "faulthandler", path).returncode == -11
    assert same(pools, path, env=pools.env | {"PYTHONFAULTHANDLER": "1"}).returncode == -11


def test_children_get_the_options(pools):
    code = ("import subprocess; print(subprocess._args_from_interpreter_flags())")
    for options in ("-B -q -W default", "-I -X faulthandler", "-OO", "-X a=b"):
        same(pools, *options.split(), "-c", code)


@pytest.mark.parametrize("value, said", [("-v", "-v"), ("-O script.py", "script.py"), ("-c", "-c"), ("-", "-"), ("-X importtime", "-X")])
def test_options_that_no_pool_can_have(pools, tmp_path, value, said):
    ini = tmp_path / "poold.ini"
    ini.write_text(f"[pool:default]\noptions = {value}\n")
    done = subprocess.run([pools.program("poold"), "--check", "--config", ini], env=pools.env, capture_output=True, text=True)
    assert done.returncode != 0 and f":2: section [pool:default], key options: " in done.stderr and said in done.stderr
