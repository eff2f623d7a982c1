"""Runs one thing twice, under python3 and under poolctl run, and keeps all that could tell the two apart."""

import dataclasses
import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess

import harness

# Misses that say that poold is behind, or the machine slow, not that the run does not fit: worth another try.
AGAIN = {"empty", "timeout", "warming"}
LONG_AGO = 1_600_000_000  # of every file given to a script, so that what is compiled from it is the same, too


@dataclasses.dataclass(frozen=True)
class Outcome:
    status: int
    stdout: bytes
    stderr: bytes
    files: dict


def clean(folder):
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir()


def write_files(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        os.utime(path, (LONG_AGO, LONG_AGO))


def files_in(folder):
    found = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if stat.S_ISREG(mode) else None
        found[str(path.relative_to(folder))] = (oct(mode), content)
    return found


def normal(data):
    """Addresses differ from one python3 to the next; and bash names the command and its pid when a signal ends it."""
    data = re.sub(rb"0x[0-9a-f]{6,}", b"0xADDRESS", data)
    return re.sub(rb"(: line \d+: |\[1\]\+ ) *(?:\d+ )?([A-Z][\w ]+?)  +/.*(?:\n.*)*?\n", rb"\1\2\n", data)


def run_in(folder, command, env, stdin=None, timeout=harness.DEADLINE):
    process = subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE, start_new_session=True)
    try:
        stdout, stderr = process.communicate(stdin, timeout)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        stdout, stderr = process.communicate()
        raise AssertionError(f"{command} did not end; it said {stdout[-2000:]} {stderr[-2000:]}") from None
    return Outcome(process.returncode, normal(stdout), normal(stderr), files_in(folder))


class Pair:
    """python3 and a poold, and a folder in which both run the same."""

    def __init__(self, poold, folder):
        self.poold = poold
        self.folder = pathlib.Path(folder)

    def served(self):
        """How many runs workers served, and how many they did not, by reason."""
        hits, misses = 0, {}
        for pool in self.poold.status()["pools"]:
            hits += pool["hits"]
            for reason, times in pool["misses"].items():
                misses[reason] = misses.get(reason, 0) + times
        return hits, misses

    def once(self, command, files, env, **options):
        clean(self.folder)
        write_files(self.folder, files)
        return run_in(self.folder, command, self.poold.env | env, **options)

    def cold(self, make, files, env, **options):
        return self.once(make([harness.PYTHON]), files, env, **options)

    def warm(self, make, files, env, **options):
        """(the outcome, number of hits, set of reasons for misses)"""
        for _ in range(5):
            for pool in self.poold.status()["pools"]:
                self.poold.wait_idle(pool["name"])
            hits, misses = self.served()
            outcome = self.once(make([self.poold.program("poolctl"), "run"]), files, env, **options)
            new_hits, new_misses = self.served()
            reasons = {reason for reason, times in new_misses.items() if times > misses.get(reason, 0)}
            if not reasons & AGAIN:
                break
        return outcome, new_hits - hits, reasons
