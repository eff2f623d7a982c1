"""Scripts afterwards: the speed of what scripts do, in a worker and in a python3 of their own.

The two take turns, with poold's pool full before each. Each process runs a kernel once, uncounted, and then the fastest
repetition counts, for that has the least of other people's work in it; over the processes, the median of how the two of
a turn compare.
"""

import json
import pathlib
import subprocess

from sampling import median, percentile, shuffled_turns
from tables import ms, paired_ratio, table

KERNELS = pathlib.Path(__file__).parents[1] / "kernels.py"
MODULES = {"python": [], "numpy": ["numpy"], "torch": ["torch"]}


def run(bench, poold, who, group):
    command = {"python3": [bench.python], "poolctl": [poold.program("poolctl"), "run", "--no-fallback"]}[who]
    done = subprocess.run([*command, KERNELS, group], env=poold.env, capture_output=True, text=True, cwd=bench.folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def measure_group(bench, group, modules):
    rounds = bench.count(30, 2)
    best = {}
    with bench.poold(f"[pool:default]\nsize = 1\nmodules = {', '.join(modules)}\n") as poold:
        for number, turn in shuffled_turns(["python3", "poolctl"], rounds):
            bench.progress(f"scripts: {group}", number, rounds)
            for who in turn:
                bench.settle(poold, "default")
                for kernel, seconds in run(bench, poold, who, group).items():
                    best.setdefault(kernel, {}).setdefault(who, []).append(min(seconds))
    return best


def measure(bench):
    return {"groups": {group: measure_group(bench, group, modules) for group, modules in MODULES.items()}}


def tables(results):
    lines = []
    for group, kernels in results["groups"].items():
        for kernel, taken in kernels.items():
            cold = [1e6 * seconds for seconds in taken["python3"]]
            # How far python3 is from itself tells what a difference is worth.
            noise = (percentile(cold, 75) - percentile(cold, 25)) / median(cold)
            lines.append([group, kernel, ms(median(cold)), paired_ratio(taken["poolctl"], taken["python3"]), f"{noise:.3f}"])
    return table(["group", "kernel", "`python3`", "warm / cold", "python3's quartiles apart"], lines)
