"""`poolctl suggest`: the script runs, and what is printed is a pool that has its imports."""

import os
import re
import signal
import subprocess

import pytest

from harness import DEADLINE, PYTHON

SECONDS = r"(\d+\.\d{2,3}) s"


class Suggestion:
    """What `poolctl suggest ARGS` said. `out` and `err` are the script's."""

    def __init__(self, poold, *args, **options):
        answer = poold.ctl("suggest", *args, text=True, **options)
        self.status, self.err = answer.returncode, answer.stderr
        self.out, _, self.report = answer.stdout.rpartition("The run took ")
        self.text, _, self.ini = self.report.partition("\n\n")
        found = re.search(r"^modules = (.*?) *; saves " + SECONDS + " of " + SECONDS + r"\n((?: .*\n)*)$", self.ini, re.M)
        self.modules = (found[1].split(", ") if found[1] else found[4].split()) if found else []
        self.saves, self.of = map(float, found.groups()[1:3]) if found else (0, 0)


@pytest.fixture
def suggest(poold):
    poold.env.pop("PYTHONDONTWRITEBYTECODE", None)
    return lambda *args, **options: Suggestion(poold, *args, **options)


def slow(script, name, text=""):
    return script(f"import time\ntime.sleep(0.1)\n{text}\n", f"{name}.py")


def test_modules_of_a_script(suggest, script):
    path = script("import numpy\nimport sys\ndef later():\n    import pandas\nlater()\nprint('out', *sys.argv[1:])\n"
                  "sys.stderr.write('err')\n")
    found = suggest(path, "one", "--pool")
    assert (found.out, found.err, found.status) == ("out one --pool\n", "err", 0)
    assert found.modules == ["numpy", "pandas"]
    assert 0.05 < found.saves < found.of
    assert re.match(SECONDS + ", of which its imports " + SECONDS + r"\.\n +" + SECONDS + "  numpy\n +" + SECONDS +
                    "  pandas$", found.text)
    assert found.ini.startswith("[pool:default]\nmodules = ")


def test_pool_that_is_suggested(suggest, poold, script):
    """It is one that poold takes, and its workers have the modules."""
    found = suggest(script("import numpy, asyncio\n"))
    poold.start(found.ini + "size = 1\n")
    run = poold.run("-c", "import sys; print('numpy' in sys.modules, 'asyncio' in sys.modules)")
    assert run.stdout == b"True True\n"


def test_torch_once(suggest):
    found = suggest("-c", "import torch.nn\nimport torch.utils.data")
    assert found.modules == ["torch"]
    assert found.saves > 0.5 * found.of  # the rest is the interpreter, and much of that its end


def test_module_and_standard_input(suggest):
    found = suggest("-m", "json.tool", input="[1]")
    assert (found.out, found.err, found.status) == ("[\n    1\n]\n", "", 0)
    found = suggest("-", input="import asyncio\nprint(42)\n")
    assert (found.out, found.modules) == ("42\n", ["asyncio"])


def test_nothing_to_suggest(suggest):
    found = suggest("-c", "print(42)")
    assert (found.out, found.err, found.status, found.ini) == ("42\n", "", 0, "")
    assert found.text.endswith("\nNo module that a pool could have imported takes long.\n")


def test_own_module_is_named_but_not_proposed(suggest, script):
    slow(script, "mine", "import asyncio")
    found = suggest(script("import mine\n"))
    assert found.modules == ["asyncio"]
    assert re.search(r"^Not proposed: mine \(0\.1\d+ s\), which python3 does not find by itself\.", found.text, re.M)


def test_many_modules_make_a_list(suggest, poold, script, tmp_path):
    names = [f"a_module_of_a_quite_long_name_{i}" for i in range(4)]
    for name in names:
        slow(script, name)
    found = suggest(script("import " + ", ".join(names)), env=poold.env | {"PYTHONPATH": str(tmp_path)})
    assert re.fullmatch(r"\[pool:default\]\nmodules = +; saves 0\.4\d s of 0\.\d\d s\n    " + "\n    ".join(names) + "\n",
                        found.ini)
    (tmp_path / "my.ini").write_text(found.ini)
    check = subprocess.run([poold.program("poold"), "--config", tmp_path / "my.ini", "--check"], capture_output=True)
    assert check.returncode == 0, check.stderr


def test_pool_has_the_options_and_the_interpreter(suggest, poold, tmp_path):
    found = suggest("-O", "-u", "-X", "dev", "-c", "import asyncio")
    assert found.ini.startswith("[pool:default]\noptions = -O -Xdev\nmodules = asyncio ")
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    python = f"python = {tmp_path}/venv/bin/python3\n"
    asked = suggest("--python", "venv/bin/python3", "-c", "import asyncio", cwd=tmp_path)
    assert asked.ini.startswith("[pool:default]\n" + python)
    activated = suggest("-c", "import asyncio", env=poold.env | {"VIRTUAL_ENV": str(tmp_path / "venv")})
    assert activated.ini.startswith("[pool:default]\n" + python)


def test_script_that_fails(suggest):
    found = suggest("-c", "import asyncio, no_such_module")
    assert (found.modules, found.status) == (["asyncio"], 0)
    assert "ModuleNotFoundError" in found.err
    assert found.err.endswith("poolctl: the script ended with status 1: what it had imported until then counts\n")
    found = suggest("-c", "import asyncio, os; os.kill(os.getpid(), 9)")
    assert (found.modules, found.status) == (["asyncio"], 0)
    assert "poolctl: the script was killed by signal 9 (Killed)" in found.err


def test_children_are_not_measured(suggest, script):
    """Neither those that inherit the option, nor other programs."""
    found = suggest(script("import multiprocessing as m, subprocess, sys\n"
                           "def child():\n    import asyncio\n"
                           "if __name__ == '__main__':\n"
                           "    import asyncio\n"
                           "    process = m.get_context('spawn').Process(target=child)\n"
                           "    process.start()\n    process.join()\n"
                           "    subprocess.run([sys.executable, '-c', 'import decimal'])\n"))
    assert found.err == ""
    assert found.modules.count("asyncio") == 1
    assert "decimal" not in found.modules


def test_much_output_passes_as_it_is(suggest, script):
    path = script("import sys\nfor i in range(20000):\n    sys.stderr.write(f'line {i} import time: {i}\\n')\n"
                  "sys.stderr.write('import time: 1 |')\n")
    found = suggest(path)
    assert found.err == "".join(f"line {i} import time: {i}\n" for i in range(20000)) + "import time: 1 |"


def test_one_that_outlives_the_script_is_not_waited_for(suggest, script, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    found = suggest(script("import os, asyncio\nif os.fork() == 0:\n"
                           "    os.close(1)\n    open('fifo').read()\n    os._exit(0)\n"), cwd=tmp_path)
    assert found.modules == ["asyncio"]
    with open(tmp_path / "fifo", "w"):
        pass


def test_interrupted_script(poold, script, tmp_path):
    """Ctrl-C ends the script, and then what it had imported is told."""
    path = script("import asyncio, signal, sys\nprint('here', flush=True)\nsignal.pause()\n")
    process = subprocess.Popen([poold.program("poolctl"), "suggest", path], env=poold.env, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True)
    assert process.stdout.readline() == "here\n"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=DEADLINE)
    assert process.returncode == 0
    assert "modules = asyncio" in out
    assert "KeyboardInterrupt" in err


def test_prompt_is_seen_at_once(poold):
    process = subprocess.Popen([poold.program("poolctl"), "suggest", "-c",
                                "import sys\nsys.stderr.write('name? ')\ninput()"],
                               env=poold.env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stderr.read(6) == b"name? "
    process.communicate(b"me\n", timeout=DEADLINE)
    assert process.returncode == 0


@pytest.mark.parametrize("args", [[], ["--python"], ["--what", "x.py"]])
def test_wrong_command_line(suggest, args):
    found = suggest(*args)
    assert found.status == 2
    assert "usage: poolctl suggest [--python FILE] PYTHON-ARGS..." in found.err


def test_no_such_python(suggest):
    found = suggest("--python=/nonexistent/python3", "-c", "pass")
    assert (found.out, found.err, found.status) == ("", "poolctl: cannot run /nonexistent/python3: No such file or directory\n", 1)
