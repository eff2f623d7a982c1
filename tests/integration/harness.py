"""A poold of one's own for each test: started, waited for by what it says, stopped, and nothing of it left behind."""

import contextlib
import ctypes
import fcntl
import json
import os
import pathlib
import re
import signal
import subprocess
import time

# What runs are compared with. $POOLD_TEST_PYTHON is another one, which then is the `python` of all pools as well.
PYTHON = os.environ.get("POOLD_TEST_PYTHON", "/usr/bin/python3")
AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n", "--"]  # what to put before a command that needs root
# Seconds for what must happen, however busy the machine is: the time of 40 warm-ups may pass before one, see refill.h.
DEADLINE = 180
PR_SET_CHILD_SUBREAPER = 36

# What a client's environment may hold that would send it elsewhere, or make a run unlike the one beside it.
OURS = ("POOLD_SOCKET", "POOLD_CONFIG", "POOLD_POOL", "POOLD_DISABLE", "POOLD_TRACE", "XDG_CONFIG_HOME", "VIRTUAL_ENV",
        "CONDA_PREFIX", "NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")


def installed():
    """The folder that the programs are installed in: $POOLD_PREFIX, installed first from $POOLD_BUILD if that is set."""
    prefix = os.environ.get("POOLD_PREFIX")
    assert prefix, "POOLD_PREFIX must name the folder that poold is installed in"
    if build := os.environ.get("POOLD_BUILD"):
        with open(pathlib.Path(build) / ".install-lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not is_installed(build):
                subprocess.run(["/usr/bin/meson", "install", "-C", build, "--no-rebuild", "--quiet"], check=True)
    return pathlib.Path(prefix)


def is_installed(build):
    """meson touches what it need not install, and the workers of tests that run meanwhile would have changed."""
    files = json.loads(subprocess.run(["/usr/bin/meson", "introspect", build, "--installed"], check=True,
                                      capture_output=True).stdout)
    return all(os.path.lexists(target) and (not os.path.isabs(source) or  # a link
                                            os.stat(source).st_mtime <= os.stat(target).st_mtime)
               for source, target in files.items())


def eventually(what, condition, deadline=DEADLINE):
    """Waits until condition() is true, and returns what it returned. What is None or false is asked for again."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {deadline} s for {what() if callable(what) else what}"
        time.sleep(0.01)


def state_of(pid):
    """The process's state as proc(5) has it, a letter; X if there is no such process."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "X"


def parent_of(pid):
    return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def alive(pid):
    """Is there such a process, and not only its zombie?"""
    return state_of(pid) not in "ZX"


def fds_of(pid):
    """What the process has open: number to target."""
    targets = {}
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            targets[int(entry.name)] = os.readlink(entry)
    return targets


def children_of(pid):
    return [int(child) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()]


def descendants_of(pid):
    return [found for child in children_of(pid) for found in (child, *descendants_of(child))]


def become_reaper():
    """Orphans of our children become ours, so that whatever a test leaves running can be found."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def reap():
    """Collects every child that has ended. Returns whether any is left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return True
    except ChildProcessError:
        return False


def kill_children():
    """Once. Their own children become ours. Returns whether any is left."""
    for pid in children_of(os.getpid()):
        os.kill(pid, signal.SIGKILL)
    return reap()


def expect_no_children():
    """Every descendant has ended or does within seconds. One that does not is killed, and the test has failed."""
    try:
        eventually("the last process to end", lambda: not reap(), deadline=10)
    except AssertionError:
        left = {pid: pathlib.Path(f"/proc/{pid}/cmdline").read_text() for pid in children_of(os.getpid())}
        eventually("killed processes to end", lambda: not kill_children())
        raise AssertionError(f"left running: {left}") from None


@contextlib.contextmanager
def supervised(prefix, folder):
    """A poold that is not started yet. In the end it is stopped, and nothing may be left of it."""
    supervisor = Poold(prefix, folder)
    try:
        yield supervisor
    finally:
        try:
            supervisor.stop()
        finally:
            supervisor.expect_nothing_left()


class Poold:
    """One poold with a private home, runtime folder, configuration and log."""

    def __init__(self, prefix, folder):
        self.bin = prefix / "bin"
        self.folder = folder
        self.runtime = folder / "run"
        self.socket = self.runtime / "poold/poold.sock"
        self.ini = folder / "poold.ini"
        self.log_file = folder / "poold.log"
        self.process = None
        self.runtime.mkdir(mode=0o700)
        (folder / "home").mkdir()
        self.env = {name: value for name, value in os.environ.items() if name not in OURS}
        self.env.update(XDG_RUNTIME_DIR=str(self.runtime), HOME=str(folder / "home"), LC_ALL="C.UTF-8")

    def program(self, name):
        return str(self.bin / name)

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        return self.log_file.read_text(errors="replace")

    def launch(self, ini="[pool:default]\nsize = 1\n", env=None, wrap=(), **options):
        """Starts poold and waits until it answers."""
        if "POOLD_TEST_PYTHON" in os.environ:
            ini = re.sub(r"^\[pool:\w+\]$(?![^[]*^python =)", rf"\g<0>\npython = {PYTHON}", ini, flags=re.M)
        self.ini.write_text(ini)
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen([*wrap, self.program("poold"), "--config", str(self.ini)],
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            env=self.env | (env or {}), **options)
        eventually(lambda: f"poold to answer; it said:\n{self.log}", self.answers)
        return self

    def answers(self):
        assert self.process.poll() is None, f"poold ended with {self.process.returncode}:\n{self.log}"
        return self.ctl("status", "--json").returncode == 0

    def start(self, ini="[pool:default]\nsize = 1\n", **options):
        """Starts poold and waits until every pool is full."""
        self.launch(ini, **options)
        for pool in self.status()["pools"]:
            self.wait_idle(pool["name"])
        return self

    def ctl(self, *args, env=None, **options):
        """poolctl ARGS, to its end. stdout and stderr are bytes."""
        options = {"stdin": subprocess.DEVNULL, "timeout": DEADLINE} | options
        if "input" in options:
            del options["stdin"]
        if not {"stdout", "stderr"} & options.keys():
            options["capture_output"] = True
        return subprocess.run([self.program("poolctl"), *map(str, args)],
                              env=self.env if env is None else env, **options)

    def run(self, *args, **options):
        """poolctl run ARGS, served by a warm worker or not at all."""
        return self.ctl("run", "--no-fallback", *args, **options)

    def popen(self, *args, env=None, **options):
        """As run(), but goes on at once; text streams."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.PIPE, "text": True} | options
        return subprocess.Popen([self.program("poolctl"), "run", "--no-fallback", *map(str, args)],
                                env=self.env if env is None else env, **options)

    def python3(self, *args, python=PYTHON, env=None, **options):
        """What the real one does with the same."""
        options = {"stdin": subprocess.DEVNULL, "timeout": DEADLINE, "capture_output": True} | options
        if "input" in options:
            del options["stdin"]
        return subprocess.run([python, *map(str, args)], env=self.env if env is None else env, **options)

    def same_as_python3(self, *args, fallback=False, **options):
        """Runs both, expects the same status and bytes from both, and returns what poolctl gave."""
        theirs = self.python3(*args, **options)
        if not fallback:
            self.wait_idle()
        ours = (self.ctl if fallback else self.run)(*(("run",) if fallback else ()), *args, **options)
        assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
        return ours

    def status(self):
        answer = self.ctl("status", "--json")
        assert answer.returncode == 0, answer.stderr
        return json.loads(answer.stdout)

    def pool(self, name="default"):
        return next(pool for pool in self.status()["pools"] if pool["name"] == name)

    def workers(self, state, name="default"):
        return [worker["pid"] for worker in self.pool(name)["workers"] if worker["state"] == state]

    def wait_idle(self, name="default", count=None):
        """Waits until the pool has `count` idle workers, as many as it is to keep if that is None, and returns it."""

        def enough():
            pool = self.pool(name)
            return pool["idle"] >= (pool["size"] if count is None else count) and pool

        return eventually(lambda: f"idle workers; the log:\n{self.log}", enough)

    def wait_log(self, text, times=1):
        return eventually(lambda: f"{text!r} in the log:\n{self.log}", lambda: self.log.count(text) >= times)

    def kill(self, number=signal.SIGKILL):
        os.kill(self.pid, number)
        return self.process.wait(DEADLINE)

    def stop(self):
        """Ends poold as systemd would, if it runs, and expects a clean end."""
        if self.process and self.process.poll() is None:
            self.process.terminate()
            assert self.process.wait(DEADLINE) == 0, self.log

    def expect_nothing_left(self):
        if self.log_file.exists():
            print(self.log)  # pytest shows it if the test fails
        expect_no_children()
        left = [str(path) for path in self.runtime.rglob("*") if not path.is_dir()]
        # A poold that was killed cannot unlink its socket; its successor replaces it.
        killed = self.process is not None and self.process.returncode != 0
        assert killed or not left, f"left in the runtime folder: {left}"
