import signal

import pytest

# nohup and shells' background jobs ignore some, and children would inherit that.
for ignored in (signal.SIGHUP, signal.SIGQUIT):
    signal.signal(ignored, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest.register_assert_rewrite("harness")
import harness  # noqa: E402


@pytest.fixture(scope="session")
def prefix():
    harness.become_reaper()
    return harness.installed()


@pytest.fixture
def poold(prefix, tmp_path):
    """A poold that is not started yet. After the test it is stopped, and nothing may be left of it."""
    with harness.supervised(prefix, tmp_path) as supervisor:
        yield supervisor


@pytest.fixture
def script(tmp_path):
    """Writes a script and returns its path."""

    def write(text, name="script.py"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write
