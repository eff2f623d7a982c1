"""Where a warm worker cannot serve a run, python3 does, and nothing but -v shows it."""

import os
import socket
import struct
import subprocess
import threading

import pytest

import harness

CODE = "import sys; print('out'); print(sys.executable, sys.argv, file=sys.stderr); sys.exit(3)"

HEADER = struct.Struct("<IHHIHH")
MAGIC, REFUSED = 0x4C4F4F50, 1


def text(value):
    data = value.encode() + b"\0"
    return struct.pack("<I", len(data)) + data


def refusal(reason, version=1):
    payload = text(reason) + text("this is poold 99") + text("/usr/bin/python3")
    return HEADER.pack(MAGIC, version, REFUSED, len(payload), 0, 0) + payload


class FakeServer:
    """Listens where poold would, and answers every connection with the same bytes."""

    def __init__(self, path, answer):
        path.parent.mkdir(mode=0o700)
        self.answer = answer
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.path = path
        self.served = 0
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.served += 1
            with connection:
                if self.answer is not None:
                    connection.recv(1)
                    connection.sendall(self.answer)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.listener.close()
        self.path.unlink()


def expect_fallback(poold, why=None):
    """The run is python3's own; -v names the reason; --no-fallback is 125."""
    theirs = poold.python3("-c", CODE, "a")
    ours = poold.ctl("run", "-c", CODE, "a")
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)

    verbose = poold.ctl("run", "-v", "-c", CODE, "a")
    assert (verbose.returncode, verbose.stdout) == (3, b"out\n")
    said = verbose.stderr.removesuffix(theirs.stderr)
    assert said.startswith(b"poolctl:") and (why or "").encode() in said, said

    refused = poold.run("-c", CODE, "a")
    assert (refused.returncode, refused.stdout) == (125, b"")
    assert refused.stderr.startswith(b"poolctl:")


def test_no_poold(poold):
    expect_fallback(poold)


def test_no_poold_reads_stdin(poold):
    assert poold.ctl("run", "-", "a", input=b"import sys; print(sys.argv, sys.stdin.read())").stdout == b"['-', 'a'] \n"


@pytest.mark.parametrize("answer, why, n_tries", [
    (refusal("version"), "poold 99", 1),
    (refusal("version", version=99), "poold 99", 1),
    (HEADER.pack(MAGIC, 99, 4, 4, 0, 0) + b"\1\0\0\0", None, 1),
    (HEADER.pack(MAGIC, 1, 5, 0xFFFFFFFF, 0, 0), None, 1),
    (refusal("version")[:-5], None, 3),
    (b"HTTP/1.1 400 Bad Request\r\n\r\n", None, 1),
    (b"", None, 3),
    (None, None, 3),
], ids=["refuses", "refuses-newer", "newer", "oversized", "truncated", "garbage", "empty", "hangs-up"])
def test_another_server(poold, answer, why, n_tries):
    """One that hangs up may be a poold or worker that has just died, so it is asked again."""
    server = FakeServer(poold.socket, answer)
    try:
        expect_fallback(poold, why)
        assert server.served == 3 * n_tries
    finally:
        server.close()


def test_disabled(poold):
    poold.start()
    done = poold.ctl("run", "-c", CODE, env=poold.env | {"POOLD_DISABLE": "1"})
    assert (done.returncode, done.stdout) == (3, b"out\n")
    assert poold.pool()["hits"] == 0


def test_unknown_pool(poold):
    poold.start()
    done = poold.ctl("run", "--pool", "nothing", "-v", "-c", CODE)
    assert done.returncode == 3 and b"nothing" in done.stderr
    assert poold.run("--pool", "nothing", "-c", CODE).returncode == 125


def test_pool_is_named_by_option_or_environment(poold):
    poold.start("[pool:first]\nsize = 1\n[pool:second]\nsize = 1\nmodules = wave\n")
    code = "import sys; print('wave' in sys.modules)"
    assert poold.run("-c", code).stdout == b"False\n"
    assert poold.run("--pool", "second", "-c", code).stdout == b"True\n"
    poold.wait_idle("second")
    assert poold.run("--pool=second", "-c", code).stdout == b"True\n"
    poold.wait_idle("second")
    assert poold.run("-c", code, env=poold.env | {"POOLD_POOL": "second"}).stdout == b"True\n"


@pytest.mark.parametrize("arguments", [["run", "--nonsense"], ["run", "--pool"], ["nonsense"], []], ids=str)
def test_wrong_usage(poold, arguments):
    done = poold.ctl(*arguments)
    assert done.returncode in (2, 125) and done.stdout == b"" and done.stderr


@pytest.mark.parametrize("arguments", [["--version"], ["-V"], ["--help"], ["-h"]], ids=str)
def test_pythons_own_options(poold, arguments):
    poold.start()
    poold.same_as_python3(*arguments, fallback=True)


@pytest.mark.parametrize("options", ["-I", "-S", "-E", "-O", "-B", "-u", "-W error", "-X dev", "-X utf8", "-x"])
def test_interpreter_options_count(poold, script, options):
    """Warm or not, they do what they do."""
    poold.start()
    path = script("#! an odd first line\nimport sys; print(sys.flags, sys.warnoptions, sys._xoptions,"
                  " sys.dont_write_bytecode, 'site' in sys.modules, sys.stdout.write_through)")
    theirs = poold.python3(*options.split(), path)
    ours = poold.ctl("run", *options.split(), path)
    assert (ours.returncode, ours.stdout) == (theirs.returncode, theirs.stdout)


def test_no_poold_survives_a_removed_folder(poold, tmp_path):
    gone = tmp_path / "gone"
    gone.mkdir()
    done = subprocess.run(["sh", "-c", 'rmdir "$PWD"; exec "$@"', "sh", poold.program("poolctl"), "run", "-c", "print(1)"],
                          cwd=gone, env=poold.env, capture_output=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1\n", b"")


@pytest.mark.parametrize("command", [["status"], ["status", "--json"], ["stop"]], ids=" ".join)
def test_commands_without_poold(poold, command):
    done = poold.ctl(*command)
    assert done.returncode != 0 and done.stdout == b"" and done.stderr.startswith(b"poolctl:")


def test_version(poold):
    ours = poold.ctl("version")
    server = subprocess.run([poold.program("poold"), "--version"], capture_output=True)
    assert ours.returncode == server.returncode == 0
    assert ours.stdout.split()[1] == server.stdout.split()[1]


@pytest.mark.parametrize("what", ["folder", "socket"])
def test_what_somebody_else_owns_is_refused(poold, what):
    """Neither end talks through a folder or a socket that belongs to another user."""
    given = poold.socket.parent if what == "folder" else poold.socket
    server = FakeServer(poold.socket, refusal("version"))

    def chown(owner):
        subprocess.run([*harness.AS_ROOT, "chown", owner, given], check=True)

    try:
        chown("65534:65534")
        expect_fallback(poold)
        assert server.served == 0
        if what == "folder":
            poold.ini.write_text("[pool:default]\n")
            done = subprocess.run([poold.program("poold"), "--config", poold.ini], env=poold.env, capture_output=True,
                                  timeout=harness.DEADLINE)
            assert done.returncode > 0 and str(poold.socket).encode() in done.stderr
    finally:
        chown(f"{os.geteuid()}:{os.getegid()}")
        server.close()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_folder_open_to_others_is_refused(poold, mode):
    poold.socket.parent.mkdir()
    poold.socket.parent.chmod(mode)
    poold.ini.write_text("[pool:default]\n")
    done = subprocess.run([poold.program("poold"), "--config", poold.ini], env=poold.env, capture_output=True,
                          timeout=harness.DEADLINE)
    assert done.returncode > 0 and str(poold.socket).encode() in done.stderr


def test_another_user_is_not_served(poold, tmp_path):
    """Even one who gets as far as the socket."""
    poold.start()
    stranger = [*harness.AS_ROOT, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-dac_override"]
    code = f"import socket; socket.socket(socket.AF_UNIX).connect({str(poold.socket)!r})"
    done = subprocess.run([*stranger, "/usr/bin/python3", "-c", code], capture_output=True)
    assert b"PermissionError" in done.stderr


@pytest.mark.parametrize("limit", ["-S -v 4000000", "-S -d 4000000", "-S -t 60"])
def test_limits_that_count_the_preload_are_not_for_a_worker(poold, limit):
    """Memory and CPU time that the modules took are not the run's to pay for."""
    poold.start()
    poold.wait_idle()
    shell = ["bash", "-c", f'ulimit {limit}; exec "$@"', "bash", poold.program("poolctl"), "run"]
    done = subprocess.run([*shell, "-v", "-c", "print(1)"], env=poold.env, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"1\n") and b"limit" in done.stderr
