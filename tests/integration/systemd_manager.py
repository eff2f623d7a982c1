"""A real `systemd --user` of one's own: in a private mount namespace and cgroup, with a private home, gone afterwards.

The manager runs as whoever runs the tests. Only making its surroundings takes root, ours or sudo's. A shell, the
keeper, makes them and stays until its standard input ends, which it also does when the tests are killed. It then kills
everything in the cgroup and removes that; the mounts go with the namespace's last process.
"""

import contextlib
import os
import pathlib
import selectors
import shutil
import socket
import struct
import subprocess
import time

from harness import DEADLINE

SYSTEMD = "/usr/lib/systemd/systemd"
CANNOT = 77  # the keeper's status if this machine does not let it make the surroundings

# $1 uid, $2 gid, $3 the cgroup's name, then the command that is the manager.
# A cgroup2 that is mounted anywhere is used as it is: mounting it again would change its options for everybody.
KEEPER = """
trap '' INT HUP
uid=$1 gid=$2 name=$3
shift 3
surroundings() {
        mount -t tmpfs -o mode=755 tmpfs /run &&
        mkdir -p /run/systemd/system /run/user &&
        install -d -m 0700 -o "$uid" -g "$gid" "/run/user/$uid" || return
        mounted=$(findmnt --noheadings --first-only --types cgroup2 --output TARGET)
        case $mounted in
        /sys/fs/cgroup) ;;
        '') mount -t cgroup2 cgroup2 /sys/fs/cgroup ;;
        *) mount --bind "$mounted" /sys/fs/cgroup ;;
        esac || return
        cgroup=/sys/fs/cgroup/$name
        mkdir "$cgroup" && chown -R "$uid:$gid" "$cgroup"
}
surroundings || exit 77
sh -c 'echo $$ >"$0/cgroup.procs" && exec "$@"' "$cgroup" "$@" </dev/null &
cat >/dev/null
echo 1 >"$cgroup/cgroup.kill"
wait
tries=0
until find "$cgroup" -depth -type d -exec rmdir {} + 2>/dev/null || [ $tries = 1000 ]; do
        tries=$((tries + 1))
        sleep 0.01
done
[ ! -e "$cgroup" ]
"""


class Unavailable(Exception):
    """This machine does not have what it takes. The text says what."""


def privileged():
    """What to put before a command that needs root."""
    if os.geteuid() == 0:
        return []
    if not shutil.which("sudo") or subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode != 0:
        raise Unavailable("neither root nor sudo without a password")
    return ["sudo", "-n", "--"]


class Manager:
    """`folder` is the manager's home. The units that are installed below `prefix` are the first that it finds."""

    def __init__(self, folder, prefix):
        if not os.access(SYSTEMD, os.X_OK):
            raise Unavailable(f"no {SYSTEMD}")
        self.privileged = privileged()
        self.home = pathlib.Path(folder)
        self.config = self.home / ".config"
        self.runtime = pathlib.Path(f"/run/user/{os.getuid()}")  # as seen inside
        self.log_file = self.home / "manager.log"
        self.cgroup = f"poold-test-{os.getpid()}-{time.monotonic_ns()}"
        (self.config / "systemd/user").mkdir(parents=True)
        self.env = {
            "HOME": str(self.home),
            "XDG_CONFIG_HOME": str(self.config),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={self.runtime}/bus",
            "PATH": f"{prefix}/bin:/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
        }
        # Not the whole of systemd's search path: what the machine has enabled for its users stays out.
        self.unit_path = f"{self.config}/systemd/user:{prefix}/lib/systemd/user:/usr/lib/systemd/user"
        self.keeper = None
        self.pid = None

    @property
    def log(self):
        return self.log_file.read_text(errors="replace")

    def as_us(self, env, cwd):
        """What to put before a command that root is to run as us."""
        groups = ",".join(map(str, os.getgroups()))
        return ["setpriv", f"--reuid={os.getuid()}", f"--regid={os.getgid()}",
                f"--groups={groups}" if groups else "--clear-groups", "--", "env", "-i", "-C", str(cwd),
                *(f"{name}={value}" for name, value in env.items())]

    def start(self):
        """Returns once the manager says that it is ready."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, open(self.log_file, "ab") as log:
            notify.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
            notify.bind("")
            env = self.env | {"SYSTEMD_UNIT_PATH": self.unit_path,
                              "NOTIFY_SOCKET": "@" + notify.getsockname()[1:].decode()}
            self.keeper = subprocess.Popen(
                [*self.privileged, "unshare", "--mount", "--propagation", "private", "sh", "-c", KEEPER, "keeper",
                 str(os.getuid()), str(os.getgid()), self.cgroup, *self.as_us(env, self.home), SYSTEMD, "--user"],
                stdin=subprocess.PIPE, stdout=log, stderr=log)
            try:
                self.pid = self.wait_ready(notify)
            except BaseException:
                self.stop()
                raise

    def wait_ready(self, notify):
        """Waits for READY=1 or the keeper's end. Returns the pid of who said it."""
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            keeper = os.pidfd_open(self.keeper.pid)
            stack.callback(os.close, keeper)
            selector.register(notify, selectors.EVENT_READ)
            selector.register(keeper, selectors.EVENT_READ)
            end = time.monotonic() + DEADLINE
            while ready := selector.select(max(0, end - time.monotonic())):
                if any(key.fd == keeper for key, _ in ready):
                    if self.keeper.wait() == CANNOT:
                        raise Unavailable(f"no private mounts and cgroup here: {self.log.strip()}")
                    raise AssertionError(f"the keeper ended with {self.keeper.returncode}:\n{self.log}")
                text, ancillary, _, _ = notify.recvmsg(4096, socket.CMSG_SPACE(struct.calcsize("3i")))
                if b"READY=1" in text.split(b"\n"):
                    return struct.unpack("3i", ancillary[0][2])[0]
        raise AssertionError(f"the manager is not ready after {DEADLINE} s:\n{self.log}")

    def stop(self):
        """Kills all that is left inside and removes it."""
        self.keeper.stdin.close()
        status = self.keeper.wait(DEADLINE)
        assert status in (0, CANNOT), f"the manager's cgroup is still there:\n{self.log}"

    def command(self, *argv, env=None, cwd=None):
        """The command line that runs argv inside, in the manager's own environment plus `env`."""
        return [*self.privileged, "nsenter", f"--mount=/proc/{self.pid}/ns/mnt",
                f"--root=/proc/{self.pid}/root", "--",  # which is another than the namespace's in a chroot
                *self.as_us(self.env | (env or {}), cwd or self.home), *map(str, argv)]

    def popen(self, *argv, env=None, cwd=None, **options):
        """Starts argv inside. Its standard streams are pipes of text."""
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
                   "text": True} | options
        return subprocess.Popen(self.command(*argv, env=env, cwd=cwd), **options)

    def run(self, *argv, env=None, cwd=None, **options):
        """Runs argv inside, to its end."""
        options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "timeout": DEADLINE} | options
        return subprocess.run(self.command(*argv, env=env, cwd=cwd), **options)

    def systemctl(self, *args, check=True):
        """systemctl --user ARGS. Returns what it printed."""
        answer = self.run("systemctl", "--user", *args)
        assert not check or answer.returncode == 0, f"systemctl {args}: {answer.stderr}{self.log}"
        return answer.stdout

    def show(self, unit):
        """Every property of the unit."""
        return dict(line.partition("=")[::2] for line in self.systemctl("show", unit).splitlines())

    def processes(self, unit):
        """The pids in the unit's cgroup and those below, also if it has been stopped and left them there."""
        folder = f"/sys/fs/cgroup/{self.cgroup}/app.slice/{unit}"
        return [int(pid) for pid in self.run("find", folder, "-name", "cgroup.procs", "-exec", "cat", "{}", "+").stdout.split()]
