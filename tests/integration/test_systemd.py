"""The installed units, under a real `systemd --user`."""

import json
import os
import signal

import pytest

from harness import DEADLINE, eventually, parent_of
from systemd_manager import Manager, Unavailable

INI = """\
[poold]
drain_timeout = 1

[pool:default]
size = 1
modules = json
"""

# Says its pid, waits at the fifo until it is let go, and ends with a status of its own.
WAITING = """\
import os, sys
print(os.getpid(), flush=True)
with open(sys.argv[1]) as fifo:
    print("heard", fifo.read())
sys.exit(7)
"""

# All that a unit's settings could change for a script.
SURROUNDINGS = """\
import json, os, resource
limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "limits": limits, "nice": os.nice(0), "umask": status["Umask"], "environ": dict(os.environ), "cwd": os.getcwd(),
    "scheduler": os.sched_getscheduler(0), "affinity": sorted(os.sched_getaffinity(0)), "groups": os.getgroups(),
    "mounts": os.readlink("/proc/self/ns/mnt"),
} | {name: status[name] for name in ("SigIgn", "SigBlk", "CapPrm", "CapBnd", "NoNewPrivs", "Seccomp")}))
"""


class Units:
    """poold as its units run it, and its client, both inside the manager."""

    def __init__(self, manager):
        self.manager = manager
        self.configure(INI)
        # There is no journal inside. This is all that is added to the units as they are installed.
        self.log_file = manager.home / "poold.log"
        self.write_drop_in("log", f"StandardError=append:{self.log_file}\n")

    @property
    def log(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else "poold was not started"

    def write_drop_in(self, name, text):
        folder = self.manager.config / "systemd/user/poold.service.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.conf").write_text(f"[Service]\n{text}")

    def drop_in(self, name, text):
        self.write_drop_in(name, text)
        self.manager.systemctl("daemon-reload")

    def configure(self, ini):
        folder = self.manager.config / "poold"
        folder.mkdir(exist_ok=True)
        (folder / "poold.ini").write_text(ini)

    def enable(self):
        self.manager.systemctl("daemon-reload")
        self.manager.systemctl("enable", "--now", "poold.socket")

    def service(self):
        return self.manager.show("poold.service")

    def main_pid(self):
        return int(self.service()["MainPID"])

    def python3(self, *args):
        return self.manager.run("/usr/bin/python3", *args)

    def cold_or_warm(self, *args):
        return self.manager.run("poolctl", "run", *args)

    def warm(self, *args):
        self.wait_idle()
        return self.manager.run("poolctl", "run", "--no-fallback", *args)

    def wait_idle(self):
        def idle():
            answer = self.manager.run("poolctl", "status", "--json")
            return answer.returncode == 0 and json.loads(answer.stdout)["pools"][0]["idle"] > 0

        eventually(lambda: f"an idle worker; the log:\n{self.log}", idle)

    def expect_nothing_left(self):
        eventually(lambda: f"{self.manager.processes('poold.service')} to end; the log:\n{self.log}",
                   lambda: not self.manager.processes("poold.service"))


class WaitingScript:
    """A warm run of WAITING that has begun."""

    def __init__(self, units, folder):
        self.fifo = folder / "fifo"
        os.mkfifo(self.fifo)
        units.wait_idle()
        self.process = units.manager.popen("poolctl", "run", "--no-fallback", "-c", WAITING, self.fifo)
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        self.pid = int(line)
        assert self.pid in units.manager.processes("poold.service"), "not one of poold's workers"

    def expect_its_own_end(self):
        """It is still there, unharmed: let go, it says what it heard, and its status is its own."""
        assert self.process.poll() is None, self.process.communicate()

        def reader():
            try:
                return os.open(self.fifo, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:
                return None

        fd = eventually("the script to read the fifo", reader)
        os.write(fd, b"all clear")
        os.close(fd)
        out, err = self.process.communicate(timeout=DEADLINE)
        assert (out, err, self.process.returncode) == ("heard all clear\n", "", 7)

    def end(self):
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
            self.process.communicate()


@pytest.fixture
def units(prefix, tmp_path):
    """The socket is enabled, nobody has connected. Afterwards nothing of poold may be left."""
    home = tmp_path / "home"
    home.mkdir()
    try:
        manager = Manager(home, prefix)
        manager.start()
    except Unavailable as reason:
        pytest.skip(str(reason))
    try:
        units = Units(manager)
        units.enable()
        yield units
        manager.systemctl("stop", "poold.socket", "poold.service")
        units.expect_nothing_left()
    finally:
        manager.stop()


@pytest.fixture
def waiting(units, tmp_path):
    script = WaitingScript(units, tmp_path)
    yield script
    script.end()


def test_first_client_starts_poold(units):
    assert units.service()["ActiveState"] == "inactive"
    assert units.main_pid() == 0

    first = units.cold_or_warm("-c", "print(42)")
    assert (first.stdout, first.stderr, first.returncode) == ("42\n", "", 0)
    eventually("poold to be active", lambda: units.service()["ActiveState"] == "active")
    assert units.main_pid() > 0

    second = units.warm("-c", "print(43)")
    assert (second.stdout, second.stderr, second.returncode) == ("43\n", "", 0)


def test_socket_is_its_owners_only(units):
    socket = units.manager.runtime / "poold/poold.sock"
    modes = units.manager.run("stat", "--format=%a %u", socket.parent, socket).stdout
    assert modes == f"700 {os.getuid()}\n600 {os.getuid()}\n"


def test_status_is_told_to_systemd(units):
    units.manager.systemctl("start", "poold.service")
    service = units.service()
    assert (service["Type"], service["ActiveState"], service["SubState"]) == ("notify", "active", "running")
    told = eventually("poold to say that it is ready",
                      lambda: (text := units.service()["StatusText"]).startswith("1 of 1 worker ready") and text)
    assert told == "1 of 1 worker ready in 1 pool, 0 scripts running"
    assert service["WatchdogUSec"] == "30s"


def test_status_says_what_runs(units, waiting):
    def told(text):
        eventually(lambda: f"{text!r}, not {units.service()['StatusText']!r}",
                   lambda: text in units.service()["StatusText"])

    told("1 of 1 worker ready in 1 pool, 1 script running")
    waiting.expect_its_own_end()
    told("1 of 1 worker ready in 1 pool, 0 scripts running")


def test_poold_that_hangs_is_restarted_and_leaves_a_running_script(units, request):
    """A stopped process is one whose loop no longer turns."""
    units.drop_in("watchdog", "WatchdogSec=1s\n")
    units.manager.systemctl("start", "poold.service")
    waiting = request.getfixturevalue("waiting")
    before = units.main_pid()
    os.kill(before, signal.SIGSTOP)
    eventually("systemd to start another poold", lambda: units.main_pid() not in (0, before))
    assert units.service()["NRestarts"] == "1"

    assert units.warm("-c", "print('new')").stdout == "new\n"
    waiting.expect_its_own_end()


def test_poold_that_does_not_hang_outlives_its_watchdog(units):
    units.drop_in("watchdog", "WatchdogSec=400ms\n")
    units.manager.systemctl("start", "poold.service")
    before = units.main_pid()
    beat = int(units.service()["WatchdogTimestampMonotonic"])

    def several_later():
        return int(units.service()["WatchdogTimestampMonotonic"]) > beat + 2_000_000

    eventually("many intervals to be over", several_later)
    assert (units.main_pid(), units.service()["NRestarts"]) == (before, "0")


def test_reload_reads_the_configuration(units):
    units.manager.systemctl("start", "poold.service")
    before = units.main_pid()
    units.configure(INI.replace("size = 1", "size = 2"))
    units.manager.systemctl("reload", "poold.service")
    service = units.service()
    assert (service["ActiveState"], service["SubState"], service["ReloadResult"]) == ("active", "running", "success")
    assert units.main_pid() == before
    eventually("the second worker", lambda: "2 of 2 workers ready" in units.service()["StatusText"])

    units.configure("[poold]\nno_such_key = 1\n")
    units.manager.systemctl("reload", "poold.service", check=False)
    eventually("the bad file to be turned down", lambda: "no_such_key" in units.log)
    eventually("the end of the reload", lambda: units.service()["SubState"] == "running")
    assert units.service()["ReloadResult"] == "exit-code"
    assert units.main_pid() == before and units.warm("-c", "print(1)").stdout == "1\n"


def test_script_finds_what_python3_would(units):
    units.manager.systemctl("start", "poold.service")
    ours, theirs = units.warm("-c", SURROUNDINGS), units.python3("-c", SURROUNDINGS)
    assert ours.stderr == theirs.stderr == ""
    assert json.loads(ours.stdout) == json.loads(theirs.stdout)


def test_restart_leaves_a_running_script(units, waiting):
    before = units.main_pid()
    units.manager.systemctl("restart", "poold.service")
    assert units.main_pid() not in (0, before)

    assert units.warm("-c", "print('new')").stdout == "new\n"
    waiting.expect_its_own_end()


def test_stop_leaves_a_running_script(units, waiting):
    units.manager.systemctl("stop", "poold.socket", "poold.service")
    service = units.service()
    assert (service["ActiveState"], service["Result"]) == ("inactive", "success")

    script = sorted([waiting.pid, parent_of(waiting.pid)])
    eventually("the idle workers to leave", lambda: sorted(units.manager.processes("poold.service")) == script)
    waiting.expect_its_own_end()


def test_killed_poold_is_restarted_and_leaves_a_running_script(units, waiting):
    before = units.main_pid()
    os.kill(before, signal.SIGKILL)
    eventually("systemd to start another poold", lambda: units.main_pid() not in (0, before))
    assert units.service()["NRestarts"] == "1"

    assert units.warm("-c", "print('new')").stdout == "new\n"
    waiting.expect_its_own_end()


def test_bad_configuration_is_not_tried_again(units):
    units.configure("[poold]\nno_such_key = 1\n")
    units.manager.systemctl("start", "poold.service", check=False)
    service = units.service()
    assert {name: service[name] for name in ("ActiveState", "Result", "ExecMainStatus", "NRestarts")} == {
        "ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "78", "NRestarts": "0"}
    assert "no_such_key" in units.log


def test_client_falls_back_from_a_bad_configuration(units):
    units.configure("[poold]\nno_such_key = 1\n")
    run = units.cold_or_warm("-c", "print(42)")
    assert (run.stdout, run.stderr, run.returncode) == ("42\n", "", 0)

    # The one who waited made systemd try until it gave up. What is mended is started again.
    eventually("the socket to give up", lambda: units.manager.show("poold.socket")["ActiveState"] == "failed")
    units.configure(INI)
    units.manager.systemctl("reset-failed", "poold.socket", "poold.service")
    units.manager.systemctl("start", "poold.socket")
    assert units.cold_or_warm("-c", "print(43)").stdout == "43\n"
    assert units.warm("-c", "print(44)").stdout == "44\n"
