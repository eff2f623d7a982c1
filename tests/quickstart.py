"""Waits until poold has a worker ready, then runs a script with python3 and with poolctl and shows both times."""

import json
import os
import statistics
import subprocess
import sys
import time

WARMUP_SECONDS = 120
WORKERS = 2
PAUSE_SECONDS = 0.5  # between two runs, as a person makes it


def wait_ready(poold, poolctl):
    deadline = time.monotonic() + WARMUP_SECONDS
    while time.monotonic() < deadline:
        if not os.path.exists(f"/proc/{poold}"):
            sys.exit("poold ended before a worker became ready")
        answer = subprocess.run([poolctl, "status", "--json"], capture_output=True, text=True)
        if answer.returncode == 0 and json.loads(answer.stdout)["pools"][0]["idle"] >= WORKERS:
            return
        time.sleep(0.05)
    sys.exit(f"no worker became ready within {WARMUP_SECONDS} s\n{answer.stdout}{answer.stderr}")


def measure(command, runs, prepare=lambda: None):
    seconds = []
    for _ in range(runs):
        prepare()
        time.sleep(PAUSE_SECONDS)
        start = time.perf_counter()
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        seconds.append(time.perf_counter() - start)
    print(f"  $ {' '.join(command)}\n  {done.stdout.rstrip()}")
    return statistics.median(seconds)


def main():
    poold, poolctl, script = sys.argv[1:]
    wait_ready(poold, poolctl)
    print("its workers are ready; the same script, cold and warm:\n")
    cold = measure(["/usr/bin/python3", script], 3)
    warm = measure([poolctl, "run", "--no-fallback", script], 5, lambda: wait_ready(poold, poolctl))
    print(f"\n  python3       {cold * 1000:9.1f} ms\n  poolctl run   {warm * 1000:9.1f} ms   {cold / warm:.0f} times faster")


main()
