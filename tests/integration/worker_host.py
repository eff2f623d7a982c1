"""Drives a worker and its keeper, in poold's place: the protocol of lib/proto.h, spoken from Python."""

import array
import os
import pathlib
import resource
import socket
import struct
import subprocess
import time

MAGIC, VERSION = 0x4C4F4F50, 1
REFUSED, ASSIGN, ASSIGNED, EXIT, GONE, SETUP, READY, FAILED, DECLINED, STOPPED, KEEP = 1, 3, 4, 5, 6, 7, 8, 9, 10, 20, 21
FILES, WATCHED = 22, 23
CONTINUE, DONE = 1 << 2, 1 << 5
SCRIPT = pathlib.Path(os.environ["POOLD_WORKER"])
KEEPER = SCRIPT.with_name("poold-keeper")
RESOURCES = range(16)


def u32(value):
    return struct.pack("<I", value)


def string(value):
    data = os.fsencode(value) + b"\0"
    return u32(len(data)) + data


def strings(values):
    data = b"".join(os.fsencode(value) + b"\0" for value in values)
    return u32(len(values)) + u32(len(data)) + data


def integers(values):
    return u32(8 * len(values)) + struct.pack(f"<{len(values)}Q", *values)


def send(sock, kind, payload, fds=()):
    data = struct.pack("<IHHIHH", MAGIC, VERSION, kind, len(payload), len(fds), 0) + payload
    sent = sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])
    if sent < len(data):
        sock.sendall(data[sent:])


def receive_exactly(sock, count):
    """Returns the bytes, None at the end, and the fds that came."""
    data, fds = b"", []
    while len(data) < count:
        more, new_fds, _, _ = socket.recv_fds(sock, count - len(data), 16)
        if not more:
            return None, fds
        data += more
        fds += new_fds
    return data, fds


def receive(sock):
    """Returns the message's type, a reader of its fields and its fds, or None at the end."""
    header, fds = receive_exactly(sock, 16)
    if header is None:
        return None
    magic, version, kind, size, n_fds, zero = struct.unpack("<IHHIHH", header)
    assert (magic, version, n_fds, zero) == (MAGIC, VERSION, len(fds), 0)
    return kind, Fields(receive_exactly(sock, size)[0] if size else b""), fds


class Fields:
    def __init__(self, data):
        self.data = data

    def take(self, form):
        value = struct.unpack_from(form, self.data)[0]
        self.data = self.data[struct.calcsize(form):]
        return value

    def string(self):
        size = self.take("<I")
        value, self.data = self.data[:size], self.data[size:]
        return value[:-1].decode()


def limits():
    values = []
    for number in RESOURCES:
        values += [value % 2**64 for value in resource.getrlimit(number)]
    return values


class Worker:
    """One worker; `ready` is its first message."""

    def __init__(self, python, modules=(), path=(), env=None, log=None):
        self.control, theirs = socket.socketpair()
        log = log if log is not None else subprocess.DEVNULL
        fd = theirs.fileno()

        def place():
            if fd != 3:
                os.dup2(fd, 3)
                os.close(fd)
            os.set_inheritable(3, True)

        self.process = subprocess.Popen([KEEPER, python, python, SCRIPT], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                        env=os.environ if env is None else env, start_new_session=True,
                                        pass_fds=[3], preexec_fn=place)
        theirs.close()
        send(self.control, SETUP, string("test") + strings(modules) + strings(path) +
             struct.pack("<IQIIQI", 0, time.time_ns(), 0, 0, 0, 0))
        kind, fields, _ = receive(self.control)
        assert kind == FILES
        send(self.control, WATCHED, u32(0))
        kind, fields, _ = receive(self.control)
        self.ready = kind == READY
        if self.ready:
            self.pid = fields.take("<I")
            self.init_usec, self.preload_usec = fields.take("<Q"), fields.take("<Q")
        else:
            assert kind == FAILED
            self.module, self.traceback = fields.string(), fields.string()

    def assign(self, argv, fds, env=None, cwd=".", claimed=False, umask=0o22, nice=20, ignored=0, blocked=0,
               rlimits=None, affinity=None):
        """Hands over a run with `fds` (number to fd). The client's end of the connection is returned."""
        client, connection = socket.socketpair()
        claim = os.eventfd(0 if claimed else 1, os.EFD_NONBLOCK) if hasattr(os, "eventfd") else -1
        folder = os.open(cwd, os.O_PATH | os.O_DIRECTORY)
        cpus = sum(1 << cpu for cpu in (affinity or os.sched_getaffinity(0)))
        env = os.environ if env is None else env
        payload = b"".join([
            string(""), strings(argv), strings([f"{name}={value}" for name, value in env.items()]),
            integers(list(fds)), u32(0), u32(0), integers([]), u32(umask), u32(nice), u32(0) * 3, struct.pack("<Q", 50000), u32(2001),
            struct.pack("<QQ", ignored, blocked),
            integers(limits() if rlimits is None else rlimits), integers([cpus]), integers([]), u32(os.getpid()), u32(os.geteuid()), string(""),
            integers([]),
        ])
        self.assigned = time.monotonic_ns()
        send(self.control, ASSIGN, payload, [folder, claim, *fds.values(), connection.fileno()])
        for fd in (folder, claim):
            os.close(fd)
        connection.close()
        kind, fields, (pidfd, keeper) = receive(client)
        assert (kind, fields.take("<I")) == (ASSIGNED, self.pid)
        os.close(pidfd)
        self.keeper = socket.socket(fileno=keeper)
        self.keeper.setblocking(True)
        return client

    def close(self):
        self.control.close()
        self.process.wait(10)


class Result:
    """How a run ended: `exit` is EXIT's status, `refused` the reason, `declined` what poold heard, `gone` what the keeper
    said, `status` how that ended itself."""

    def __init__(self, worker, client):
        self.exit = self.refused = self.declined = self.gone = None
        message = receive(client)
        self.ended = time.monotonic_ns()
        if message and message[0] == EXIT:
            self.exit = message[1].take("<I")
        elif message:
            assert message[0] == REFUSED
            self.refused, self.detail = message[1].string(), message[1].string()
        message = receive(worker.control)
        if message:
            assert message[0] == DECLINED
            self.declined = message[1].string()
        message = receive(worker.keeper)
        assert message[0] == GONE
        self.gone = message[1].take("<I") & ~0x80  # whether there is a core is for whoever has it
        code = worker.process.wait(30)
        self.status = -code if code < 0 else code << 8
        for sock in (client, worker.control, worker.keeper):
            sock.close()
