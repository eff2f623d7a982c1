"""Memory: of idle workers by what they have imported, of their keepers and of poold; and what an idle poold does."""

import pathlib
import time

import harness
from sampling import cpu_ns_of, median, memory_of, switches_of
from tables import number, table

MODULES = {"nothing": [], "numpy": ["numpy"], "pandas": ["pandas"], "torch": ["torch"]}
SIZES = (1, 4)


def processes_of(poold):
    """The pids: poold's own, keepers and workers."""
    workers = [worker["pid"] for pool in poold.status()["pools"] for worker in pool["workers"]]
    return {"poold": [poold.pid], "keeper": [harness.parent_of(pid) for pid in workers], "worker": workers}


def total(function, pids):
    return sum(function(pid) for pid in pids)


def measure_idle(bench, poold):
    """What an idle one does, all of its processes. Reading of it does not wake it."""
    seconds = bench.count(30, 5)
    pids = processes_of(poold)
    bench.progress("memory: idle, is it?")
    time.sleep(bench.count(10, 1))  # the warm-ups are over
    before = {kind: (total(switches_of, found), total(cpu_ns_of, found)) for kind, found in pids.items()}
    time.sleep(seconds)
    after = {kind: (total(switches_of, found), total(cpu_ns_of, found)) for kind, found in pids.items()}
    return {"seconds": seconds,
            "wakeups": {kind: after[kind][0] - before[kind][0] for kind in pids},
            "cpu_ns": {kind: after[kind][1] - before[kind][1] for kind in pids}}


def measure(bench):
    results = {"sets": {}}
    for name, modules in MODULES.items():
        for size in SIZES:
            bench.progress(f"memory: {name}, {size} idle")
            with bench.poold(f"[pool:default]\nsize = {size}\nmodules = {', '.join(modules)}\n") as poold:
                results["sets"].setdefault(name, {})[str(size)] = {
                    kind: [memory_of(pid) for pid in pids] for kind, pids in processes_of(poold).items()}
                if name == "nothing" and size == SIZES[-1]:
                    results["idle"] = measure_idle(bench, poold)
                    results["binary_kb"] = pathlib.Path(poold.program("poold")).stat().st_size // 1024
    return results


def mb(memories, key):
    return number(median([memory[key] for memory in memories]) / 1024, " MB")


def tables(results):
    lines = [[name, size, *(mb(kinds[kind], key) for kind in ("worker", "keeper", "poold") for key in ("pss_kb", "private_kb"))]
             for name, sizes in results["sets"].items() for size, kinds in sizes.items()]
    idle = results["idle"]
    return table(["imported", "idle workers", "each: PSS", "private", "its keeper: PSS", "private", "poold: PSS", "private"],
                 lines) + "\nIdle for {} s: ".format(idle["seconds"]) + ", ".join(
        f"{kind} woken {idle['wakeups'][kind]} times, {number(idle['cpu_ns'][kind] / 1000)} µs of CPU time"
        for kind in idle["wakeups"]) + ".\n"
