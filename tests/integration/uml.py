"""A machine of one's own: User Mode Linux, a kernel that is a process, with this machine's files as its own.

Not every machine lets its tests have control groups of version 2 with a memory controller: that may be version 1's, or
a container's host's. Debian's package user-mode-linux has such a kernel. It starts in two seconds, and takes no privilege.
"""

import os
import pathlib
import shlex
import shutil
import subprocess

PROGRAM = os.environ.get("POOLD_TEST_UML") or shutil.which("linux.uml") or shutil.which("linux")

# What the machine does. Its /run is for whatever is to be written fast; the rest is the files as they are here.
INIT = """\
#!/bin/sh
export PATH=/usr/bin:/bin:/usr/sbin:/sbin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t devtmpfs devtmpfs /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 devpts /dev/pts
ln -sf pts/ptmx /dev/ptmx
mount -t tmpfs tmpfs /dev/shm
ip link set lo up
{command} </dev/null >{output} 2>&1
echo $? >{status}
sync
echo o >/proc/sysrq-trigger
sleep 600
"""


def run(folder, argv, env, cwd, memory="1G", timeout=300):
    """Boots, runs argv as root, and halts. Returns its status and what it printed, or raises with what the kernel said."""
    assert PROGRAM, "no User Mode Linux: the package user-mode-linux"
    folder = pathlib.Path(folder)
    init, output, status = (folder / name for name in ("init", "output", "status"))
    command = ["env", "-i", "-C", str(cwd), *(f"{name}={value}" for name, value in env.items()), *map(str, argv)]
    init.write_text(INIT.format(command=shlex.join(command), output=shlex.quote(str(output)), status=shlex.quote(str(status))))
    init.chmod(0o755)
    kernel = subprocess.run([PROGRAM, "rootfstype=hostfs", "rootflags=/", "rw", f"init={init}", f"mem={memory}",
                             "cgroup_no_v1=all", "quiet", "con=null", "con0=null,fd:1", f"uml_dir={folder}", "umid=test"],
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout,
                            start_new_session=True)
    assert status.exists(), f"the machine did not come to its end:\n{kernel.stdout.decode(errors='replace')}"
    return int(status.read_text()), output.read_text(errors="replace")
