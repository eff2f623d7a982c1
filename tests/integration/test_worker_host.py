"""A worker without poold, against python3: the same output, errors and status, byte by byte, for the same run."""

import os
import re
import signal
import struct
import subprocess
import tempfile
import time

import pytest
import harness
from worker_host import CONTINUE, DONE, EXIT, KEEP, STOPPED, Result, Worker, limits, receive, send

PYTHON = "/usr/bin/python3"

ENV = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

STATE = """
import gc, inspect, os, posix, signal, sys
for name in ("argv", "orig_argv", "path", "flags", "prefix", "base_prefix", "exec_prefix", "executable", "warnoptions",
             "dont_write_bytecode", "_xoptions", "platlibdir", "implementation", "path_hooks", "meta_path"):
    print(name, getattr(sys, name, None))
print(len(inspect.stack()), {name: str(value) for name, value in list(globals().items())})
for s in (sys.stdin, sys.stdout, sys.stderr):
    print(s.name, s.mode, s.encoding, s.errors, s.line_buffering, s.write_through, s.buffer, s.seekable(), s.isatty())
print(sorted(os.environ.items()), os.environb == posix.environ, posix.environ is os.environ._data)
print(open("/dev/null").fileno(), [str(signal.getsignal(s)) for s in signal.Signals], gc.get_threshold())
"""

FINALIZERS = """
import atexit, sys
class Noisy:
    def __init__(self, name): self.name = name
    def __del__(self): print("del", self.name)
a, _b, ring = Noisy("a"), Noisy("_b"), Noisy("ring")
ring.ring = ring
def user(): return a
atexit.register(print, "bye")
atexit.register(lambda: print("__file__" in globals()))
sys.kept = open("unflushed", "w"); sys.kept.write("x" * 100000)
"""

POOL = """
import multiprocessing
def square(x): return x * x
if __name__ == "__main__":
    for method in ("fork", "spawn"):
        with multiprocessing.get_context(method).Pool(2) as pool: print(pool.map(square, range(5)))
"""

FILES = {
    "state.py": STATE,
    "finalizers.py": FINALIZERS,
    "pool.py": POOL,
    "raises.py": "def f():\n  1/0\nprint('before')\nf()\n",
    "interrupt.py": "raise KeyboardInterrupt",
    "full.py": "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); print('x')",
    "syntax.py": "x = =",
    "nul.py": "a\0b",
    "warns.py": "'a' is 'b'",
}

# name, arguments, standard input
SAME = [
    ("script", ["state.py", "a", "--b"], ""),
    ("dot", ["./state.py"], ""),
    ("link", ["folder/link.py"], ""),
    ("unbuffered", ["-u", "state.py"], ""),
    ("module", ["-m", "state", "x"], ""),
    ("command", ["-uc", STATE, "-y"], ""),
    ("stdin", ["-", "x"], STATE),
    ("stdin by path", ["/dev/stdin", "x"], STATE),
    ("folder", ["folder"], ""),
    ("null byte", ["nul.py"], ""),
    ("prompt", ["-i"], "1 + 1\nexit(3)\n"),
    ("inspected", ["-i", "raises.py"], "f\n"),
    ("nothing", [], STATE),
    ("raises", ["raises.py"], ""),
    ("raises in -c", ["-c", FILES["raises.py"]], ""),
    ("raises on stdin", [], FILES["raises.py"]),
    ("syntax on stdin", [], "x = ="),
    ("interrupt", ["interrupt.py"], ""),
    ("interrupt in -m", ["-m", "interrupt"], ""),
    ("interrupt in -c", ["-c", "import os; os.kill(os.getpid(), 2)"], ""),
    ("no module", ["-m", "nosuch"], ""),
    ("finalizers", ["finalizers.py"], ""),
    ("thread", ["-c", "import threading, time\nthreading.Thread(target=lambda: [time.sleep(.1), print(1)]).start()"], ""),
    ("daemon", ["-c", "import threading, time\ndef f():\n  while True: time.sleep(.001)\n"
                      "threading.Thread(target=f, daemon=True).start()\n"
                      "class A:\n  def __del__(self): print('del')\na = A()"], ""),
    ("fork", ["-c", "import os, sys\nif not os.fork(): sys.exit(3)\nprint(os.wait()[1])"], ""),
    ("subprocess", ["-c", "import subprocess; subprocess.run('echo hi; ls /proc/self/fd', shell=True)"], ""),
    ("pool", ["pool.py"], ""),
    ("asyncio", ["-c", "import asyncio; asyncio.run(asyncio.sleep(.01, print(1)))"], ""),
    ("closerange", ["-c", "import os, sys; os.closerange(3, 10000); sys.exit(7)"], ""),
    ("_exit", ["-c", "import os; os._exit(3)"], ""),
    ("exec", ["-c", "import os; os.execv('/bin/sh', ['sh', '-c', 'exit 5'])"], ""),
    ("abort", ["-c", "import os; os.abort()"], ""),
    ("full", ["full.py"], ""),
    ("excepthook exits", ["-c", "import sys\nsys.excepthook = lambda *_: sys.exit(9)\n1/0"], ""),
    ("sum", ["-c", "import sys; print(sum(map(int, sys.stdin)))"], "".join(f"{i}\n" for i in range(1, 200001))),
] + [(f"exit {code}", ["-c", f"import sys; sys.exit({code})"], "")
     for code in ("0", "3", "None", "'bye'", "256", "-1", "2**70", "[1]", "(1, 2)", "True")]

DECLINED = [
    (["nosuch.py"], "script"), (["/proc/self/cwd/state.py"], "script"), (["/dev/fd/7"], "script"),
    (["syntax.py"], "syntax"), (["-c", "x = ="], "syntax"), (["warns.py"], "warnings"), (["-v", "state.py"], "options"),
]


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link.py").symlink_to("../state.py")
    return tmp_path


@pytest.fixture
def null():
    fd = os.open("/dev/null", os.O_RDWR)
    yield fd
    os.close(fd)


def without_addresses(data):
    return re.sub(rb"0x[0-9a-f]{6,}", b"0x", data).replace(b"dont_write_bytecode=1", b"dont_write_bytecode=0")


def run_files(folder, stdin, run):
    """Calls run(fds); its result with what was written to standard output and error."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        source.write(stdin.encode())
        source.seek(0)
        result = run({0: source.fileno(), 1: out.fileno(), 2: err.fileno()})
        out.seek(0)
        err.seek(0)
        return result, without_addresses(out.read()), without_addresses(err.read())


def run_warm(folder, argv, stdin="", modules=(), **context):
    worker = Worker(PYTHON, modules, env=ENV)
    assert worker.ready, worker.traceback
    context = {"env": ENV, "cwd": folder, **context}
    return run_files(folder, stdin, lambda fds: Result(worker, worker.assign(argv, fds, **context)))


def run_cold(folder, argv, stdin=""):
    def run(fds):
        code = subprocess.run([PYTHON, *argv], stdin=fds[0], stdout=fds[1], stderr=fds[2], cwd=folder, env=ENV).returncode
        return -code if code < 0 else code << 8

    return run_files(folder, stdin, run)


@pytest.mark.parametrize("argv, stdin", [row[1:] for row in SAME], ids=[row[0] for row in SAME])
def test_same_as_python(folder, argv, stdin):
    status, *texts = run_cold(folder, argv, stdin)
    left = {path.name: path.read_bytes() for path in folder.glob("unflushed")}
    result, *warm_texts = run_warm(folder, argv, stdin)
    assert result.refused is None
    assert (result.status, warm_texts) == (status, texts)
    assert result.exit in (None, status) and result.gone == status and result.declined is None
    assert left == {path.name: path.read_bytes() for path in folder.glob("unflushed")}


@pytest.mark.parametrize("argv, reason", DECLINED, ids=[" ".join(row[0]) for row in DECLINED])
def test_declined_before_anything_is_seen(folder, argv, reason):
    result, out, err = run_warm(folder, argv)
    assert (result.refused, result.declined, result.exit) == (reason, reason, None)
    assert (out, err) == (b"", b"")


def test_shadowed_module_is_declined(folder):
    (folder / "json.py").write_text("")
    assert run_warm(folder, ["raises.py"], modules=["json"])[0].refused == "shadow"
    assert run_warm(folder, ["raises.py"])[0].refused is None


def test_given_up_run_is_left_alone(folder):
    result, out, _ = run_warm(folder, ["-c", "print(1)"], claimed=True)
    assert (result.exit, result.refused, result.declined, out) == (None, None, "abandoned", b"")


def test_context(folder):
    wanted = limits()
    wanted[2 * 7] = 200
    code = ("import os, time, signal, resource; print(os.getenv('FOO'), time.tzname[0], oct(os.umask(0)), os.nice(0), "
            "int(signal.getsignal(2)), signal.pthread_sigmask(0, []) == {10}, resource.getrlimit(7)[0], flush=True); "
            "os.system('echo $FOO')")
    result, out, err = run_warm(folder, ["-c", code], env={"FOO": "bar", "TZ": "Asia/Tokyo", "PATH": "/usr/bin:/bin"},
                                umask=0o77, nice=15, ignored=1 << 1, blocked=1 << 9, rlimits=wanted)
    assert (result.status, out, err) == (0, b"bar JST 0o77 5 1 True 200\nbar\n", b"")


def test_every_fd_at_its_number(folder, null):
    ours, theirs = os.pipe()
    answer, out = os.pipe()
    os.write(theirs, b"sorted")
    code = "import os; print(os.read(63, 9), sorted(map(int, os.listdir('/proc/self/fd')))[:6])"
    worker = Worker(PYTHON)
    result = Result(worker, worker.assign(["-c", code], {63: ours, 0: null, 1: out, 2: null, 4: null}))
    assert result.status == 0 and os.read(answer, 99) == b"b'sorted' [0, 1, 2, 3, 4, 63]\n"
    for fd in (ours, theirs, answer, out):
        os.close(fd)


# Threads that no Python knows of and that abort if a file is closed under them, as those of some libraries do.
NATIVE = r"""
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
static void *use_files(void *none) {
    for (char byte;;) {
        int fd = open("/dev/zero", O_RDONLY);
        if (fd < 0 || read(fd, &byte, 1) != 1 || close(fd) < 0) abort();
    }
}
static void *use_memory(void *none) { for (;;) free(malloc(100)); }
static void *end(void *none) { return none; }
static void *use_threads(void *none) {
    for (pthread_t thread;;) if (pthread_create(&thread, NULL, end, NULL) == 0) pthread_join(thread, NULL);
}
static void start(void *(*work)(void *)) {
    pthread_t thread;
    mallopt(M_ARENA_MAX, 1);
    for (int i = 0; i < 4; i++) if (pthread_create(&thread, NULL, work, NULL)) abort();
}
void files(void) { start(use_files); }
void memory(void) { start(use_memory); }
void threads(void) { start(use_threads); }
void deaf(void) { sigset_t all; sigfillset(&all); pthread_sigmask(SIG_SETMASK, &all, NULL); start(use_files); }
static pthread_barrier_t blocked;
static void *block_all(void *none) {
    unsigned long all = -1;
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &all, NULL, sizeof(all));
    pthread_barrier_wait(&blocked);
    return use_files(none);
}
void stubborn(void) { pthread_barrier_init(&blocked, NULL, 5); start(block_all); pthread_barrier_wait(&blocked); }
void trapped(void) {
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_close_range, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { 4, filter };
    start(use_memory);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) abort();
}
"""


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    library = tmp_path_factory.mktemp("native") / "native.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-pthread", "-x", "c", "-", "-o", library], input=NATIVE, text=True, check=True)
    return library


def end_with_threads(folder, native, kind):
    """Returns what the worker itself has told of the end of a run."""
    code = f"import ctypes; ctypes.CDLL({str(native)!r}).{kind}(); print('done')"
    result, out, err = run_warm(folder, ["-c", code])
    assert (result.status, result.gone, out, err) == (0, 0, b"done\n", b"")
    return result.exit


@pytest.mark.parametrize("kind", ["files", "memory", "threads", "deaf"])
def test_threads_see_nothing_of_the_end(folder, native, kind):
    """They are stopped before, or where that takes too long, on a busy machine, the keeper tells when they are gone."""
    told = [end_with_threads(folder, native, kind) for _ in range(20)]
    assert set(told) <= {0, None}
    harness.eventually("them to be stopped", lambda: 0 in told or end_with_threads(folder, native, kind) == 0)


def test_threads_that_cannot_be_stopped_see_nothing_of_the_end(folder, native):
    assert {end_with_threads(folder, native, "stubborn") for _ in range(5)} == {None}


def test_main_thread_is_not_stopped(folder, native):
    """By the signal of a filter for system calls, which ends it as it closes what the others have been stopped for."""
    def end():
        result, out, _ = run_warm(folder, ["-c", f"import ctypes; ctypes.CDLL({str(native)!r}).trapped(); print('done')"])
        assert result.status in (signal.SIGSYS, 0) and (result.exit, out) == (None, b"done\n")
        return result.status

    # 0: on a busy machine the others could not be stopped in time
    harness.eventually("it to be ended", lambda: end() == signal.SIGSYS)


@pytest.mark.parametrize("has_poold", [True, False])
def test_client_that_goes_takes_its_run_along(null, has_poold):
    worker = Worker(PYTHON)
    answer, out = os.pipe()
    client = worker.assign(["-c", "import os, time; os.write(1, b'started'); time.sleep(60)"],
                           {0: null, 1: out, 2: null})
    os.close(out)
    assert os.read(answer, 9) == b"started"
    if not has_poold:
        worker.control.close()
    assert worker.process.poll() is None
    worker.keeper.close()
    assert worker.process.wait(10) == -signal.SIGHUP
    client.close()
    os.close(answer)


def test_stop_is_told_and_continued(null):
    worker = Worker(PYTHON)
    answer, out = os.pipe()
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTSTP); os.write(1, b'goes on')"
    client = worker.assign(["-c", code], {0: null, 1: out, 2: null})
    kind, fields, _ = receive(worker.keeper)
    assert (kind, fields.take("<I")) == (STOPPED, signal.SIGTSTP)
    send(worker.keeper, KEEP, struct.pack("<II", CONTINUE, 0))
    assert os.read(answer, 9) == b"goes on"
    assert Result(worker, client).status == 0
    for fd in (answer, out):
        os.close(fd)


def test_signals_for_another_parent(null):
    """A script may send them to the process that started it, which is its shell under python3."""
    worker = Worker(PYTHON)
    code = ("import os, signal\nfor number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}: "
            "os.kill(os.getppid(), number)\nraise SystemExit(6)")
    assert Result(worker, worker.assign(["-c", code], {0: null, 1: null, 2: null})).status == 6 << 8


@pytest.mark.parametrize("is_done", [True, False])
def test_what_stays_behind_is_killed_unless_the_run_is_done(null, is_done):
    worker = Worker(PYTHON)
    ours, theirs = os.pipe()
    code = ("import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
            "if not os.fork(): os.write(1, b'child'); os.read(0, 1); os.write(1, b'stays'); os._exit(0)\n"
            "os.read(0, 1)")
    run_in, to_run = os.pipe()
    client = worker.assign(["-c", code], {0: run_in, 1: theirs, 2: null})
    os.close(theirs)
    assert os.read(ours, 9) == b"child"
    if is_done:
        send(worker.keeper, KEEP, struct.pack("<II", DONE, 0))
    worker.keeper.close()
    if not is_done:
        assert os.read(ours, 9) == b""  # SIGKILL, since they ignore SIGHUP
        assert worker.process.wait(10) == -signal.SIGKILL
    else:
        os.write(to_run, b"12")
        assert os.read(ours, 9) == b"stays"
        assert worker.process.wait(10) == 0
    client.close()
    for fd in (ours, run_in, to_run):
        os.close(fd)


def test_run_ends_without_poold(null):
    worker = Worker(PYTHON)
    client = worker.assign(["-c", "import time; time.sleep(.1); raise SystemExit(5)"], {0: null, 1: null, 2: null})
    worker.control.close()
    kind, fields, _ = receive(client)
    assert (kind, fields.take("<I")) == (EXIT, 5 << 8)
    assert worker.process.wait(10) == 5


def test_idle_worker_leaves_with_poold():
    worker = Worker(PYTHON)
    began = time.monotonic()
    worker.close()
    assert worker.process.returncode == 0 and time.monotonic() - began < 5


def test_failing_module(tmp_path):
    (tmp_path / "quits.py").write_text("print('x')\nraise SystemExit(3)")
    worker = Worker(PYTHON, ["json", "quits"], [tmp_path], env={**ENV, "PYTHONDONTWRITEBYTECODE": "1"})
    assert (worker.ready, worker.module) == (False, "quits")
    assert worker.traceback.startswith("Traceback (most recent call last):\n") and "SystemExit: 3" in worker.traceback
    assert worker.process.wait(10) == 1
