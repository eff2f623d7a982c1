"""Pools with a python of their own: their workers are that python in everything, and serve those who mean it."""

import os
import pathlib
import re
import shutil
import subprocess

import pytest

import harness

STATE = """
import inspect, os, posix, signal, sys, threading, traceback
print(sorted(set(sys.modules) - {"encodings.ascii"}))
for name in ("argv", "orig_argv", "path", "flags", "prefix", "base_prefix", "exec_prefix", "executable", "warnoptions",
             "dont_write_bytecode", "_xoptions", "_base_executable", "version", "path_hooks", "meta_path", "excepthook"):
    print(name, getattr(sys, name, None))
print({key: str(value) for key, value in sys.path_importer_cache.items() if key != __file__})
print({name: str(value) for name, value in list(globals().items())})
for s in (sys.stdin, sys.stdout, sys.stderr):
    print(s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.write_through, type(s.buffer), s.isatty())
print(sorted(os.environ.items()), os.environb == posix.environ, open("/dev/null").fileno())
print([str(signal.getsignal(s)) for s in signal.Signals], threading.enumerate()[1:])
depth = 0
def deeper():
    global depth
    depth += 1
    deeper()
try:
    deeper()
except RecursionError:
    print("depth", depth)
print(len(inspect.stack()), sys._getframe().f_back)
traceback.print_stack(file=sys.stdout)
deeper.__code__ = (lambda: 1 / 0).__code__
deeper()
"""

# In development mode CPython looks that codec up for each extension module that it loads, as the host is one.

WHO = "import sys; print(sys.executable, sys.prefix, sys.base_prefix)"


@pytest.fixture(scope="session")
def venv(tmp_path_factory):
    folder = tmp_path_factory.mktemp("environments") / "venv"
    subprocess.run([harness.PYTHON, "-m", "venv", "--without-pip", "--system-site-packages", folder], check=True)
    return folder


@pytest.fixture(scope="session")
def other(tmp_path_factory):
    """Another interpreter, of no environment: a copy of the one there is."""
    path = tmp_path_factory.mktemp("other") / "bin/python3"
    path.parent.mkdir()
    shutil.copy(harness.PYTHON, path)
    return path


@pytest.fixture(params=["itself", "venv"])
def python(request, venv):
    return harness.PYTHON if request.param == "itself" else str(venv / "bin/python")


def same(output):
    """Addresses are never the same."""
    return re.sub(rb"0x[0-9a-f]+", b"0x", output)


def both(poold, python, *args, pool="default", **options):
    """The same under python and in a worker of the pool: expects the same, and returns what the worker gave."""
    theirs = poold.python3(*args, python=python, **options)
    poold.wait_idle(pool)
    ours = poold.run("--pool", pool, *args, **options)
    assert [same(ours.stdout), same(ours.stderr), ours.returncode] == \
        [same(theirs.stdout), same(theirs.stderr), theirs.returncode]
    return ours


@pytest.mark.parametrize("options", ["", "-I", "-E", "-s", "-S", "-O", "-bb", "-I -X dev", "-P -u -B"])
def test_worker_is_that_python(poold, script, python, options):
    poold.start(f"[pool:default]\nsize = 1\npython = {python}\noptions = {options}\n")
    done = both(poold, python, *options.split(), script(STATE), "a", "b")
    assert b"\nZeroDivisionError" in done.stderr and b"depth 9" in done.stdout


@pytest.mark.parametrize("args, given", [
    (["-c", "import sys; print(sys.argv, sys.path[0], __name__); 1 / 0", "a"], b""),
    (["-m", "json.tool"], b"[1, 2]"),
    (["-"], b"import sys; print(sys.argv, vars().keys()); 1 / 0"),
    (["-c", "import threading; threading.Thread(target=print, args=['late']).start()"], b""),
    (["-c", "import atexit; atexit.register(print, 'bye'); open('/dev/stdout', 'w').write('kept')"], b""),
    (["-c", "class A:\n  def __del__(self): print('gone', __name__)\na: A() = A(); a.a = a; b = A()"], b""),
    (["-c", "import os, sys; print(os.fork() and os.wait()[1], file=sys.stderr)"], b""),
    (["-c", "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import sys; print(sys.prefix)'])"], b""),
    (["-c", "raise KeyboardInterrupt"], b""),
], ids=["command", "module", "stdin", "thread", "end", "del", "fork", "child", "interrupt"])
def test_runs_and_ends_as_that_python(poold, python, args, given):
    poold.start(f"[pool:default]\nsize = 1\npython = {python}\n")
    both(poold, python, *args, input=given)


def test_users_own_customization_is_run(poold, script, python, tmp_path):
    given = tmp_path / "given"
    user_site = poold.python3("-c", "import site; print(site.getusersitepackages())", text=True).stdout.strip()
    for folder, name in ((given, "sitecustomize"), (pathlib.Path(user_site), "usercustomize")):
        folder.mkdir(parents=True)
        (folder / f"{name}.py").write_text(
            f"import sys; sys.{name} = [name for name in sys.modules if 'custom' in name]; sys.excepthook = print")
    path = script("import sys; print(sys.sitecustomize, sys.usercustomize, sys.path, sys.modules['sitecustomize'])\n"
                  + "print(sys.excepthook, sys.modules['usercustomize'])")
    env = poold.env | {"PYTHONPATH": str(given)}
    poold.start(f"[pool:default]\nsize = 1\npython = {python}\nenv.PYTHONPATH = {given}\n")
    assert b"usercustomize" in both(poold, python, path, env=env).stdout


def test_modules_are_those_of_the_environment(poold, venv):
    site = next((venv / "lib").glob("python3*/site-packages"))
    (site / "of_the_environment.py").write_text("import sys; where = sys.prefix")
    poold.start(f"[pool:default]\nsize = 1\npython = {venv}/bin/python\nmodules = of_the_environment\n")
    done = poold.run("--pool", "default", "-c", "import sys; print(sys.modules['of_the_environment'].where)")
    assert done.stdout == f"{venv}\n".encode()


@pytest.mark.parametrize("variables, named, runs", [
    ({}, None, "default"),
    ({"VIRTUAL_ENV": ""}, None, "default"),
    ({"VIRTUAL_ENV": "{venv}"}, None, "venv"),
    ({"VIRTUAL_ENV": "{venv}/"}, None, "venv"),
    ({"CONDA_PREFIX": "{venv}"}, None, "venv"),
    ({"VIRTUAL_ENV": "{venv}", "CONDA_PREFIX": "/opt/conda"}, None, "venv"),
    ({"VIRTUAL_ENV": "/nonexistent", "CONDA_PREFIX": "{venv}"}, None, "interpreter"),
    ({"VIRTUAL_ENV": "/nonexistent"}, None, "interpreter"),
    ({"VIRTUAL_ENV": "{venv}2"}, None, "interpreter"),
    ({"CONDA_PREFIX": "/nonexistent"}, None, "interpreter"),
    ({}, "venv", "venv"),
    ({"VIRTUAL_ENV": "{venv}"}, "default", "default"),
    ({"VIRTUAL_ENV": "/nonexistent"}, "venv", "venv"),
], ids=str)
def test_activated_environment(poold, venv, variables, named, runs):
    poold.start(f"[pool:venv]\nsize = 1\npython = {venv}/bin/python\n[pool:default]\nsize = 1\n")
    env = poold.env | {name: value.format(venv=venv) for name, value in variables.items()}
    options = ["--pool", named] if named else []
    done = poold.run(*options, "-c", WHO, env=env)
    if runs == "interpreter":
        assert done.returncode == 125 and b"interpreter" in done.stderr
        assert sum(pool["misses"].get("interpreter", 0) for pool in poold.status()["pools"]) == 1
    else:
        who = f"{venv}/bin/python {venv} /usr\n" if runs == "venv" else f"{harness.PYTHON} /usr /usr\n"
        assert done.stdout.decode() == who
        assert poold.pool(runs)["hits"] == 1


def test_without_an_environment_only_those_pools_fit(poold, venv):
    poold.start(f"[pool:venv]\nsize = 1\npython = {venv}/bin/python\n")
    assert b"interpreter" in poold.run("-c", "pass").stderr
    assert poold.ctl("run", "-c", WHO).stdout == f"{harness.PYTHON} /usr /usr\n".encode()


@pytest.mark.parametrize("args, variables, runs", [
    (["-O"], {}, "first"),
    (["-O"], {"VIRTUAL_ENV": "{venv}"}, "venv"),
    (["--pool", "venv", "-O"], {}, "venv"),
    (["--pool", "other", "-O"], {"VIRTUAL_ENV": "{venv}"}, "other"),
    (["-O"], {"VIRTUAL_ENV": "/nonexistent"}, "built for"),
    (["--pool", "other", "{script}"], {}, "other"),
    (["{script}"], {"VIRTUAL_ENV": "{venv}"}, "venv"),
], ids=str)
def test_fallback_is_the_pools_python(poold, venv, other, tmp_path, args, variables, runs):
    """A worker declines the script, whose compilation warns; poold itself what else is asked for here."""
    (tmp_path / "script").write_text(f"{WHO}\n'a' is 'b'\n")
    poold.start(f"[pool:other]\nsize = 1\npython = {other}\n[pool:venv]\nsize = 1\npython = {venv}/bin/python\n")
    names = {"built for": harness.PYTHON, "first": str(other), "other": str(other), "venv": f"{venv}/bin/python"}
    env = poold.env | {name: value.format(venv=venv) for name, value in variables.items()}
    args = [word.format(script=tmp_path / "script") for word in args]
    rest = [] if str(tmp_path / "script") in args else ["-c", WHO]
    said = poold.ctl("explain", *args, *rest, env=env).stdout.decode()
    if rest:
        assert said.startswith("cold") and said.endswith(f"; {names[runs]} runs it\n")
    else:
        assert said.startswith("warm") and f", as {names[runs]} would" in said
    done = poold.ctl("run", "-v", *args, *rest, env=env)
    assert f"poolctl: run by {names[runs]}: " in done.stderr.decode()
    assert done.stdout.decode().split()[:1] == [names[runs]]


def test_another_python_does_not_help_out(poold, other):
    """What runs without a name is not a question of who is idle."""
    poold.launch(f"[pool:default]\nsize = 0\n[pool:other]\nsize = 1\npython = {other}\n[pool:more]\nsize = 1\n")
    poold.wait_idle("other")
    poold.wait_idle("more")
    assert poold.run("-c", WHO).stdout == f"{harness.PYTHON} /usr /usr\n".encode()
    assert poold.pool("more")["hits"] == 1
    done = poold.run("-c", WHO)
    assert done.returncode == 125 or done.stdout.decode().startswith(harness.PYTHON)
    assert poold.pool("other")["hits"] == 0
    assert poold.run("--pool", "other", "-c", WHO).stdout.decode().startswith(str(other))


def test_python_that_goes_and_comes_back(poold, venv, tmp_path):
    link = tmp_path / "python"
    link.symlink_to(harness.PYTHON)
    poold.start(f"[pool:default]\nsize = 1\npython = {link}\n")
    link.unlink()
    assert poold.run("-c", "print(1)").returncode == 125
    poold.wait_log("cannot start")
    link.symlink_to(harness.PYTHON)
    poold.wait_idle()
    assert poold.run("-c", "print(1)").stdout == b"1\n"


def test_python_that_is_upgraded(poold, other, tmp_path):
    """Workers are the new one from then on, and poold is as it was."""
    link, new = tmp_path / "python", tmp_path / "new"
    link.symlink_to(harness.PYTHON)
    poold.start(f"[pool:default]\nsize = 1\npython = {link}\n")
    new.symlink_to(other)
    new.rename(link)
    code = "import os, sys; print(os.readlink('/proc/self/exe'), sys.executable)"
    harness.eventually("the old worker to go", lambda: not poold.workers("idle"))
    poold.wait_idle()
    assert poold.run("-c", code).stdout.decode() == f"{other} {link}\n"


def test_python_that_cannot_load_the_host(poold, tmp_path):
    """It says why in the log, and the pool is degraded."""
    wrapper = tmp_path / "bin/python"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\ncase "$*" in *worker.py) exec {harness.PYTHON} -c "import nothing" ;; esac\n'
                       f'exec -a "$0" {harness.PYTHON} "$@"\n'.replace("#!/bin/sh", "#!/bin/bash"))
    wrapper.chmod(0o755)
    poold.launch(f"[pool:default]\nsize = 1\npython = {wrapper}\n")
    poold.wait_log("ended unasked")
    assert "No module named 'nothing'" in poold.log
    harness.eventually("a degraded pool", lambda: poold.pool()["state"] == "degraded")
