"""`poolctl start`: in the background here, by systemd in the second half."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest

from harness import DEADLINE, alive, eventually, fds_of
from systemd_manager import Manager, Unavailable

READY = "poold is ready, pid {pid}; its log: {log}\n"
RUNNING = "poold is running already, pid {pid}\n"


class Started:
    """What `poolctl start` starts in a test: it is our orphan then, and so our child."""

    def __init__(self, poold):
        self.poold = poold
        self.state = poold.folder / "state"
        poold.env = {name: value for name, value in poold.env.items() if name != "DBUS_SESSION_BUS_ADDRESS"}
        poold.env |= {"XDG_STATE_HOME": str(self.state), "XDG_CONFIG_HOME": str(poold.folder / "config")}

    @property
    def log_file(self):
        return self.state / "poold/poold.log"

    def start(self, *args, **options):
        return self.poold.ctl("start", *args, text=True, **options)

    def pid(self):
        return self.poold.status()["pid"]

    def stop(self):
        self.poold.ctl("stop", "--now")


@pytest.fixture
def started(poold):
    started = Started(poold)
    yield started
    started.stop()


def expect(answer, out, err="", status=0):
    assert (answer.stdout, answer.stderr, answer.returncode) == (out, err, status)


def test_starts_and_says_so(started):
    answer = started.start()
    pid = started.pid()
    expect(answer, READY.format(pid=pid, log=started.log_file))
    assert f"pid={pid} listens at {started.poold.socket}" in started.log_file.read_text()
    started.poold.wait_idle(count=1)
    assert started.poold.run("-c", "print(42)").stdout == b"42\n"


def test_is_a_daemon(started, tmp_path):
    read_end, write_end = os.pipe()
    with open(tmp_path / "held", "w") as held:
        previous = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            started.start(pass_fds=[held.fileno(), write_end], cwd=tmp_path)
        finally:
            signal.signal(signal.SIGTERM, previous)
        os.close(write_end)
        assert os.read(read_end, 1) == b""  # poold has not inherited it
        os.close(read_end)
    pid = started.pid()
    fds = fds_of(pid)
    assert (fds[0], fds[1], fds[2]) == ("/dev/null", str(started.log_file), str(started.log_file))
    assert str(tmp_path / "held") not in fds.values()
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.getsid(pid) == os.getpgid(pid) == pid
    assert (started.log_file.stat().st_mode & 0o777, started.log_file.parent.stat().st_mode & 0o777) == (0o600, 0o700)

    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    ignored = int(re.search(r"^SigIgn:\t(\w+)$", status, re.M)[1], 16)
    assert ignored & 1 << signal.SIGTERM - 1 == 0
    os.kill(pid, signal.SIGTERM)
    eventually("poold to end", lambda: not alive(pid))


def test_a_second_start_changes_nothing(started):
    started.start()
    pid = started.pid()
    expect(started.start(), RUNNING.format(pid=pid))
    expect(started.start("--config", "/nonexistent"), RUNNING.format(pid=pid))
    assert started.pid() == pid


def test_one_poold_of_many_starts(started):
    command = [started.poold.program("poolctl"), "start"]
    processes = [subprocess.Popen(command, env=started.poold.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True) for _ in range(10)]
    answers = [(*process.communicate(timeout=DEADLINE), process.returncode) for process in processes]
    pid = started.pid()
    expected = [(READY.format(pid=pid, log=started.log_file), "", 0), *[(RUNNING.format(pid=pid), "", 0)] * 9]
    assert sorted(answers) == sorted(expected)
    assert started.log_file.read_text().count("listens at") == 1


def test_one_that_was_started_otherwise_counts(started):
    started.poold.launch()
    expect(started.start(), RUNNING.format(pid=started.poold.pid))
    assert not started.log_file.exists()
    started.poold.stop()


def test_one_that_runs_needs_no_log(started):
    """Neither a place for one, nor is the one that it writes to taken from under it for its size."""
    started.start()
    pid = started.pid()
    (started.poold.folder / "file").touch()
    env = started.poold.env | {"XDG_STATE_HOME": str(started.poold.folder / "file")}
    expect(started.start(env=env), RUNNING.format(pid=pid))
    os.truncate(started.log_file, 11 << 20)
    expect(started.start(), RUNNING.format(pid=pid))
    assert fds_of(pid)[2] == str(started.log_file)


@pytest.mark.parametrize("how", ["option", "option with =", "variable"])
def test_configuration(started, how):
    (started.poold.folder / "my.ini").write_text("[pool:mine]\nsize = 1\n")
    args = {"option": ["--config", "my.ini"], "option with =": ["--config=my.ini"], "variable": []}[how]
    env = started.poold.env | ({"POOLD_CONFIG": "my.ini"} if how == "variable" else {})
    answer = started.start(*args, cwd=started.poold.folder, env=env)
    assert (answer.returncode, answer.stderr) == (0, "")
    assert [pool["name"] for pool in started.poold.status()["pools"]] == ["mine"]


def test_wrong_configuration_is_shown(started, tmp_path):
    (tmp_path / "my.ini").write_text("[poold]\nno_such_key = 1\n")
    started.log_file.parent.mkdir(parents=True)
    started.log_file.write_text("of another day\n")
    answer = started.start("--config", tmp_path / "my.ini")
    assert (answer.stdout, answer.returncode) == ("", 1)
    assert f"{tmp_path}/my.ini:2: section [poold], key no_such_key" in answer.stderr
    assert answer.stderr.endswith(f"poolctl: poold ended with status 78, as its log says above: {started.log_file}\n")
    assert "of another day" not in answer.stderr
    assert started.log_file.read_text().startswith("of another day\n")


@pytest.mark.parametrize("args", [["--what"], ["--config"], ["my.ini"]])
def test_wrong_command_line(started, args):
    answer = started.start(*args)
    assert (answer.stdout, answer.returncode) == ("", 2)
    assert "usage: poolctl start [--config FILE]" in answer.stderr


def test_large_log_is_put_aside(started):
    started.log_file.parent.mkdir(parents=True)
    with open(started.log_file, "w") as log:
        log.write("old")
        log.truncate((10 << 20) + 1)
    started.start()
    assert started.log_file.with_name("poold.log.1").stat().st_size == (10 << 20) + 1
    assert started.log_file.read_text().count("listens at") == 1


def test_log_without_xdg_state_home(started):
    home = started.poold.env["HOME"]
    del started.poold.env["XDG_STATE_HOME"]
    answer = started.start()
    expect(answer, READY.format(pid=started.pid(), log=f"{home}/.local/state/poold/poold.log"))


def test_no_folder_for_the_log(started):
    started.state.write_text("in the way")
    answer = started.start()
    assert (answer.stdout, answer.returncode) == ("", 1)
    assert answer.stderr.startswith(f"poolctl: cannot write poold's log, {started.log_file}: ")


def test_no_poold_to_start(started, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "poolctl").write_bytes(pathlib.Path(started.poold.program("poolctl")).read_bytes())
    (alone / "poolctl").chmod(0o755)
    answer = subprocess.run([alone / "poolctl", "start"], env=started.poold.env | {"PATH": str(alone)},
                            capture_output=True, text=True, timeout=DEADLINE)
    assert (answer.stdout, answer.returncode) == ("", 1)
    assert "cannot start poold: No such file or directory" in answer.stderr

    # What PATH has is as good.
    path = f"{alone}:{started.poold.bin}"
    answer = subprocess.run([alone / "poolctl", "start"], env=started.poold.env | {"PATH": path},
                            capture_output=True, text=True, timeout=DEADLINE)
    expect(answer, READY.format(pid=started.pid(), log=started.log_file))


def test_poold_that_listens_elsewhere(started):
    env = started.poold.env | {"POOLD_SOCKET": str(started.poold.runtime / "poold/mine.sock")}
    answer = started.start(env=env)
    assert (answer.stdout, answer.returncode) == ("", 1)
    assert f"poold was started, but listens elsewhere than at {env['POOLD_SOCKET']}" in answer.stderr
    assert started.pid() > 0


def test_what_listens_is_no_poold(started):
    started.poold.socket.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(started.poold.socket))
        listener.listen()
        process = subprocess.Popen([started.poold.program("poolctl"), "start"], env=started.poold.env, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        connection, _ = listener.accept()
        connection.recv(1)
        connection.close()
        out, err = process.communicate(timeout=DEADLINE)
    started.poold.socket.unlink()
    assert (out, process.returncode) == ("", 1)
    assert "poold closed the connection without an answer" in err


@pytest.fixture
def manager(prefix, tmp_path):
    """A user manager with poold's units, of which none is active. Afterwards nothing of poold may be left."""
    home = tmp_path / "manager"
    home.mkdir()
    try:
        manager = Manager(home, prefix)
        manager.start()
    except Unavailable as reason:
        pytest.skip(str(reason))
    try:
        drop_in = manager.config / "systemd/user/poold.service.d"
        drop_in.mkdir(parents=True)
        (drop_in / "log.conf").write_text(f"[Service]\nStandardError=append:{home}/poold.log\n")
        manager.systemctl("daemon-reload")
        yield manager
        manager.run("poolctl", "stop", "--now")
        manager.systemctl("stop", "poold.socket", "poold.service")
        eventually("poold to end", lambda: not manager.processes("poold.service"))
    finally:
        manager.stop()


def main_pid(manager):
    return int(manager.show("poold.service")["MainPID"])


def status_pid(manager):
    return json.loads(manager.run("poolctl", "status", "--json").stdout)["pid"]


@pytest.mark.parametrize("with_socket", [False, True], ids=["nothing is active", "the socket is active"])
def test_systemd_starts_it(manager, with_socket):
    if with_socket:
        manager.systemctl("start", "poold.socket")
    answer = manager.run("poolctl", "start")
    pid = main_pid(manager)
    expect(answer, READY.format(pid=pid, log="journalctl --user -u poold"))
    assert status_pid(manager) == pid
    expect(manager.run("poolctl", "start"), RUNNING.format(pid=pid))
    assert main_pid(manager) == pid
    assert not (manager.home / ".local/state").exists()


def test_systemd_leaves_one_of_the_background_alone(manager):
    (manager.home / "my.ini").write_text("[pool:mine]\nsize = 1\n")
    answer = manager.run("poolctl", "start", "--config", "my.ini")
    pid = status_pid(manager)
    expect(answer, READY.format(pid=pid, log=f"{manager.home}/.local/state/poold/poold.log"))
    expect(manager.run("poolctl", "start"), RUNNING.format(pid=pid))
    assert main_pid(manager) == 0


def test_systemd_has_the_socket(manager):
    manager.systemctl("start", "poold.socket")
    answer = manager.run("poolctl", "start", "--config", "my.ini")
    assert (answer.stdout, answer.returncode) == ("", 1)
    assert "systemd holds poold's socket" in answer.stderr
    assert main_pid(manager) == 0


def test_systemd_fails_and_succeeds_once_that_is_mended(manager):
    folder = manager.config / "poold"
    folder.mkdir()
    (folder / "poold.ini").write_text("[poold]\nno_such_key = 1\n")
    answers = [manager.run("poolctl", "start") for _ in range(7)]  # systemd would be weary of it by then
    for answer in answers:
        assert (answer.stdout, answer.returncode) == ("", 1)
        assert "Job for poold.service failed" in answer.stderr
        assert "poolctl: systemd could not start poold; `journalctl --user -u poold` shows why" in answer.stderr
    (folder / "poold.ini").write_text("[pool:mine]\nsize = 1\n")
    expect(manager.run("poolctl", "start"), READY.format(pid=main_pid(manager), log="journalctl --user -u poold"))
