"""A fork server as one would write it, for poold to be measured beside: imports modules once, and forks for each run.

forkserver.py SOCKET [MODULE]...

The client (forkclient.c) passes its standard streams, arguments, folder and environment. The child tells it the exit
status when all is flushed and leaves by os._exit(): the fastest end there is. Like every fork server it runs all of
its scripts with one hash seed and one random state, and without the threads that the modules had started.
"""

import gc
import importlib
import os
import signal
import socket
import struct
import sys
import types

HEAD = struct.Struct("=II")


def receive(connection):
    """Returns (argv, folder, environment), with the client's streams put in the place of ours."""
    data, fds, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    n_bytes, argc = HEAD.unpack_from(data)
    chunks = [data[HEAD.size:]]
    missing = n_bytes - len(chunks[0])
    while missing > 0:
        chunks.append(connection.recv(missing))
        missing -= len(chunks[-1])
    for number, fd in enumerate(fds):
        os.dup2(fd, number)
        os.close(fd)
    words = b"".join(chunks).split(b"\0")[:-1]
    argv = [os.fsdecode(word) for word in words[:argc]]
    return argv, words[argc], dict(word.split(b"=", 1) for word in words[argc + 1:] if b"=" in word)


def run(argv):
    main = types.ModuleType("__main__")
    main.__file__ = argv[0]
    sys.modules["__main__"] = main
    sys.argv = argv
    sys.path[0] = os.path.dirname(argv[0])
    with open(argv[0], "rb") as file:
        code = compile(file.read(), argv[0], "exec")
    try:
        exec(code, main.__dict__)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xff
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


def serve(connection):
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    argv, folder, environment = receive(connection)
    os.chdir(folder)
    os.environb.clear()
    os.environb.update(environment)
    status = run(argv)
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(struct.pack("=I", status))
    os._exit(status)


def main():
    path, *modules = sys.argv[1:]
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".new")
    listener.listen(1024)
    os.rename(path + ".new", path)  # there, and it serves
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            serve(connection)
        connection.close()


main()
