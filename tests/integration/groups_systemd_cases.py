"""The control groups of workers below those of a real `systemd --user`. test_groups.py runs this as groups_cases.py."""

import os
import pathlib
import signal

import pytest

from harness import eventually, parent_of
from test_systemd import INI, WaitingScript, units  # noqa: F401: a fixture

ROOT = pathlib.Path("/sys/fs/cgroup")
LIMIT = 64 << 20


@pytest.fixture(scope="session", autouse=True)
def controllers():
    (ROOT / "cgroup.subtree_control").write_text("+memory +pids")


def group_of(pid):
    return ROOT / pathlib.Path(f"/proc/{pid}/cgroup").read_text().strip().removeprefix("0::/")


@pytest.fixture
def limited(units, tmp_path):  # noqa: F811
    """A script that waits in a group with a limit."""
    units.configure(INI + f"memory_max = {LIMIT}\n")
    script = WaitingScript(units, tmp_path)
    yield script
    script.end()


def expect_group(units, pid):  # noqa: F811
    group = group_of(pid)
    unit = units.service()["ControlGroup"]
    assert group.parent == ROOT / unit.lstrip("/") and group.name.startswith("worker-"), f"{group}\n{units.log}"
    assert (group / "memory.max").read_text() == f"{LIMIT}\n"
    assert group_of(units.main_pid()) == group_of(parent_of(pid)) == group.parent / "poold"
    return group


def test_unit_delegates(units, limited):  # noqa: F811
    group = expect_group(units, limited.pid)
    limited.expect_its_own_end()
    eventually("the group to be removed", lambda: not group.exists())


def test_next_poold_starts_beside_a_script_with_a_limit(units, limited):  # noqa: F811
    """By restart, by stop and start, and after a kill: though the unit's group is not empty."""
    group = expect_group(units, limited.pid)
    for change in (
            lambda: units.manager.systemctl("restart", "poold.service"),
            lambda: (units.manager.systemctl("stop", "poold.socket", "poold.service"),
                     units.manager.systemctl("start", "poold.socket", "poold.service")),
            lambda: os.kill(units.main_pid(), signal.SIGKILL)):
        before = units.main_pid()
        change()
        eventually(lambda: f"another poold; the log:\n{units.log}", lambda: units.main_pid() not in (0, before))
        units.wait_idle()
        assert units.service()["ActiveState"] == "active"
        assert expect_group(units, limited.pid) == group
    assert units.warm("-c", "print('new')").stdout == "new\n"
    limited.expect_its_own_end()
    eventually("the group to be removed", lambda: not group.exists())


def test_a_kill_for_memory_is_no_matter_of_the_unit(units, limited):  # noqa: F811
    before = units.main_pid()
    grab = units.warm("-c", f"data = bytearray({2 * LIMIT})\nfor i in range(0, len(data), 4096): data[i] = 1")
    assert grab.returncode == -signal.SIGKILL and "killed for its memory" in grab.stderr
    assert units.main_pid() == before and units.service()["Result"] == "success"
    limited.expect_its_own_end()
