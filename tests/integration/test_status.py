"""poolctl status, ps and kill: what poold does, for a person and for a program, at once and whatever goes on."""

import contextlib
import fcntl
import json
import os
import pathlib
import re
import signal
import statistics
import struct
import subprocess
import termios
import threading
import time

import pexpect
import pytest

import harness

MANUAL = pathlib.Path(__file__).parents[2] / "man/poolctl.1.scd"
ESCAPES = re.compile(r"\033\[[?\d;]*[A-Za-z]")
POOLS = """\
[pool:default]
size = 2
[pool:a_pool_whose_name_takes_up_half_of_a_line]
size = 0
[pool:bad]
size = 1
modules = wrong
path = {path}
"""


def at_terminal(poold, *args, columns=80, **env):
    """What poolctl writes to a terminal that is so wide."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 50, columns, 0, 0))
    env = {name: value for name, value in poold.env.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")} | env
    with os.fdopen(master, "rb", buffering=0) as reader:
        with os.fdopen(slave, "wb", buffering=0) as terminal:
            done = poold.ctl(*args, env=env | {"TERM": "xterm"} | env, stdout=terminal, stderr=subprocess.PIPE)
        assert (done.returncode, done.stderr) == (0, b"")
        return b"".join(until_hung_up(reader)).decode().replace("\r\n", "\n")


def until_hung_up(reader):
    """All that a terminal without a slave still has: a read gives what has come through so far (EIO after all of it)."""
    with contextlib.suppress(OSError):
        while data := reader.read(1 << 16):
            yield data


@pytest.fixture
def pools(poold, tmp_path):
    """Three pools, one of them with misses of several reasons, one with a long error, one with nothing."""
    (tmp_path / "wrong.py").write_text(r"raise ValueError('\n'.join(f'line {i} \033[31m' for i in range(40)))")
    poold.launch(POOLS.format(path=tmp_path))
    poold.wait_idle("default")
    harness.eventually("the error", lambda: poold.pool("bad")["last_error"])
    poold.run("-c", "pass")
    for args in [("-O",), ("--pool", "nothing"), ("-I",), ("-E",)]:
        assert poold.run(*args, "-c", "pass").returncode == 125
    poold.wait_idle("default")
    return poold


def test_table_fits_the_terminal(pools):
    for columns, least in (200, 11), (80, 10), (40, 5):
        lines = ESCAPES.sub("", at_terminal(pools, "status", columns=columns)).split("\n")
        titles = next(i for i, line in enumerate(lines) if line.startswith("POOL"))
        end = next(i for i, line in enumerate(lines) if line.endswith("last error:"))
        assert max(map(len, lines[titles:end])) <= columns
        assert len(lines[titles].split()) >= least, lines[titles]
        default, long, bad = lines[titles + 1:titles + 4]
        assert default.split()[:3] == ["default", "ready", "2/2"] and bad.split()[:3] == ["bad", "degraded", "0/1"]
        assert long.split()[0].startswith("a_pool_wh") and long.split()[0].endswith("+" if columns < 200 else "line")


def test_table_says_what_needs_attention(pools):
    text = at_terminal(pools, "status")
    assert "default: misses: options 3, pool 1\n" in text, "the most frequent comes first"
    assert "bad: last error:\n  ... (`poolctl status --pool bad` has all of it)\n" in text
    assert "  line 39 ?[31m\n" in text and "line 29 " not in text
    whole = at_terminal(pools, "status", "--pool", "bad")
    assert all(f"    line {i} ?[31m\n" in whole or i == 0 for i in range(40)) and "ValueError: line 0" in whole


def test_one_pool(pools):
    text = pools.ctl("status", "--pool=default").stdout.decode()
    pool = pools.pool("default")
    assert text.startswith("default, ready\n") and pool["python"] in text and "options 3, pool 1" in text
    for worker in pool["workers"]:
        assert re.search(rf"^ *{worker['pid']}  idle .* [\d.]+[KMG]$", text, re.M), text
    done = pools.ctl("status", "--pool", "nothing")
    assert done.returncode == 1 and b"there is no pool 'nothing'" in done.stderr and done.stdout == b""


def test_colours(pools):
    assert "\033[31mdegraded\033[m" in at_terminal(pools, "status")
    assert "\033" not in at_terminal(pools, "status", NO_COLOR="1") and "\033" not in at_terminal(pools, "status", TERM="dumb")
    assert b"\033" not in pools.ctl("status").stdout


def test_memory_is_shown_where_a_cpu_is_idle(pools):
    n_quiet = 0
    for _ in range(200):
        if re.search(rb"^default .* [\d.]+[KMG]$", pools.ctl("status").stdout, re.M):
            return
        running = int(pathlib.Path("/proc/loadavg").read_text().split()[3].split("/")[0])
        n_quiet += 1 if running <= os.cpu_count() else 0
    assert n_quiet < 100, "not shown, and the machine has nothing else to do"


def described(text):
    """The keys that the manual describes by lines, indented where they are part of the one above, as a tree."""
    tree, path = {}, []
    for line in text.splitlines():
        indent, key = re.match(r"( *)(\w+)", line).groups()
        del path[len(indent) // 2:]
        node = tree
        for part in path:
            node = node[part]
        node[key] = {}
        path.append(key)
    return tree


def check(value, tree, where=""):
    """Does the value have the keys that the manual describes, and no other?"""
    if not tree:
        return
    for element in value if isinstance(value, list) else [value]:
        assert element.keys() == tree.keys(), where
        for key in tree:
            check(element[key], tree[key], f"{where}.{key}")


def test_json_is_what_the_manual_describes(pools):
    section = re.search(r"^# JSON\n(.*?)^# ", MANUAL.read_text(), re.M | re.S)[1]
    status, ps = map(described, re.findall(r"^```\n(.*?)^```", section, re.M | re.S))
    with pools.popen("-c", "input()") as run:
        harness.eventually("the run", lambda: pools.pool("default")["busy"])
        document, runs = pools.status(), json.loads(pools.ctl("ps", "--json").stdout)
        run.communicate("\n")
    assert "workers" in status["pools"] and len(document["pools"]) == 3 and len(runs) == 1
    check(document, status)
    check(runs, ps)


def test_options(pools):
    for args in [("status", "--jsn"), ("status", "--pool"), ("status", "--watch=no"), ("status", "--watch=0"), ("ps", "-a"),
                 ("kill",), ("kill", "-s"), ("kill", "-s", "TERM"), ("kill", "-s", "NOSUCH", "1"), ("kill", "-65", "1")]:
        done = pools.ctl(*args)
        assert done.returncode == 2 and done.stderr.startswith(b"poolctl: ") and not done.stdout, args


def run_of(poold, process):
    """The run of a poolctl that is to have begun, as ps lists it."""
    def find():
        for run in json.loads(poold.ctl("ps", "--json").stdout):
            if f"id={process.args[-1]}" in "id=" + run["command"].split()[-1]:
                return run
        return None

    return harness.eventually("the run", find)


@pytest.fixture
def runs(poold):
    """Starts scripts that say a line when they are there, and tells them apart by their last argument."""
    poold.start("[pool:default]\nsize = 3\n[pool:other]\nsize = 1\n")
    started = []

    def start(code, name, *options):
        process = poold.popen(*options, "-c", code, name)
        started.append(process)
        assert process.stdout.readline() == "here\n", process.stderr.read()
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_ps(poold, runs):
    assert poold.ctl("ps", "--json").stdout == b"[]\n" and poold.ctl("ps").stdout.count(b"\n") == 1
    runs("print('here', flush=True)\nwhile True: pass", "works")
    runs("import time; print('here', flush=True); time.sleep(1000)", "sleeps", "--pool", "other")

    def listed():
        return {run["command"].split()[-1]: run for run in json.loads(poold.ctl("ps", "--json").stdout)}

    harness.eventually("the one to work", lambda: listed()["works"]["cpu_s"] > 0.3)
    found = listed()
    assert found.keys() == {"works", "sleeps"}
    assert (found["works"]["pool"], found["sleeps"]["pool"]) == ("default", "other")
    assert found["works"]["cpu_s"] <= found["works"]["age_s"] + 0.1, "the warm-up does not count"
    assert found["sleeps"]["cpu_s"] < 0.2 and found["sleeps"]["rss_kb"] > 1000
    assert found["sleeps"]["pid"] in poold.workers("busy", "other")
    table = ESCAPES.sub("", at_terminal(poold, "ps", columns=60)).splitlines()
    assert table[0].split() == ["PID", "POOL", "AGE", "CPU", "MEM", "COMMAND"] and len(table) == 3
    assert max(map(len, table)) <= 60 and all(line.endswith("+") for line in table[1:])
    assert poold.ctl("ps").stdout.endswith(b" sleeps\n"), "not cut where there is no terminal"


def test_ps_obeys_no_command_line(poold, runs):
    runs("print('here', flush=True); input()", "a\033[31m\n\x9b\u202e\u00e9")
    line = poold.ctl("ps").stdout.decode().splitlines()[-1]
    assert line.endswith(" a?[31m???\u00e9") and poold.ctl("ps").stdout.count(b"\n") == 2


@pytest.mark.parametrize("options, number", [
    ([], signal.SIGTERM), (["-s", "KILL"], signal.SIGKILL), (["-9"], signal.SIGKILL), (["--signal=sigusr1"], signal.SIGUSR1),
    (["-s", "POLL"], signal.SIGPOLL), (["-s", "IO"], signal.SIGIO),
    (["--signal", "40", "--"], 40), (["-INT"], signal.SIGINT),
], ids=str)
def test_kill(poold, runs, options, number):
    run = runs(f"import signal, time; signal.signal({signal.SIGINT:d}, signal.SIG_DFL); print('here', flush=True); time.sleep(1000)", "it")
    done = poold.ctl("kill", *options, run_of(poold, run)["pid"])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert run.wait(harness.DEADLINE) == -number


def test_kill_only_asks(poold, runs):
    run = runs("print('here', flush=True); input()", "it")
    pid = run_of(poold, run)["pid"]
    assert poold.ctl("kill", "-s", "0", pid).returncode == 0
    assert run.communicate("\n")[1] == "" and run.returncode == 0
    harness.eventually("the run to be over", lambda: poold.ctl("kill", "-s", "0", pid).returncode == 1)


def test_kill_is_for_the_group(poold, runs):
    code = """\
import signal, subprocess
signal.signal(signal.SIGTERM, lambda *_: print("not me", flush=True))
child = subprocess.Popen(["sleep", "1000"])
print("here", child.wait(), child.wait(), flush=True)
"""
    run = poold.popen("-c", code, "it")
    pid = run_of(poold, run)["pid"]
    harness.eventually("its child", lambda: harness.children_of(pid) and pathlib.Path(f"/proc/{harness.children_of(pid)[0]}/comm").read_text() == "sleep\n")
    assert poold.ctl("kill", pid).returncode == 0
    assert run.communicate(timeout=harness.DEADLINE) == ("not me\nhere -15 -15\n", "") and run.returncode == 0


def test_kill_keeps_the_order_of_signals(poold, runs):
    run = runs("import time; print('here', flush=True); time.sleep(1000)", "it")
    pid = run_of(poold, run)["pid"]
    for _ in range(20):
        assert poold.ctl("kill", "-STOP", pid).returncode == 0
        harness.eventually("the stop", lambda: harness.state_of(pid) == "T")
        assert poold.ctl("kill", "-CONT", pid).returncode == 0
        harness.eventually("the run to go on", lambda: harness.state_of(pid) in "SR")
    os.kill(run.pid, signal.SIGCONT)


def test_kill_is_for_runs_alone(poold, runs):
    run = runs("import time; print('here', flush=True); time.sleep(1000)", "it")
    idle, pid = poold.workers("idle")[0], run_of(poold, run)["pid"]
    for other in (idle, poold.pid, os.getpid(), run.pid, 4194304, 0):
        done = poold.ctl("kill", "-s", "KILL", other)
        assert done.returncode == 1 and done.stderr == f"poolctl: {other}: no run has this pid; `poolctl ps` lists them\n".encode()
    assert harness.alive(idle) and harness.alive(poold.pid) and run.poll() is None
    done = poold.ctl("kill", idle, "word", "-1", pid)
    assert done.returncode == 1 and done.stderr.count(b"\n") == 3, "each is tried"
    assert run.wait(harness.DEADLINE) == -signal.SIGTERM


def test_without_poold(poold):
    for args in (["ps"], ["kill", "1"], ["status", "--pool", "x"]):
        done = poold.ctl(*args)
        assert done.returncode == 1 and b"no poold listens" in done.stderr and not done.stdout


def test_watch(poold):
    poold.start()
    env = {name: value for name, value in poold.env.items() if name not in ("COLUMNS", "LINES")} | {"TERM": "xterm"}
    screen = pexpect.spawn(poold.program("poolctl"), ["status", "--watch", "0.1"], env=env, timeout=harness.DEADLINE,
                           dimensions=(4, 60), encoding="utf-8")
    screen.expect_exact(f"pid {poold.pid}, running")
    for _ in range(3):
        screen.expect_exact("\033[J")
        frame = ESCAPES.sub("", screen.before)
        assert len(frame.splitlines()) == 3, "no more than fits"
    poold.kill()
    screen.expect_exact("no poold listens")
    screen.expect_exact("no poold listens")
    poold.start()
    screen.expect_exact(f"pid {poold.pid}, running")
    screen.sendintr()
    screen.expect(pexpect.EOF)
    screen.close()
    assert screen.signalstatus == signal.SIGINT


def test_watch_json(poold):
    poold.start()
    process = subprocess.Popen([poold.program("poolctl"), "status", "--json", "--watch=0.1"], env=poold.env, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    documents = [json.loads(process.stdout.readline()) for _ in range(3)]
    assert [document["pid"] for document in documents] == [poold.pid] * 3
    assert documents[0]["uptime_s"] < documents[1]["uptime_s"] < documents[2]["uptime_s"]
    first = poold.pid
    poold.kill()
    assert "no poold listens" in process.stderr.readline()
    poold.start()
    harness.eventually("the new one", lambda: json.loads(process.stdout.readline())["pid"] == poold.pid != first)
    process.terminate()
    process.communicate()


def expect_soon(poold):
    """A person gets the table within 10 ms, more often than not; other tests may be at work on this machine."""
    def median():
        times = []
        for _ in range(15):
            begin = time.monotonic()
            assert poold.ctl("status", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, close_fds=False).returncode == 0
            times.append(time.monotonic() - begin)
        medians.append(statistics.median(times))
        return medians[-1] < 0.010

    medians = []
    harness.eventually(lambda: f"answers within 10 ms; there were {medians}", median)


def test_answers_soon_with_many_workers(poold):
    poold.start("[pool:many]\nsize = 100\nmax_workers = 128\n" + "".join(f"[pool:p{i}]\nsize = 0\n" for i in range(49)))
    expect_soon(poold)
    assert len(poold.status()["pools"]) == 50 and len(poold.workers("idle", "many")) == 100


def test_answers_soon_under_load(poold):
    poold.start("[pool:default]\nsize = 4\nmodules = json, decimal\n")
    over = threading.Event()

    def load():
        while not over.is_set():
            poold.ctl("run", "-c", "sum(range(100000))")

    clients = [threading.Thread(target=load) for _ in range(2)]
    for client in clients:
        client.start()
    try:
        expect_soon(poold)
    finally:
        over.set()
        for client in clients:
            client.join()
    assert poold.pool()["hits"] > 0
