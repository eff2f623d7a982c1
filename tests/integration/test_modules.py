"""What a pool has loaded is there when the script starts, and is nobody's output."""

import pytest

import harness

MODULES = ["numpy", "pandas", "torch"]


@pytest.mark.parametrize("module", MODULES)
def test_real_libraries(poold, script, module):
    pytest.importorskip(module)
    poold.start(f"[pool:default]\nsize = 1\nmodules = {module}\n")
    path = script(f"import sys; loaded = {module!r} in sys.modules\nimport {module}; print({module}.__version__, loaded)")
    theirs, ours = poold.python3(path), poold.run(path)
    assert theirs.stdout.split() == [ours.stdout.split()[0], b"False"]
    assert (ours.returncode, ours.stdout.split()[1], ours.stderr) == (0, b"True", b"")


def test_torch_computes_as_it_does_cold(poold, script):
    poold.start("[pool:default]\nsize = 1\nmodules = torch\n")
    poold.same_as_python3(script("""
import torch
torch.manual_seed(1)
layer = torch.nn.Linear(64, 8)
loss = layer(torch.randn(32, 64)).pow(2).sum()
loss.backward()
print(loss.item(), layer.weight.grad.norm().item(), torch.get_num_threads())
"""))


def test_pandas_computes_as_it_does_cold(poold, script):
    poold.start("[pool:default]\nsize = 1\nmodules = numpy, pandas\n")
    poold.same_as_python3(script("""
import io, numpy, pandas
frame = pandas.DataFrame({"a": numpy.arange(10) % 3, "b": numpy.linspace(0, 1, 10)})
print(frame.groupby("a").sum(), pandas.read_csv(io.StringIO("x,y\\n1,2")))
"""))


def test_modules_are_imported_in_order(poold, tmp_path):
    for name in "cab":
        (tmp_path / f"{name}.py").write_text("import builtins\nbuiltins.order = getattr(builtins, 'order', '') + __name__\n")
    poold.start(f"[pool:default]\nsize = 1\nmodules =\n    c\n    a\n    b\npath = {tmp_path}\n")
    assert poold.run("-c", "print(order)").stdout == b"cab\n"


def test_path_and_submodules(poold, tmp_path):
    package = tmp_path / "home/models/package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "part.py").write_text("value = 5")
    poold.start("[pool:default]\nsize = 1\nmodules = package.part\npath = ~/models\n")
    done = poold.run("-c", "import sys; print(sys.modules['package.part'].value)")
    assert done.stdout == b"5\n"


def test_what_a_module_prints_goes_to_the_log(poold, tmp_path):
    (tmp_path / "chatty.py").write_text("""
import os, sys
print("by print")
print("by stderr", file=sys.stderr)
os.system("echo by a program")
os.write(1, b"by the descriptor\\n")
sys.stdout.write("never flushed")
assert sys.stdin.read() == ""
""")
    poold.start(f"[pool:default]\nsize = 1\nmodules = chatty\npath = {tmp_path}\n")
    done = poold.run("-c", "import chatty; print('mine')")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"mine\n", b"")
    for line in ("by print", "by stderr", "by a program", "by the descriptor", "never flushed"):
        poold.wait_log(line)


def test_environment_of_a_pool(poold, tmp_path):
    (tmp_path / "reader.py").write_text("import os\nseen = os.environ.get('AT_IMPORT')\n")
    poold.start(f"[pool:default]\nsize = 1\nmodules = reader\npath = {tmp_path}\nenv.AT_IMPORT = yes\n")
    done = poold.run("-c", "import os, reader; print(reader.seen, os.environ.get('AT_IMPORT'))")
    assert done.stdout == b"yes None\n"


def test_import_state_is_a_fresh_mains(poold, tmp_path):
    """Loading leaves no trace in __main__, sys.argv or the warnings that the script would still get."""
    (tmp_path / "loaded.py").write_text("import sys, __main__\n__main__.leak = 1\nsys.argv.append('leak')\n")
    poold.start(f"[pool:default]\nsize = 1\nmodules = loaded\npath = {tmp_path}\n")
    assert poold.run("-c", "import sys; print(sys.argv, 'leak' in globals())", "x").stdout == b"['-c', 'x'] False\n"


def test_module_that_holds_the_arguments_by_name(poold, tmp_path):
    (tmp_path / "holds.py").write_text("from sys import argv\nimport sys\noriginal = getattr(sys, 'orig_argv', None)\n")
    poold.start(f"[pool:default]\nsize = 1\nmodules = holds\npath = {tmp_path}\n")
    done = poold.run("-c", "import holds, sys; print(holds.argv is sys.argv, holds.argv, holds.original)", "a")
    python = poold.run("-c", "import sys; print(sys.executable)").stdout.decode().strip()
    assert done.stdout.decode().startswith("True ['-c', 'a'] ['" + python)
    assert done.stdout.decode().endswith(", 'a']\n")


def test_module_that_replaces_the_environment(poold, tmp_path):
    """There is no way to give such a worker a run's environment, so it never gets a run."""
    (tmp_path / "replaces.py").write_text("import os\nos.environ = dict(os.environ)\n")
    poold.launch(f"[pool:default]\nsize = 1\nmodules = replaces\npath = {tmp_path}\n")
    poold.wait_log("RuntimeError: a module has replaced os.environ")
    harness.eventually("the pool to be degraded", lambda: poold.pool()["state"] == "degraded")
    done = poold.ctl("run", "-c", "import os; print(os.environ['CLIENTS'])", env=poold.env | {"CLIENTS": "own"})
    assert done.stdout == b"own\n"


def test_settings_of_matplotlib_in_the_current_folder(poold, script, tmp_path):
    pytest.importorskip("matplotlib")
    started = tmp_path / "started"
    started.mkdir()
    (started / "matplotlibrc").write_text("lines.linewidth: 9\n")
    poold.start("[pool:default]\nsize = 1\nmodules = matplotlib\n", cwd=started)
    path = script("import matplotlib; print(matplotlib.rcParams['lines.linewidth'])")
    here = tmp_path / "here"
    here.mkdir()
    poold.same_as_python3(path, cwd=here)
    (here / "matplotlibrc").write_text("lines.linewidth: 7\n")
    assert poold.same_as_python3(path, cwd=here, fallback=True).stdout == b"7.0\n"
