"""Interference: a run that uses the CPUs while the pool refills, beside the same run while there is nothing to refill.

Four workers that import torch are to be replaced when the run begins: its own and three that were taken just before.
The run, which imports torch itself, does a fixed amount of work on one CPU or on all of them, and says how long that
took. poold warms up on CPUs that are idle, or after a while: how many of the four were replaced, or begun to be, right
after the run is said, too, of all turns together.
"""

from sampling import expect_success, median, shuffled_turns
from tables import number, paired_ratio, table

WORK = """
import os, sys, time, torch

def work():
    x = 0
    for i in range({loops}):
        x += i * i

began = time.perf_counter()
children = []
for _ in range(int(sys.argv[1]) - 1):
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    children.append(pid)
work()
for pid in children:
    os.waitpid(pid, 0)
print(time.perf_counter() - began)
"""
KINDS = {"python3": "`python3`", "quiet": "warm, nothing to refill", "refilling": "warm, refilling"}
INI = """
[pool:full]
size = 1
max_workers = 1
modules = torch

[pool:spent]
size = 4
modules = torch
"""


def run(poold, pool, script, cpus):
    done = poold.run("--pool", pool, script, cpus)
    assert done.returncode == 0, done.stderr
    return float(done.stdout)


def sample(bench, poold, sampler, kind, script, cpus):
    bench.settle(poold, "full", "spent")
    if kind == "python3":
        return float(poold.python3(script, cpus).stdout)
    if kind == "refilling":
        spend = [poold.program("poolctl"), "run", "--no-fallback", "--pool=spent", "-c", ""]
        expect_success(spend, sampler.crowd(spend, 3, 3))
    return run(poold, "spent" if kind == "refilling" else "full", script, cpus)


def replacements(poold):
    """(done, begun) in the pool that was spent, right after the run."""
    pool = poold.pool("spent")
    return pool["idle"], pool["starting"]


def measure(bench):
    script = bench.script("work.py", WORK.format(loops=bench.count(15_000_000, 5_000_000)))
    rounds = bench.count(30, 2)
    seconds, replaced = {}, {}
    with bench.poold(INI) as poold, bench.sampler(poold) as sampler:
        cpus = bench.cpus
        for n_cpus in sorted({1, cpus}):
            for number, turn in shuffled_turns(list(KINDS), rounds):
                bench.progress(f"interference: on {n_cpus} of {cpus} CPUs", number, rounds)
                for kind in turn:
                    taken = sample(bench, poold, sampler, kind, script, n_cpus)
                    seconds.setdefault(str(n_cpus), {}).setdefault(kind, []).append(taken)
                    if kind == "refilling":
                        replaced.setdefault(str(n_cpus), []).append(replacements(poold))
    return {"took_s": seconds, "replaced": replaced}


def tables(results):
    lines = []
    for cpus, kinds in results["took_s"].items():
        done, begun = (sum(counts) for counts in zip(*results["replaced"][cpus]))
        replaced = {"refilling": f"{done}, and {begun} begun, in {len(results['replaced'][cpus])} turns"}
        for kind in KINDS:
            ratio = paired_ratio(kinds[kind], kinds["quiet"]) if kind != "quiet" else ""
            lines.append([cpus, KINDS[kind], number(median(kinds[kind]), " s"), ratio, replaced.get(kind, "")])
    return table(["CPUs used", "", "median", "× nothing to refill", "replaced meanwhile"], lines)
