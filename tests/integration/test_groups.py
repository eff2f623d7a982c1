"""groups_cases.py and groups_systemd_cases.py, in a machine that has what it takes, and each of its cases by name."""

import pathlib
import re
import xml.etree.ElementTree as ElementTree

import pytest

import uml

FILES = [pathlib.Path(__file__).with_name(name) for name in ("groups_cases.py", "groups_systemd_cases.py")]
NAMES = [name for file in FILES for name in re.findall(r"^def (test_\w+)", file.read_text(), re.M)]


@pytest.fixture(scope="session")
def results(prefix, tmp_path_factory):
    """What each case has said that has not passed, and of those that have, nothing."""
    folder = tmp_path_factory.mktemp("machine")
    report = folder / "report.xml"
    env = {"POOLD_PREFIX": prefix, "PYTHONDONTWRITEBYTECODE": "1", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "HOME": "/run",
           "LC_ALL": "C.UTF-8"}
    argv = ["/usr/bin/python3", "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider", "--basetemp=/dev/shm/pytest",
            f"--junitxml={report}", "-o", "junit_logging=all", *[file.name for file in FILES]]
    status, output = uml.run(folder, argv, env, FILES[0].parent)
    assert report.exists(), f"pytest ended with {status}:\n{output}"
    said = {}
    for case in ElementTree.parse(report).iter("testcase"):  # two for one that fails at its end, too
        texts = said.setdefault(case.get("name"), [])
        if {part.tag for part in case} - {"system-out", "system-err"}:
            texts += [part.text or "" for part in case]
    return said


@pytest.mark.parametrize("name", NAMES)
def test_groups(results, name):
    assert name in results
    assert not results[name], "\n".join(results[name])
