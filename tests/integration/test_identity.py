"""A client in another place or with other rights is not served warm, and the reason is named."""

import os
import pathlib
import resource
import shutil
import subprocess

import pytest
from harness import PYTHON

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")

CODE = """
import ctypes, os, socket
libc = ctypes.CDLL(None)
print(os.getegid(), os.getgroups(), [n for n, ours in NAMESPACES.items() if os.readlink(f'/proc/self/ns/{n}') == ours], socket.gethostname())
print(os.sched_getscheduler(0), os.sched_getparam(0), os.nice(0), libc.syscall(IOPRIO_GET, 1, 0), os.uname().machine)
print([libc.prctl(option, 0, 0, 0, 0) for option in (21, 27, 30, 39)])  # seccomp, securebits, timer slack, no_new_privs
for name in ("oom_score_adj", "personality", "comm", "cmdline", "environ"):
    print(name, open(f"/proc/self/{name}", "rb").read())
os.system("grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; chrt -p $$ | cut -d: -f2-; ionice; cat /proc/self/oom_score_adj")
"""
NAMESPACES = {name: os.readlink(f"/proc/self/ns/{name}") for name in ("cgroup", "ipc", "mnt", "net", "time", "user", "uts")}
CODE = CODE.replace("NAMESPACES", repr(NAMESPACES))
CODE = CODE.replace("IOPRIO_GET", {"x86_64": "252", "aarch64": "31"}[os.uname().machine])
SLACK = "import ctypes, os, sys; ctypes.CDLL(None).prctl(29, 12345, 0, 0, 0); os.execvp(sys.argv[1], sys.argv[1:])"


def misses(poold):
    return poold.pool()["misses"]


@pytest.mark.parametrize("wrap, reason", [
    (["setpriv", "--regid=12345", "--keep-groups"], "identity"),
    (["setpriv", "--groups=0,54321"], "identity"),
    (["setpriv", "--groups=54321"], "identity"),
    (["setpriv", "--clear-groups"], None),
    (["unshare", "--mount"], "namespace"),
    (["unshare", "--pid", "--fork"], "namespace"),
    (["unshare", "--net"], "namespace"),
    (["unshare", "--user"], "namespace"),
    (["unshare", "--user", "--map-root-user"], "namespace"),
    (["unshare", "--uts"], "namespace"),
    (["unshare", "--ipc"], "namespace"),
    (["unshare", "--cgroup"], "namespace"),
    (["unshare", "--time"], "namespace"),
    (["setpriv", "--no-new-privs"], "identity"),
    (["setpriv", "--bounding-set=-sys_boot"], "identity"),
    (["setpriv", "--inh-caps=+sys_boot"], "identity"),
    (["setpriv", "--inh-caps=+sys_boot", "--ambient-caps=+sys_boot"], "identity"),
    (["setpriv", "--securebits=+noroot"], "identity"),
    (["setarch", "--addr-no-randomize"], "personality"),
    (["setarch", "linux32"], "personality"),
    (["chrt", "--idle", "0"], None),
    (["chrt", "--batch", "0"], None),
    (["chrt", "--rr", "5"], None),
    (["chrt", "--fifo", "99"], None),
    (["chrt", "--reset-on-fork", "--rr", "5"], None),
    (["nice", "-n", "5", "chrt", "--batch", "0"], None),
    (["nice", "-n", "-5", "chrt", "--rr", "5"], None),
    (["ionice", "--class", "idle"], None),
    (["ionice", "--class", "best-effort", "--classdata", "2"], None),
    (["choom", "--adjust", "500", "--"], None),
    (["/usr/bin/python3", "-c", SLACK], None),
    (["prlimit", "--cpu=100:200"], "limits"),
    (["prlimit", "--nofile=200"], None),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_others_fall_back(poold, wrap, reason):
    poold.start(wrap=["setpriv", "--clear-groups"])
    done = [subprocess.run([*wrap, *command, "-c", CODE], env=poold.env, capture_output=True)
            for command in ([PYTHON], [poold.program("poolctl"), "run"])]
    if b"unshare failed" in done[0].stderr or b"write failed" in done[0].stderr:
        pytest.skip("there are no such namespaces here")
    assert done[0].returncode == 0, done[0].stderr
    assert (done[1].returncode, done[1].stdout, done[1].stderr) == (done[0].returncode, done[0].stdout, done[0].stderr)
    assert misses(poold) == ({reason: 1} if reason else {})
    assert poold.pool()["hits"] == (0 if reason else 1)


def test_what_logins_give_does_not_count(poold):
    poold.start()
    done = subprocess.run(["setpriv", "--inh-caps=+wake_alarm", poold.program("poolctl"), "run", "--no-fallback", "-c", "print(1)"],
                          env=poold.env, capture_output=True)
    assert (done.returncode, done.stdout) == (0, b"1\n"), done.stderr


THREADS = """
import os, threading
threading.Thread(target=threading.Event().wait, daemon=True).start()
print(*sorted({(open(f"/proc/self/task/{tid}/comm").read(), os.sched_getscheduler(int(tid)), os.getpriority(os.PRIO_PROCESS, int(tid)))
               for tid in os.listdir("/proc/self/task")}))
"""


def test_poolds_own_priorities_are_not_the_scripts(poold):
    """Nor are they those of threads that a module has started, whose name is python's, too."""
    (poold.folder / "busy.py").write_text("import threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n")
    poold.start(f"[pool:default]\nsize = 2\nmodules = busy\npath = {poold.folder}\n",
                wrap=["choom", "--adjust", "300", "--", "ionice", "--class", "idle", "nice", "-n", "3", "chrt", "--rr", "3"])
    poold.same_as_python3("-c", CODE)
    poold.same_as_python3("-c", THREADS)


@pytest.fixture
def limited_group():
    """A control group with a limit on memory, wherever that controller is."""
    root = pathlib.Path("/sys/fs/cgroup")
    candidates = [(root / "memory", "memory.limit_in_bytes")] + [(folder, "memory.max") for folder in (root / "unified", root)]
    for parent, limit in candidates:
        group = parent / f"poold-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        if os.access(group / limit, os.W_OK):
            (group / limit).write_text(str(1 << 30))
            yield group
            group.rmdir()
            return
        group.rmdir()
    pytest.skip("no control group with limits can be made here")


def test_limits_of_a_control_group_hold(poold, limited_group):
    enter = ["sh", "-c", f"echo $$ > {limited_group}/cgroup.procs; exec \"$@\"", "sh"]
    code = "print(open('/proc/self/cgroup').read())"
    poold.start()
    theirs, ours = (subprocess.run([*enter, *command, "-c", code], env=poold.env, capture_output=True)
                    for command in (["/usr/bin/python3"], [poold.program("poolctl"), "run"]))
    assert limited_group.name.encode() in theirs.stdout
    assert (ours.returncode, ours.stdout, ours.stderr) == (theirs.returncode, theirs.stdout, theirs.stderr)
    assert misses(poold) == {"cgroup": 1}
    assert poold.run("-c", "print(1)").stdout == b"1\n"


def test_another_root_falls_back(poold, tmp_path):
    """One with nothing in it but poolctl and the way to poold: the run is python3's, which is not there."""
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(poold.program("poolctl"), root / "poolctl")
    poold.start()
    os.link(poold.socket, root / "poold.sock")
    root.chmod(0o700)
    done = subprocess.run(["chroot", root, "/poolctl", "run", "-c", "print(1)"], env={"POOLD_SOCKET": "/poold.sock", **poold.env},
                          capture_output=True, text=True)
    os.unlink(root / "poold.sock")
    assert (done.returncode, done.stdout) == (125, "") and "(root: " in done.stderr
    assert misses(poold) == {"root": 1}


def test_limited_cpu_time_is_not_spent_on_the_preload(poold):
    poold.start()
    done = poold.same_as_python3("-c", "import resource; print(resource.getrlimit(resource.RLIMIT_CPU))", fallback=True,
                                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (50, 60)))
    assert done.stdout == b"(50, 60)\n"
