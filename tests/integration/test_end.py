"""The end of a run: nothing that python3 would still do is lost, and nothing outlives it that should not."""

import contextlib
import os
import signal
import socket
import time

import pytest

import harness


@pytest.mark.parametrize("code", [
    "f = open('made', 'w'); f.write('x' * 100_000 + 'end')",
    "import sys; f = open('made', 'wb', buffering=1 << 20); f.write(b'abc'); sys.exit(4)",
    "f = open('made', 'w'); f.write('text'); keep = [f]; keep.append(keep)",
    "import atexit; atexit.register(lambda: open('made', 'w').write('atexit')); print('main')",
    "import atexit; atexit.register(print, 'first'); atexit.register(print, 'second'); 1 / 0",
    "import threading, time; threading.Thread(target=lambda: (time.sleep(0.3), open('made', 'w').write('t'))).start()",
    "import threading, time; threading.Thread(target=time.sleep, args=(600,), daemon=True).start(); print(1)",
    "class A:\n    def __del__(self): print('deleted')\na = A()",
    "import sys\nclass A:\n    def __del__(self): print('deleted', sys is not None)\na = A(); a.me = a",
    "import sys; sys.stdout.write('no newline'); sys.stderr.write('none here')",
    "import logging, logging.handlers; h = logging.handlers.MemoryHandler(100, target=logging.FileHandler('made'))\n"
    "logging.getLogger().addHandler(h); logging.warning('kept')",
    "import tempfile, os; d = tempfile.TemporaryDirectory(dir='.'); print(os.path.isdir(d.name))",
    "import weakref\nclass A: pass\na = A(); weakref.finalize(a, print, 'finalized')",
    "import os, sys\nif os.fork() == 0: print('child'); sys.exit(5)\nprint(os.wait()[1])",
    "import os\npid = os.fork()\nif pid == 0: os._exit(3)\nprint(os.waitpid(pid, 0)[1])",
    "import multiprocessing as m\nif __name__ == '__main__':\n    with m.get_context('fork').Pool(2) as p: print(p.map(abs, [-1, -2]))",
    "import subprocess; print(subprocess.run(['sh', '-c', 'echo hi; exit 3'], capture_output=True))",
    "import concurrent.futures as f; print(list(f.ThreadPoolExecutor(3).map(abs, [-1, -2])))",
    "import asyncio; asyncio.run(asyncio.sleep(0.01)); print('done')",
    "import sys; sys.stdout.close()",
    "import os; os.close(1); print('lost')",
    "import os; os.closerange(3, 1000); print('fine')",
    "import sys; sys.stdout = None",
    "import sys, io; sys.stdout = io.StringIO(); print('swallowed')",
])
def test_ends_as_python3_does(poold, tmp_path, code):
    poold.start()
    made = []
    for run in (poold.python3, poold.run):
        done = run("-c", code, cwd=tmp_path)
        path = tmp_path / "made"
        made.append((done.returncode, done.stdout, done.stderr, path.read_bytes() if path.exists() else None))
        path.unlink(missing_ok=True)
    assert made[0] == made[1]
    assert list(tmp_path.glob("tmp*")) == []


def test_files_are_written_when_poolctl_returns(poold, tmp_path):
    poold.start("[pool:default]\nsize = 2\n")
    for i in range(20):
        poold.ctl("run", "-c", f"f = open('made', 'w'); f.write('{i}')", cwd=tmp_path)
        assert (tmp_path / "made").read_text() == str(i)


def test_a_forked_child_keeps_no_one_waiting(poold, tmp_path):
    """Unless it holds the client's pipe, as under python3."""
    poold.start()
    code = ("import os, time\nif os.fork() == 0:\n    fd = os.open('/dev/null', os.O_RDWR)\n"
            "    for i in range(3): os.dup2(fd, i)\n    open('child', 'w').write(str(os.getpid()))\n    time.sleep(600)\n")
    assert poold.run("-c", code, cwd=tmp_path).returncode == 0
    child = int(harness.eventually("the child", lambda: (tmp_path / "child").exists() and (tmp_path / "child").read_text()))
    assert harness.alive(child)
    os.kill(child, signal.SIGKILL)


def test_a_daemonised_child_survives(poold, tmp_path):
    poold.start()
    code = ("import os, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork(): os._exit(0)\n"
            "    fd = os.open('/dev/null', os.O_RDWR)\n    for i in range(3): os.dup2(fd, i)\n"
            "    while not os.path.exists('go'): time.sleep(0.01)\n    open('daemon', 'w').write('done')\nelse: os.wait()\n")
    assert poold.run("-c", code, cwd=tmp_path).returncode == 0
    poold.wait_idle()
    poold.stop()
    (tmp_path / "go").touch()
    harness.eventually("the daemon's file", (tmp_path / "daemon").exists)


def test_preloaded_modules_may_have_threads_and_atexit(poold, tmp_path):
    (tmp_path / "busy.py").write_text("import atexit, threading, time\natexit.register(print, 'end of module')\n"
                                      "threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n")
    poold.start(f"[pool:default]\nsize = 1\nmodules = busy\npath = {tmp_path}\n")
    assert poold.run("-c", "print('script')").stdout == b"script\nend of module\n"


TRACE = "import sys\ndef trace(frame, event, arg): print(event, frame.f_code.co_name)\n"


@pytest.mark.parametrize("code", [
    TRACE + "sys.settrace(trace)",
    TRACE + "sys.setprofile(trace)",
    "import pdb; pdb.set_trace(); x = 1",
    "import builtins; builtins.__import__ = lambda *a, **k: print('import', a[0])",
    "import os\nclass A:\n    def __del__(self): os.kill(os.getpid(), 2); [0 for i in range(10**6)]\na = A()",
    "async def f(): pass\nx = f()",
    "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT]); raise KeyboardInterrupt",
], ids=["trace", "profile", "pdb", "import", "interrupted", "never awaited", "blocked"])
def test_end_is_not_seen_by_the_script(poold, code):
    """Here a module of the pool, and not the script, has imported what is at work at the end."""
    poold.start("[pool:default]\nsize = 2\nmodules = threading, tracemalloc\n")
    poold.same_as_python3("-c", code, input=b"p 1\nn\nc\n")


@pytest.mark.parametrize("code", [
    TRACE + "import threading; sys.settrace(trace)",
    "import builtins; print(1); builtins.__dict__.clear()",
], ids=["trace", "builtins"])
def test_end_is_seen_as_under_python3(poold, code):
    poold.start()
    poold.same_as_python3("-c", code)


@contextlib.contextmanager
def another_that_ends():
    """Has the turn that workers of this user take to end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as another:
        def bind():
            with contextlib.suppress(OSError):
                another.bind(f"\0poold-end-{os.geteuid()}")
                return True
        harness.eventually("the turn", bind)
        yield


def seconds_until_gone(poold, code, meanwhile):
    """From poolctl's end to that of the worker, whose pid the script prints; poold's pool is full again then."""
    with meanwhile:
        done = poold.run("-c", code)
        told = time.monotonic()
        assert done.returncode == 0 and done.stderr == b""
        pid = int(done.stdout)
        harness.eventually("the worker's end", lambda: harness.state_of(pid) == "X")
        gone = time.monotonic()
    poold.wait_idle()
    return gone - told


def test_workers_end_one_after_the_other(poold):
    """Whoever finds another one ending waits, but not for ever."""
    poold.start()
    waits = "import os, threading, time; print(os.getpid())"
    with_thread = waits + "; threading.Thread(target=time.sleep, args=(600,), daemon=True).start()"
    assert max(seconds_until_gone(poold, waits, another_that_ends()) for _ in range(3)) > 0.08
    assert max(seconds_until_gone(poold, with_thread, another_that_ends()) for _ in range(3)) > 0.08
    assert min(seconds_until_gone(poold, waits, contextlib.nullcontext()) for _ in range(5)) < 0.08
