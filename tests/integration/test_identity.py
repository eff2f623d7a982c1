"""A client in another place or with other rights is not served warm, and the reason is named."""

import os
import resource
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")

CODE = "import os, socket; print(os.getegid(), os.getgroups(), sorted(os.listdir('/proc/self/ns')), socket.gethostname())"


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
    (["prlimit", "--cpu=100:200"], "limits"),
    (["prlimit", "--nofile=200"], None),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_others_fall_back(poold, wrap, reason):
    poold.start(wrap=["setpriv", "--clear-groups"])
    done = [subprocess.run([*wrap, *command, "-c", CODE], env=poold.env, capture_output=True)
            for command in (["/usr/bin/python3"], [poold.program("poolctl"), "run"])]
    if b"unshare failed" in done[0].stderr or b"write failed" in done[0].stderr:
        pytest.skip("there are no such namespaces here")
    assert done[0].returncode == 0, done[0].stderr
    assert (done[1].returncode, done[1].stdout, done[1].stderr) == (done[0].returncode, done[0].stdout, done[0].stderr)
    assert misses(poold) == ({reason: 1} if reason else {})
    assert poold.pool()["hits"] == (0 if reason else 1)


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
