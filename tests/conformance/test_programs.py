"""Programs that people run: a warm run comes out as a cold one does."""

import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request

import pytest

import compare
import harness

PYTEST_PACKAGE = {
    "pyproject.toml": "[tool.pytest.ini_options]\naddopts = '-ra'\n",
    "shop/__init__.py": "",
    "shop/cart.py": "def total(prices):\n    return sum(prices)\n",
    "tests/conftest.py": "import pytest\n\n@pytest.fixture\ndef prices():\n    return [1, 2, 3]\n",
    "tests/test_cart.py": """\
import logging, os, sys, warnings
import pytest
from shop.cart import total

def test_total(prices): assert total(prices) == 6
def test_fails(prices): assert total(prices) == 7, "on purpose"
def test_capture(capfd):
    os.system("echo sub"); print("own")
    assert sorted(capfd.readouterr().out.split()) == ["own", "sub"]
def test_log(caplog): logging.warning("w"); assert caplog.messages == ["w"]
def test_warns(): warnings.warn("deprecated", DeprecationWarning)
def test_patch(monkeypatch, tmp_path): monkeypatch.chdir(tmp_path); assert os.getcwd() == str(tmp_path)
@pytest.mark.parametrize("x", range(3))
def test_many(x): assert x != 1
@pytest.mark.skip(reason="no")
def test_skipped(): pass
@pytest.mark.xfail
def test_xfail(): assert 0
def test_loaded(): assert "shop.cart" in sys.modules; print("printed"); 1 / 0
""",
}

PLOT = """\
import matplotlib
matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
frame = pd.DataFrame({"x": np.arange(50), "y": np.random.default_rng(1).normal(size=50).cumsum()})
print(frame.describe().to_string())
print(frame.groupby(frame.x // 10).y.mean())
axes = frame.plot(x="x", y="y", title="walk")
axes.figure.savefig("walk.png")
frame.to_csv("walk.csv")
frame.to_pickle("walk.pickle")
"""

TRAINING = """\
import torch
from torch.utils.data import DataLoader, Dataset

class Squares(Dataset):
    def __len__(self): return 64
    def __getitem__(self, i): return torch.tensor([i / 64.0]), torch.tensor([(i / 64.0) ** 2])

def main():
    torch.manual_seed(7)
    torch.set_num_threads(1)
    model = torch.nn.Sequential(torch.nn.Linear(1, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = DataLoader(Squares(), batch_size=16, shuffle=True, num_workers=2)
    for epoch in range(4):
        total = 0.0
        for x, y in loader:
            loss = torch.nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad(); loss.backward(); optimizer.step()
            total += loss.item()
        print(epoch, repr(total))
    print([p.sum().item() for p in model.parameters()], torch.initial_seed(), torch.get_num_threads())

if __name__ == "__main__":
    main()
"""

POOL = """\
import multiprocessing, os, shutil

def work(x): return x * x

if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    context.set_executable(shutil.which("poolpython"))
    with context.Pool(2) as pool:
        print(pool.map(work, range(10)), len(set(pool.map(pid, range(20)))) > 0)
"""
POOL = POOL.replace("def work", "def pid(_): return os.getpid()\ndef work")

# name: (python's arguments, files, modules of the pool, what differs from run to run and is left out)
PROGRAMS = {
    "pytest": (["-m", "pytest", "-p", "no:cacheprovider", "--durations=0", "--durations-min=100"], PYTEST_PACKAGE,
               rb"in [0-9.]+s"),
    "pytest -x -q": (["-m", "pytest", "-p", "no:cacheprovider", "-xq", "tests"], PYTEST_PACKAGE, rb"in [0-9.]+s"),
    "IPython -c": (["-m", "IPython", "--colors=NoColor", "-c", "x = 5\n%timeit -n1 -r1 -q pass\nprint(x, In)\nx / 0"], {}, None),
    "IPython file": (["-m", "IPython", "--colors=NoColor", "s.ipy"], {"s.ipy": "print(1)\n!echo sub\nimport sys; print(sys.argv)\n"}, None),
    "pip --version": (["-m", "pip", "--version"], {}, None),
    "pip list": (["-m", "pip", "--disable-pip-version-check", "list"], {}, None),
    "pip help": (["-m", "pip", "help", "install"], {}, None),
    "json.tool": (["-m", "json.tool", "in.json", "out.json"], {"in.json": '{"b": [1, 2.5, null], "a": "\u00e9"}'}, None),
    "json.tool fails": (["-m", "json.tool", "in.json"], {"in.json": '{"b": }'}, None),
    "pydoc": (["-m", "pydoc", "json.dumps"], {}, None),
    "compileall": (["-m", "compileall", "-q", "."], {"a.py": "x = 1\n", "b/c.py": "def f(: pass\n"}, None),
    "pandas and matplotlib": (["plot.py"], {"plot.py": PLOT}, None),
    "torch and DataLoader": (["train.py"], {"train.py": TRAINING}, None),
    "multiprocessing with poolpython": (["pool.py"], {"pool.py": POOL}, None),
}
FROM_POOL = {"multiprocessing with poolpython": 3}  # programs that workers must serve more than one process of


@pytest.fixture(scope="module")
def pair(start_poold, tmp_path_factory):
    poold = start_poold("[pool:default]\nsize = 4\nmodules = numpy, pandas, torch\n")
    # Caches that the first run of a program writes, for all those that follow.
    for code in ("import matplotlib.pyplot", "import IPython; IPython.start_ipython(['-c', '1'])"):
        poold.python3("-c", code)
    return compare.Pair(poold, tmp_path_factory.mktemp("programs") / "here")


def without(outcome, pattern):
    status, stdout, stderr, files = outcome.status, outcome.stdout, outcome.stderr, outcome.files
    return status, *(re.sub(pattern, b"", text) if pattern else text for text in (stdout, stderr)), files


@pytest.mark.parametrize("name", PROGRAMS)
def test_as_python3(pair, name):
    args, files, differs = PROGRAMS[name]
    cold = pair.cold(lambda python: [*python, *args], files, {})
    warm, hits, misses = pair.warm(lambda python: [*python, *args], files, {})
    assert without(warm, differs) == without(cold, differs)
    # A Pool may kill a process that has not begun yet, when it has no more work.
    assert misses <= ({"abandoned"} if name in FROM_POOL else set())
    assert hits >= FROM_POOL.get(name, 1)


def answers_of(process, port):
    """What the server says to a few requests, but for the time."""

    def get(path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
                return answer.status, {**answer.headers, "Date": ""}, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def listens():
        assert process.poll() is None, process.communicate()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    harness.eventually("the server to listen", listens)
    return [get(path) for path in ("a.txt", "nonesuch", "", "d/")]


def test_http_server(pair):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    outcomes = []
    for python in ([harness.PYTHON], [pair.poold.program("poolctl"), "run", "--no-fallback"]):
        pair.poold.wait_idle()
        compare.clean(pair.folder)
        compare.write_files(pair.folder, {"a.txt": "hello\n", "d/b": ""})
        process = subprocess.Popen([*python, "-u", "-m", "http.server", "--bind", "127.0.0.1", str(port)], cwd=pair.folder,
                                   env=pair.poold.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        answers = answers_of(process, port)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=harness.DEADLINE)
        outcomes.append((answers, process.returncode, stdout, re.sub(rb"\[.*?\]", b"[time]", stderr)))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0][0][2] == b"hello\n"


def test_how_many(count):
    count(f"programs compared: {len(PROGRAMS) + 1}")
