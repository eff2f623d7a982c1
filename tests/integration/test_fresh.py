"""No run gets a worker that has loaded what has changed since; and what has changed is loaded anew, by itself."""

import base64
import contextlib
import hashlib
import os
import pathlib
import shutil
import subprocess
import zipfile

import pytest

import harness

SECOND = 1


@pytest.fixture
def lib(tmp_path):
    """A folder for modules that is on sys.path of the pools."""
    folder = tmp_path / "lib"
    folder.mkdir()
    return folder


def ini(lib, modules="mod", more="", name="default"):
    return f"[pool:{name}]\nsize = 1\nmodules = {modules}\npath = {lib}\n{more}\n"


def value(poold, lib, module="mod", pool="default", **options):
    """What the module's VALUE is for a script, whoever runs that."""
    code = f"import sys; sys.path.append({str(lib)!r}); import {module}; print({module}.VALUE)"
    done = poold.ctl("run", "--pool", pool, "-c", code, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def warm_value(poold, module="mod", pool="default"):
    poold.wait_idle(pool)
    done = poold.run("--pool", pool, "-c", f"import {module}; print({module}.VALUE)")
    assert done.returncode == 0, done.stderr
    poold.wait_idle(pool)
    return done.stdout.decode().strip()


def expect_recycled(poold, change, pool="default"):
    """The pool's idle workers go within a second of the change, and others come."""
    poold.wait_idle(pool)
    before = set(poold.workers("idle", pool))
    change()
    harness.eventually(lambda: f"{before} to be recycled:\n{poold.log}",
                       lambda: not before & set(poold.workers("idle", pool)), SECOND)
    poold.wait_idle(pool)


def expect_kept(poold, change, lib, pool="default"):
    """The change is nothing to the pool. That poold has seen it is known from a later one, which it heeds."""
    before = poold.workers("idle", pool)
    assert before
    change()
    expect_recycled(poold, lambda: (lib / "other.py").write_text("VALUE = 'changed'\n"), "other")
    assert poold.workers("idle", pool) == before, poold.log


def replace(path, text):
    """As editors save: another file gets the name."""
    new = path.with_name("." + path.name + ".new")
    new.write_text(text)
    new.replace(path)


# --- What has changed is seen by the next run ---


def test_edit_and_run_at_once(poold, tmp_path):
    """Not once the old code, however soon the run comes after the edit."""
    libs = [tmp_path / f"lib{n}" for n in range(5)]
    for lib in libs:
        lib.mkdir()
        (lib / "mod.py").write_text("VALUE = 'first'\n")
    poold.start("[poold]\nmax_starting = 5\n" + "".join(ini(lib, name=lib.name) for lib in libs))
    for turn in range(10):
        for lib in libs:
            poold.wait_idle(lib.name)
        for lib in libs:
            text = f"VALUE = {turn}\n"
            (replace if turn % 2 else pathlib.Path.write_text)(lib / "mod.py", text)
            assert value(poold, lib, pool=lib.name) == str(turn), poold.log
    for lib in libs:
        assert warm_value(poold, pool=lib.name) == "9"


def edit(lib):
    (lib / "mod.py").write_text("VALUE = 'new'\n")


CHANGES = {
    "edited": edit,
    "touched": lambda lib: os.utime(lib / "mod.py"),
    "replaced": lambda lib: replace(lib / "mod.py", "VALUE = 'new'\n"),
    "truncated": lambda lib: os.truncate(lib / "mod.py", 0),
    "deleted": lambda lib: (lib / "mod.py").unlink(),
    "moved away": lambda lib: (lib / "mod.py").rename(lib / "was.py"),
    "folder moved": lambda lib: lib.rename(lib.with_name("moved")),
    "parent moved": lambda lib: lib.parent.rename(lib.parent.with_name("moved")),
    "submodule edited": lambda lib: (lib / "package/part.py").write_text("VALUE = 'new'\n"),
    "submodule missed before": lambda lib: (lib / "package/optional.py").write_text(""),
    "module missed before": lambda lib: (lib / "optional.py").write_text(""),
    "package missed before": lambda lib: (lib / "optional_package").mkdir(),
    "shadowed": lambda lib: (lib / "json.py").write_text(""),
    "shadowed by a package": lambda lib: (lib / "mod").mkdir(),
    "shadowed by a link": lambda lib: (lib / "json").symlink_to(lib / "package"),
    ".pth added": lambda lib: (lib / "more.pth").write_text(""),
    ".pth edited": lambda lib: (lib / "some.pth").write_text("# nothing\n"),
    "package described": lambda lib: (lib / "thing-1.0.dist-info").mkdir(),
}


@pytest.fixture
def changeable(poold, tmp_path):
    lib = tmp_path / "above/lib"
    (lib / "package").mkdir(parents=True)
    (lib / "mod.py").write_text("""
import json
import package.part
for name in "optional", "package.optional", "optional_package":
    try:
        __import__(name)
    except ImportError:
        pass
VALUE = 'old'
""")
    (lib / "package/__init__.py").write_text("")
    (lib / "package/part.py").write_text("VALUE = 'old'\n")
    (lib / "some.pth").write_text("")
    poold.start(ini(lib))
    return lib


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_change(poold, changeable, change):
    before = set(poold.workers("idle"))
    change(changeable)
    harness.eventually(lambda: f"{before} to be recycled:\n{poold.log}",
                       lambda: not before & set(poold.workers("idle")), SECOND)


def test_half_written(poold, changeable):
    before = set(poold.workers("idle"))
    with open(changeable / "mod.py", "r+") as file:
        file.write("VALUE = 'new'\n")
        file.flush()
        harness.eventually("it to be recycled", lambda: not before & set(poold.workers("idle")), SECOND)


def test_another_name_of_the_same_file(poold, lib, tmp_path):
    """As uv and conda install: the file is in their cache, too."""
    (tmp_path / "cached.py").write_text("VALUE = 'old'\n")
    os.link(tmp_path / "cached.py", lib / "mod.py")
    poold.start(ini(lib))
    expect_recycled(poold, lambda: (tmp_path / "cached.py").write_text("VALUE = 'new'\n"))
    assert warm_value(poold) == "new"


def test_link_to_another_release(poold, tmp_path):
    for release in "12":
        (tmp_path / f"release-{release}").mkdir()
        (tmp_path / f"release-{release}/mod.py").write_text(f"VALUE = {release}\n")
    link = tmp_path / "current"
    link.symlink_to("release-1")
    poold.start(ini(link))

    def flip(release):
        (tmp_path / "new").symlink_to(f"release-{release}")
        (tmp_path / "new").rename(link)

    expect_recycled(poold, lambda: flip(2))
    assert warm_value(poold) == "2"
    flip(1)
    assert value(poold, link) == "1"


def test_module_that_is_a_link(poold, lib, tmp_path):
    (tmp_path / "real.py").write_text("VALUE = 'old'\n")
    (lib / "mod.py").symlink_to("../real.py")
    poold.start(ini(lib))
    expect_recycled(poold, lambda: (tmp_path / "real.py").write_text("VALUE = 'new'\n"))
    assert warm_value(poold) == "new"


def test_shared_library(poold, lib):
    library = lib / "libthing.so.1"

    def build(number):
        new = lib / "libthing.new"
        subprocess.run(["cc", "-shared", "-x", "c", "-o", new, "-"], input=f"int value = {number};", text=True, check=True)
        new.rename(library)

    build(1)
    (lib / "mod.py").write_text(
        f"import ctypes\nVALUE = ctypes.c_int.in_dll(ctypes.CDLL({str(library)!r}), 'value').value\n")
    poold.start(ini(lib))
    assert warm_value(poold) == "1"
    expect_recycled(poold, lambda: build(2))
    assert warm_value(poold) == "2"


def test_archive(poold, lib):
    archive = lib / "all.zip"

    def build(text):
        with zipfile.ZipFile(lib / "new", "w") as file:
            file.writestr("mod.py", f"VALUE = {text!r}\n")
        (lib / "new").rename(archive)

    build("old")
    poold.start(ini(archive))
    expect_recycled(poold, lambda: build("new"))
    assert warm_value(poold) == "new"


# --- Environments ---


def make_wheel(folder, version):
    """A wheel of `thing`, made by hand."""
    path = folder / f"thing-{version}-py3-none-any.whl"
    files = {
        "thing/__init__.py": f"from thing.part import VALUE\n# {version}\n",
        "thing/part.py": f"VALUE = {version!r}\n",
        f"thing-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: thing\nVersion: {version}\n",
        f"thing-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\n"
        for name, text in files.items())
    files[f"thing-{version}.dist-info/RECORD"] = record + f"thing-{version}.dist-info/RECORD,,\n"
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return path


@pytest.fixture
def venv(tmp_path):
    folder = tmp_path / "venv"
    subprocess.run([harness.PYTHON, "-m", "venv", "--without-pip", "--copies", folder], check=True)
    return folder


def pip(venv, *args):
    done = subprocess.run(["/usr/bin/python3", "-m", "pip", "--python", venv / "bin/python", *args], capture_output=True,
                          text=True, env={name: text for name, text in os.environ.items() if not name.startswith("PIP")})
    assert done.returncode == 0, done.stderr


def install(venv, wheel):
    pip(venv, "install", "--upgrade", "--no-index", "--no-deps", wheel)


def of_venv(venv, more=""):
    return f"[pool:default]\nsize = 1\npython = {venv}/bin/python\nmodules = thing\n{more}\n"


def thing(poold, *options):
    done = poold.ctl("run", "--pool", "default", *options, "-c", "import thing; print(thing.VALUE)")
    assert done.returncode == 0, done.stderr
    return done.stdout.decode().strip()


def test_pip_install_upgrade(poold, venv, tmp_path):
    install(venv, make_wheel(tmp_path, "1.0"))
    poold.start(of_venv(venv))
    assert thing(poold, "--no-fallback") == "1.0"
    for version in "2.0", "3.0":
        poold.wait_idle()
        install(venv, make_wheel(tmp_path, version))
        assert thing(poold) == version
        poold.wait_idle()
        assert thing(poold, "--no-fallback") == version
        poold.wait_idle()
    assert "degraded" not in poold.log and poold.pool()["state"] == "ready", poold.log


def test_pip_install_of_what_is_missing(poold, venv, tmp_path):
    poold.launch(of_venv(venv))
    poold.wait_log("cannot import module=thing", times=3)  # the next try would be 4 s from now
    install(venv, make_wheel(tmp_path, "1.0"))
    harness.eventually(lambda: f"the pool to be ready:\n{poold.log}", lambda: poold.pool()["state"] == "ready", 3)
    assert thing(poold, "--no-fallback") == "1.0"


def test_folder_added_by_pth(poold, venv, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    install(venv, make_wheel(tmp_path, "1.0"))
    site = next(venv.glob("lib/python*/site-packages"))
    poold.start(of_venv(venv))
    expect_recycled(poold, lambda: (site / "more.pth").write_text(f"{tmp_path}/elsewhere\n"))
    assert b"elsewhere" in poold.run("--pool", "default", "-c", "import sys; print(sys.path)").stdout


def test_interpreter_replaced(poold, venv, tmp_path):
    install(venv, make_wheel(tmp_path, "1.0"))
    poold.start(of_venv(venv))
    python = (venv / "bin/python").resolve()

    def upgrade():
        shutil.copy2(python, tmp_path / "new")
        (tmp_path / "new").rename(python)

    expect_recycled(poold, upgrade)
    assert thing(poold, "--no-fallback") == "1.0"


def test_settings_of_the_environment(poold, venv, tmp_path):
    install(venv, make_wheel(tmp_path, "1.0"))
    poold.start(of_venv(venv))
    config = venv / "pyvenv.cfg"
    expect_recycled(poold, lambda: replace(config, config.read_text() + "# more\n"))


def test_environment_made_anew(poold, venv, tmp_path):
    """It goes, with its python, and comes back when the next try would still take long."""
    install(venv, make_wheel(tmp_path, "1.0"))
    poold.start(of_venv(venv))
    venv.rename(tmp_path / "away")
    poold.wait_log("cannot start", times=3)
    (tmp_path / "away").rename(venv)
    harness.eventually(lambda: f"the pool to be ready:\n{poold.log}", lambda: poold.pool()["state"] == "ready", 3)
    assert thing(poold, "--no-fallback") == "1.0"


def test_upgrade_of_poold(poold, tmp_path, prefix):
    """Under a poold that runs: its workers are not of two versions."""
    libexec, copy = prefix / "libexec/poold", tmp_path / "libexec"
    shutil.copytree(libexec, copy)
    poold.start(wrap=[*harness.AS_ROOT, "unshare", "--mount", "sh", "-c", f'mount --bind {copy} {libexec} && exec "$@"', "sh"])
    for name in "worker.py", "_poold_host.abi3.so", "poold-keeper":
        def upgrade(path=copy / name):
            shutil.copy2(path, tmp_path / "new")
            (tmp_path / "new").rename(path)

        expect_recycled(poold, upgrade)


# --- What has not changed stays ---


@pytest.fixture
def bystander(poold, lib):
    for name in "mod", "other", "unrelated":
        (lib / f"{name}.py").write_text("VALUE = 'old'\n")
    poold.start(ini(lib, "mod, numpy") + ini(lib, "other", name="other"))
    return lib


def write_log(lib):
    with open(lib / "app.log", "a") as file:
        for line in range(1000):
            file.write(f"{line}\n")
            file.flush()


KEPT = {
    "log": write_log,
    "data": lambda lib: replace(lib / "data.json", "{}"),
    "module that is not loaded": lambda lib: replace(lib / "unrelated.py", "VALUE = 'new'\n"),
    "new module that nobody has asked for": lambda lib: (lib / "fresh.py").write_text(""),
    "new folder": lambda lib: (lib / "results").mkdir(),
    "bytecode": lambda lib: (lib / "__pycache__/mod.cpython-399.pyc").write_text(""),
    "read": lambda lib: (lib / "mod.py").read_text(),
    "beside the folder": lambda lib: (lib.parent / "json.py").write_text(""),
}


@pytest.mark.parametrize("change", KEPT.values(), ids=KEPT.keys())
def test_no_change(poold, bystander, change):
    (bystander / "__pycache__").mkdir(exist_ok=True)
    expect_kept(poold, lambda: change(bystander), bystander)


def test_busy_log_does_not_keep_poold_busy(poold, bystander):
    """A thousand lines wake it up a few times, not a thousand times."""

    def wakeups():
        text = pathlib.Path(f"/proc/{poold.pid}/status").read_text()
        return int(next(line for line in text.splitlines() if line.startswith("voluntary")).split()[1])

    before = wakeups()
    write_log(bystander)
    after = wakeups()
    assert after - before < 100, after - before


def test_fifty_pools(poold, tmp_path):
    """One edit costs one pool its workers."""
    text = "[poold]\nmax_starting = 4\n"
    for number in range(50):
        lib = tmp_path / f"lib{number}"
        lib.mkdir()
        (lib / "mod.py").write_text("VALUE = 'old'\n")
        text += ini(lib, name=f"p{number}")
    poold.start(text)
    before = {pool["name"]: [worker["pid"] for worker in pool["workers"]] for pool in poold.status()["pools"]}
    expect_recycled(poold, lambda: (tmp_path / "lib17/mod.py").write_text("VALUE = 'new'\n"), "p17")
    after = {pool["name"]: [worker["pid"] for worker in pool["workers"]] for pool in poold.status()["pools"]}
    assert [name for name in before if before[name] != after[name]] == ["p17"]
    assert warm_value(poold, pool="p17") == "new"


# --- Changes while workers are loading ---


def become_package(lib):
    (lib / "part.py").unlink()
    become_package_beside(lib)


def become_package_beside(lib):
    """It goes before a module of the same name."""
    (lib / "part").mkdir()
    (lib / "part/__init__.py").write_text("VALUE = 'new'\n")


def swap_folder(lib):
    """For another one, with files that were all there before."""
    lib.rename(lib.with_name("old"))
    lib.with_name("release").rename(lib)


@pytest.mark.parametrize("change", [
    lambda lib: (lib / "part.py").write_text("VALUE = 'new'\n"),
    lambda lib: (lib.with_name("release") / "part.py").rename(lib / "part.py"),
    become_package,
    become_package_beside,
    swap_folder,
], ids=["edit", "rename", "package", "package-beside", "folder"])
def test_change_while_it_is_loaded(poold, lib, tmp_path, change):
    """The module has loaded the old one, which nobody has watched yet."""
    started, go = tmp_path / "started", tmp_path / "go"
    (lib / "part.py").write_text("VALUE = 'old'\n")
    (lib / "mod.py").write_text(f"""
import os, time
from part import VALUE
open({str(started)!r}, "w").close()
while not os.path.exists({str(go)!r}):
    time.sleep(0.01)
""")
    shutil.copytree(lib, tmp_path / "release")
    (tmp_path / "release/part.py").write_text("VALUE = 'new'\n")
    poold.launch(ini(lib))
    harness.eventually("the module to be half loaded", started.exists)
    change(lib)
    go.touch()
    assert warm_value(poold) == "new"
    assert "has changed while it was loaded" in poold.log
    assert poold.pool()["state"] == "ready" and "degraded" not in poold.log


def test_module_that_goes_while_others_are_loaded(poold, lib, tmp_path):
    """With python3 it would not be there either."""
    started, go = tmp_path / "started", tmp_path / "go"
    (lib / "part").mkdir()
    (lib / "part/__init__.py").write_text("from . import below")
    (lib / "part/below.py").write_text("")
    (lib / "mod.py").write_text(f"""
import os, time
import part
open({str(started)!r}, "w").close()
while not os.path.exists({str(go)!r}):
    time.sleep(0.01)
""")
    poold.launch(ini(lib))
    harness.eventually("the module to be half loaded", started.exists)
    shutil.rmtree(lib / "part")
    go.touch()
    harness.eventually(lambda: f"the pool to be degraded:\n{poold.log}",
                       lambda: poold.pool()["state"] == "degraded")
    assert f"has changed while it was loaded: {lib}/part" in poold.log and "No module named 'part'" in poold.log


def test_module_that_takes_its_file_away_again(poold, lib, tmp_path):
    """It was never meant to stay, and is where nobody looks for it."""
    (lib / "mod.py").write_text("""
import importlib.util, os, sys, tempfile
with tempfile.NamedTemporaryFile("w", suffix=".py", dir=os.path.dirname(os.path.dirname(__file__))) as file:
    file.write("VALUE = 'made'")
    file.flush()
    spec = importlib.util.spec_from_file_location("made", file.name)
    sys.modules["made"] = made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
VALUE = made.VALUE
""")
    poold.start(ini(lib))
    assert warm_value(poold) == "made" and "has changed while it was loaded" not in poold.log


def test_module_that_appears_while_others_are_loaded(poold, lib, tmp_path):
    started, go = tmp_path / "started", tmp_path / "go"
    (lib / "mod.py").write_text(f"""
import os, time
try:
    from optional import VALUE
except ImportError:
    VALUE = "none"
open({str(started)!r}, "w").close()
while not os.path.exists({str(go)!r}):
    time.sleep(0.01)
""")
    poold.launch(ini(lib))
    harness.eventually("the module to be half loaded", started.exists)
    (lib / "optional.py").write_text("VALUE = 'there'\n")
    go.touch()
    assert warm_value(poold) == "there"


def test_module_that_is_written_each_time(poold, lib):
    (lib / "mod.py").write_text("""
import os, time
with open(os.path.join(os.path.dirname(__file__), "generated.py"), "w") as file:
    file.write(f"VALUE = {time.time()}")
from generated import VALUE
""")
    poold.launch(ini(lib))
    pool = harness.eventually(lambda: f"the pool to be degraded:\n{poold.log}",
                              lambda: (pool := poold.pool())["state"] == "degraded" and pool)
    assert f"{lib}/generated.py is written each time" in pool.get("last_error", poold.log)
    assert poold.log.count("has changed while it was loaded") == 3


def test_module_that_is_written_once(poold, lib):
    """A table that is generated if it is not there, say."""
    (lib / "mod.py").write_text("""
import os
path = os.path.join(os.path.dirname(__file__), "generated.py")
if not os.path.exists(path):
    with open(path, "w") as file:
        file.write("VALUE = 'generated'")
from generated import VALUE
""")
    poold.start(ini(lib))
    assert warm_value(poold) == "generated"


# --- Failing modules ---


def test_mended_module_is_tried_at_once(poold, lib):
    (lib / "mod.py").write_text("VALUE = = 1\n")
    poold.launch(ini(lib))
    poold.wait_log("cannot import module=mod", times=3)
    (lib / "mod.py").write_text("VALUE = 1\n")
    harness.eventually(lambda: f"the pool to be ready:\n{poold.log}", lambda: poold.pool()["state"] == "ready", 3)
    assert warm_value(poold) == "1"


def test_broken_module_and_mended(poold, lib):
    (lib / "mod.py").write_text("import part\nVALUE = part.VALUE\n")
    (lib / "part.py").write_text("VALUE = 1\n")
    poold.start(ini(lib))
    (lib / "part.py").write_text("raise RuntimeError('broken')\n")
    poold.wait_log("cannot import module=mod", times=3)
    assert poold.pool()["state"] == "degraded"
    (lib / "part.py").write_text("VALUE = 2\n")
    harness.eventually(lambda: f"the pool to be ready:\n{poold.log}", lambda: poold.pool()["state"] == "ready", 3)
    assert warm_value(poold) == "2"


def test_missing_folder_of_the_path(poold, tmp_path):
    lib = tmp_path / "not/there/yet"
    poold.launch(ini(lib))
    poold.wait_log("cannot import module=mod", times=3)
    lib.mkdir(parents=True)
    (lib / "mod.py").write_text("VALUE = 1\n")
    harness.eventually(lambda: f"the pool to be ready:\n{poold.log}", lambda: poold.pool()["state"] == "ready", 4)


WARN = "on_module_error = warn"


def test_workers_without_a_module(poold, lib):
    (lib / "mod.py").write_text("VALUE = 1\n")
    (lib / "broken.py").write_text("1 / 0\n")
    poold.start(ini(lib, "missing, broken, mod", WARN))
    for text in "module=missing, and goes on", "module=broken, and goes on", "ZeroDivisionError":
        assert text in poold.log
    assert poold.pool()["state"] == "ready"
    done = poold.run("-c", "import sys; print('broken' in sys.modules, 'mod' in sys.modules); import broken")
    assert done.stdout == b"False True\n" and b"ZeroDivisionError" in done.stderr
    poold.wait_idle()
    expect_recycled(poold, lambda: (lib / "missing.py").write_text("VALUE = 2\n"))
    assert poold.run("-c", "import sys; print('missing' in sys.modules)").stdout == b"True\n"


def test_half_a_package_is_forgotten(poold, lib):
    """A script that imports it has all of it run, as under python3."""
    package = lib / "package"
    package.mkdir()
    (package / "__init__.py").write_text("import package.part, whole\nraise ImportError('no')\n")
    (package / "part.py").write_text("import package.sub.leaf\nprint('part')\n")
    (package / "sub").mkdir()
    (package / "sub/__init__.py").write_text("print('sub')")
    (package / "sub/leaf.py").write_text("")
    (lib / "whole.py").write_text("print('whole')\n")
    poold.start(ini(lib, "package", WARN))
    done = poold.run("-c", "import sys; print(sorted(name for name in sys.modules if 'package' in name), 'whole' in sys.modules)\n"
                           "import package")
    assert done.stdout == b"[] True\nsub\npart\n" and b"ImportError: no" in done.stderr


def test_modules_that_end_the_process(poold, lib):
    (lib / "exits.py").write_text("raise SystemExit(3)\n")
    (lib / "mod.py").write_text("VALUE = 1\n")
    poold.start(ini(lib, "exits, mod", WARN))
    assert "module=exits, and goes on" in poold.log
    assert warm_value(poold) == "1"


# --- Importers ---


def test_module_made_right_before_the_run(poold, lib, script):
    (lib / "mod.py").write_text("VALUE = 'old'\n")
    poold.start(ini(lib))
    path = script(f"import sys; sys.path.append({str(lib)!r}); import born; print(born.VALUE)")
    for turn in range(5):
        poold.wait_idle()
        (lib / "born.py").write_text(f"VALUE = {turn}\n")
        assert poold.run(path).stdout.decode() == f"{turn}\n"
        (lib / "born.py").unlink()
        shutil.rmtree(lib / "__pycache__", ignore_errors=True)


def test_folder_that_has_changed_without_another_time(poold, lib):
    """As where times are coarse. An importer that has looked into it would not look again."""
    (lib / "mod.py").write_text("""
import os
folder = os.path.dirname(__file__)
open(os.path.join(folder, "touches"), "w").close()
try:
    import nonesuch
except ImportError:
    time = os.stat(folder).st_mtime_ns
with open(os.path.join(folder, "born.py"), "w") as file:
    file.write("VALUE = 'born'")
os.utime(folder, ns=(time, time))
""")
    poold.start(ini(lib))
    assert poold.run("-c", "import born; print(born.VALUE)").stdout == b"born\n"


# --- Where poold cannot watch ---


@contextlib.contextmanager
def no_watches(poold, text):
    """poold in a namespace in which its user has no watches, and a way to run poolctl there."""
    poold.start(text, wrap=["unshare", "--user", "--map-root-user", "sh", "-c",
                            'echo 0 > /proc/sys/user/max_inotify_watches; exec "$@"', "sh"])
    yield ["nsenter", "--target", str(poold.pid), "--user", "--preserve-credentials", poold.program("poolctl"), "run"]


def test_more_files_than_can_be_watched(poold, lib):
    (lib / "mod.py").write_text("VALUE = 'old'\n")
    (lib / "other.py").write_text("VALUE = 'old'\n")
    code = f"import sys; sys.path.append({str(lib)!r}); import mod; print(mod.VALUE)"

    def run(*options):
        return subprocess.run([*inside, *options, "-c", code], env=poold.env, capture_output=True, text=True,
                              timeout=harness.DEADLINE)

    with no_watches(poold, ini(lib)) as inside:
        assert "cannot watch" in poold.log
        assert run("--no-fallback").stdout == "old\n"
        for turn in range(3):
            poold.wait_idle()
            (lib / "mod.py").write_text(f"VALUE = {turn}\n")
            done = run("-v")
            assert done.stdout == f"{turn}\n" and "has changed since the worker loaded it" in done.stderr
            poold.wait_idle()
            assert run("--no-fallback").stdout == f"{turn}\n"
        poold.wait_idle()
        (lib / "log").write_text("not of interest")
        assert run("--no-fallback").stdout == "2\n"
        poold.wait_idle()
        (lib / "abc.py").write_text("VALUE = 'shadow'\n")
        assert "has changed since" in run("-v").stderr
        harness.eventually("it to be counted", lambda: poold.pool()["misses"].get("stale") == 4)
