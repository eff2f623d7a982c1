#!/usr/bin/python3
"""Measures poold beside what else there is, and says it as ratios: see ./run --help."""

import argparse
import contextlib
import datetime
import json
import os
import pathlib
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "integration"))

import harness  # noqa: E402
import report  # noqa: E402
from chapters import burst, interference, latency, memory, scale, scripts  # noqa: E402
from sampling import Sampler  # noqa: E402

HERE = pathlib.Path(__file__).parent
CHAPTERS = {chapter.__name__.rpartition(".")[2]: chapter
            for chapter in (latency, burst, scale, scripts, interference, memory)}

# What the environment of a build or a test has that that of a user has not, and that takes time or changes results.
NOT_OF_A_USER = ("MALLOC_PERTURB_", "PYTHONDONTWRITEBYTECODE", "ASAN_OPTIONS", "UBSAN_OPTIONS", "MESON_TEST_ITERATION",
                 "POOLD_PREFIX", "POOLD_BUILD", "POOLD_WORKER", "POOLD_SAMPLER", "POOLD_FORKCLIENT", "POOLD_TRACE")


class Progress:
    """What is being done, and since when: a line that changes on a terminal, else a line now and then."""

    def __init__(self):
        self.started = self.said = time.monotonic()
        self.on_terminal = sys.stderr.isatty()
        self.what = None

    def __call__(self, what, done=None, total=None):
        now = time.monotonic()
        if what == self.what and done != total and now - self.said < (0.2 if self.on_terminal else 20):
            return
        self.what, self.said = what, now
        passed = int(now - self.started)
        line = f"[{passed // 60:3}:{passed % 60:02}] {what}" + (f"  {done}/{total}" if total else "")
        print(f"\r{line}\x1b[K" if self.on_terminal else line, end="" if self.on_terminal else "\n", file=sys.stderr,
              flush=True)

    def say(self, text):
        """A line that stays."""
        print(f"\r{text}\x1b[K" if self.on_terminal else text, file=sys.stderr, flush=True)


class Bench:
    """What the chapters have in common: the programs, a folder, and how much is to be measured."""

    def __init__(self, prefix, folder, options):
        self.prefix = prefix
        self.folder = folder
        self.quick = options.quick
        self.cpus = len(os.sched_getaffinity(0))
        self.peers = dict(peer.split("=", 1) for peer in options.peer)
        self.sampler_program = os.environ["POOLD_SAMPLER"]
        self.forkclient = os.environ["POOLD_FORKCLIENT"]
        self.floor = os.environ["POOLD_FLOOR"]
        self.python = harness.PYTHON
        self.progress = Progress()
        for name in NOT_OF_A_USER:
            os.environ.pop(name, None)

    def count(self, full, quick=3):
        """How many samples: all, or just enough to see that it works."""
        return quick if self.quick else full

    def some(self, values):
        """All of them; to try it, the first and one in the middle."""
        return (values[0], values[len(values) // 2]) if self.quick else values

    def script(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    @contextlib.contextmanager
    def poold(self, ini, wait=True):
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            poold = harness.Poold(self.prefix, pathlib.Path(folder))
            try:
                (poold.start if wait else poold.launch)("[poold]\nlog_level = warn\n" + ini)
                yield poold
            finally:
                poold.stop()

    @contextlib.contextmanager
    def sampler(self, poold, terminal=False, **env):
        sampler = Sampler(self.sampler_program, poold.env | env, self.folder, terminal)
        try:
            yield sampler
        finally:
            sampler.close()

    @contextlib.contextmanager
    def fork_server(self, modules):
        """Yields the command before the script's name."""
        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            path = pathlib.Path(folder) / "socket"
            server = subprocess.Popen([self.python, HERE / "forkserver.py", path, *modules], stdin=subprocess.DEVNULL)
            try:
                harness.eventually("the fork server", path.exists)
                yield [self.forkclient, str(path)]
            finally:
                server.kill()
                server.wait()

    def settle(self, poold, *pools):
        """Waits until the pools are full, and what is left of earlier workers has gone: that is done while nobody looks."""
        for pool in pools:
            poold.wait_idle(pool)
        time.sleep(0.5)

    def peer_commands(self):
        return {name: shlex.split(command) for name, command in self.peers.items()}


def machine(bench):
    """What the figures hold for."""
    def first(path, key):
        with contextlib.suppress(OSError):
            for line in pathlib.Path(path).read_text().splitlines():
                if line.startswith(key):
                    return line.partition(":")[2].strip()
        return "?"

    def version_of(module):
        code = f"import {module}; print({module}.__version__)"
        done = subprocess.run([bench.python, "-c", code], capture_output=True, text=True)
        return done.stdout.strip() or None

    python = subprocess.run([bench.python, "-c", "import platform; print(platform.python_version())"], capture_output=True,
                            text=True, check=True).stdout.strip()
    poold = subprocess.run([bench.prefix / "bin/poold", "--version"], capture_output=True, text=True).stdout.strip()
    return {
        "time": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "cpus": len(os.sched_getaffinity(0)),
        "cpu": first("/proc/cpuinfo", "model name"),
        "memory_kb": int(first("/proc/meminfo", "MemTotal").split()[0]),
        "kernel": platform.release(),
        "poold": poold,
        "python": python,
        "modules": {module: version_of(module) for module in ("numpy", "pandas", "torch")},
        "load": os.getloadavg()[0],
        "quick": bench.quick,
    }


def cpu_times():
    """(all, stolen by other virtual machines), in ticks: /proc/stat."""
    numbers = list(map(int, pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]))
    return sum(numbers), numbers[7]


def measure_chapter(bench, name):
    bench.progress.say(f"{name}: {CHAPTERS[name].__doc__.splitlines()[0]}")
    about, began, before = machine(bench), time.monotonic(), cpu_times()
    measured = CHAPTERS[name].measure(bench)
    after = cpu_times()
    return {"machine": about, "seconds": round(time.monotonic() - began),
            "stolen": (after[1] - before[1]) / max(after[0] - before[0], 1)} | measured


def parse(args):
    parser = argparse.ArgumentParser(prog="run", description=__doc__, epilog="It takes an hour and a half, and wants the "
                                     "machine for itself. Results go to the folder --out: results.json, report.md, plots.")
    parser.add_argument("--only", action="append", choices=CHAPTERS, metavar="CHAPTER", default=[],
                        help=f"{', '.join(CHAPTERS)}; may be given several times, and leaves the results of the others")
    parser.add_argument("--quick", action="store_true", help="few samples: to try the bench, not to measure")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND",
                        help="also measure COMMAND, to which the script's path is added; it must be ready to serve")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("bench"), help="the folder for the results")
    parser.add_argument("--report", action="store_true", help="measure nothing: tables and plots of the results in --out")
    options = parser.parse_args(args)
    for peer in options.peer:
        if not all(peer.partition("=")):
            parser.error(f"--peer wants NAME=COMMAND, not {peer!r}")
    return options


def measure(options):
    results_file = options.out / "results.json"
    results, failed = {"chapters": {}}, []
    if options.only and results_file.exists():
        results = json.loads(results_file.read_text())
    with tempfile.TemporaryDirectory(prefix="poold-bench") as folder:
        bench = Bench(harness.installed(), pathlib.Path(folder), options)
        for name in options.only or CHAPTERS:
            try:
                results["chapters"][name] = measure_chapter(bench, name)
            except Exception:  # the work of an hour is not lost for one chapter
                bench.progress.say(f"{name}: failed\n{traceback.format_exc()}")
                failed.append(name)
            results_file.write_text(json.dumps(results))
    bench.progress.say(f"results are in {results_file}")
    return failed


def main():
    options = parse(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # poold is stopped, and the folder removed
    options.out.mkdir(parents=True, exist_ok=True)
    failed = [] if options.report else measure(options)
    report.write(json.loads((options.out / "results.json").read_text()), options.out, CHAPTERS)
    print((options.out / "report.md").read_text(), end="")
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
