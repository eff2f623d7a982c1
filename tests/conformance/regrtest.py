"""CPython's own test suite, module by module: some way to run it beside what python3 makes of the same module."""

import collections
import concurrent.futures
import xml.etree.ElementTree

TIMEOUT = 500
AT_ONCE = 4  # most of them wait more than they compute

# They hang, fail or not, as the machine is, under python3 itself: (module, test, as -i takes it) and why.
LEFT_OUT = {
    ("test_socket", "ThreadedVSOCKSocketStreamTest"): "waits for ever in some virtual machines",
}

Outcome = collections.namedtuple("Outcome", "done tests bad")


def tail(done):
    return (done.stdout + done.stderr).decode(errors="replace")[-6000:]


class Suite:
    """The runs of many modules. `run` takes regrtest's arguments, and what subprocess.run() takes, and is tried."""

    def __init__(self, run, python3, folder, exceptions):
        self.run = run
        self.python3 = python3
        self.folder = folder
        self.exceptions = exceptions
        self.tests = 0
        self.again = []

    def outcome(self, run, module, only=None):
        """Runs it to its end in a folder of its own. -m chooses among all tests of a module; -i leaves out."""
        left_out = [test for of, test in (*LEFT_OUT, *self.exceptions) if of == module]
        chosen = ["-m", only] if only else [word for test in left_out for word in ("-i", test)]
        folder, report = self.folder / f"in {module}", self.folder / f"{module}.xml"
        folder.mkdir(exist_ok=True)
        report.unlink(missing_ok=True)
        done = run("-u", "none", "--junit-xml", report, *chosen, module, cwd=folder, timeout=TIMEOUT)
        cases = list(xml.etree.ElementTree.parse(report).iter("testcase")) if report.exists() else []
        bad = {case.get("name") for case in cases if case.find("error") is not None or case.find("failure") is not None}
        return Outcome(done, len(cases), bad)

    def start_all(self, modules):
        """Yields each module's run: expect_as_python3() takes what it came to."""
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as executor:
            yield {module: executor.submit(self.outcome, self.run, module) for module in modules}
            executor.shutdown(cancel_futures=True)

    def expect_as_python3(self, module, first):
        """
        Whatever passes under python3 must pass. Some tests expect more of a machine than it has when many run at once:
        a module that fails has a second try.
        """
        outcome = first
        if outcome.done.returncode:
            self.again.append(module)
            outcome = self.outcome(self.run, module)
        self.tests += outcome.tests
        if outcome.done.returncode == 0:
            assert outcome.tests > 0
            return
        assert outcome.done.returncode != 125, tail(outcome.done)
        cold = self.outcome(self.python3, module)
        bad = outcome.bad - cold.bad
        assert cold.done.returncode and not bad, f"python3 does not fail: {bad}\n{tail(outcome.done)}"

    def summary(self, modules):
        again = f"; passed at the second try: {' '.join(self.again)}" if self.again else ""
        return f"{len(modules)} modules, {self.tests} tests, {len(self.exceptions)} exceptions{again}"
