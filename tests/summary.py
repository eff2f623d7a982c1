"""Adds up what ./run left in its results folder: steps, and what every meson test said of its own parts.

The last line is "N passed, M failed"; the exit status is 1 if anything failed or nothing ran.
"""

import json
import pathlib
import re
import sys

PASSED = [
    re.compile(r"^ok\b(?!.*# SKIP)", re.M),  # TAP
    re.compile(r"^\[  PASSED  \] (\d+) test", re.M),  # cmocka
    re.compile(r"\b(\d+) passed\b.* in [\d.]+s"),  # pytest
]
FAILED = [
    re.compile(r"^not ok\b", re.M),
    re.compile(r"^\[  FAILED  \] (\d+) test", re.M),
    re.compile(r"\b(\d+) failed\b.* in [\d.]+s"),
    re.compile(r"\b(\d+) errors?\b.* in [\d.]+s"),
]
# What conformance has compared, in its own words.
SAID = re.compile(r"^conformance: (.+)$", re.M)
SKIPPED = re.compile(r"\b(\d+) skipped\b.* in [\d.]+s")


def count(patterns, text):
    return sum(int(found or 1) if found.isdigit() else 1 for p in patterns for found in p.findall(text))


def count_test(test):
    """(passed, failed, skipped) of one meson test: its parts if it names them, else itself."""
    said = test.get("stdout", "") + "\n" + test.get("stderr", "")
    passed, failed = count(PASSED, said), count(FAILED, said)
    if test["result"] == "SKIP":
        return 0, 0, 1
    if test["result"] not in ("OK", "EXPECTEDFAIL"):
        return passed, max(failed, 1), 0
    return max(passed, 1), failed, count([SKIPPED], said)


def main():
    folder = pathlib.Path(sys.argv[1])
    rows, said = [], []
    for line in (folder / "steps").read_text().splitlines():
        ok = line.startswith("ok ")
        rows.append((line.removeprefix("not ").removeprefix("ok "), (int(ok), int(not ok), 0)))
    for path in sorted(folder.glob("*.json")):
        for line in path.read_text().splitlines():
            test = json.loads(line)
            rows.append((f"{path.stem}: {test['name']} ({test['duration']:.1f} s)", count_test(test)))
            said += SAID.findall(test.get("stdout", ""))

    for name, (passed, failed, skipped) in rows:
        print(f"{'FAILED' if failed else 'ok':>7}  {passed:4} passed {failed:3} failed {skipped:3} skipped   {name}")
    for line in said:
        print(line)
    passed, failed, skipped = (sum(counts[i] for _, counts in rows) for i in range(3))
    if skipped:
        print(f"{skipped} skipped")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


sys.exit(main())
