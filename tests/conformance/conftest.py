import pathlib
import resource
import signal
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration"))

# nohup and shells' background jobs ignore some, and children would inherit that.
for ignored in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(ignored, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
# Scripts that crash here do so on purpose.
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))

pytest.register_assert_rewrite("harness")
import harness  # noqa: E402

counts = []


@pytest.fixture(scope="session")
def count():
    """Adds a line to what is printed at the end."""
    return counts.append


def pytest_terminal_summary(terminalreporter):
    for line in counts:
        terminalreporter.write_line(f"conformance: {line}")


@pytest.fixture(scope="session")
def start_poold():
    """Starts a poold with the given configuration, in an environment that asks python3 for nothing special."""
    prefix = harness.installed()
    harness.become_reaper()
    started = []

    def start(ini):
        folder = tempfile.TemporaryDirectory(prefix="poold-")
        poold = harness.Poold(prefix, pathlib.Path(folder.name))
        poold.env = {name: value for name, value in poold.env.items() if not name.startswith("PYTHON")}
        poold.env["PATH"] = f"/usr/bin:/bin:{prefix / 'bin'}"
        started.append((poold, folder))
        return poold.start(ini)

    try:
        yield start
    finally:
        for poold, folder in started:
            with folder:
                poold.stop()
                poold.expect_nothing_left()
