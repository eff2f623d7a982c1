"""Scale: 1 to 500 idle workers, 1 to 50 pools, 0 to 1,000 waiting clients. What does a run cost among so many?

Each is compared with a poold of one pool with one idle worker and nobody waiting, in turns. Measured are the run as its
client sees it; the handoff as poold sees it, from the accepted connection to the worker that has the run; and the CPU
time of poold itself, the replacement of the worker included.
"""

import contextlib
import os
import signal

import harness
from sampling import cpu_ns_of, memory_of, shuffled_turns

LEVELS = {
    "idle workers": (1, 10, 100, 500),
    "pools": (1, 10, 50),
    "waiting clients": (0, 10, 100, 1000),
}
PAUSE = 0.1
MISSED = 125
ONE = "[pool:default]\nsize = 1\n"


def ini(what, level):
    if what == "idle workers":
        return f"[poold]\nmax_starting = 4\n[pool:default]\nsize = {level}\nmax_workers = {level + 16}\n"
    if what == "pools":  # of which none but the last suits the run
        others = "".join(f"[pool:p{n}]\nsize = 1\noptions = -O\n" for n in range(level - 1))
        return others + ONE
    return ONE + "[pool:full]\nsize = 1\nmax_workers = 1\non_empty = wait\nwait_timeout = 86400\n"


@contextlib.contextmanager
def crowded(bench, poold, what, level):
    """Has so many clients wait for a pool whose only worker is busy, if it is those that are wanted."""
    if what != "waiting clients" or not level:
        yield
        return
    holder = poold.popen("--pool=full", "-c", "import sys; sys.stdin.read()")
    harness.eventually("the pool to be busy", lambda: poold.pool("full")["busy"])
    with bench.sampler(poold) as waiting:
        waiting.ask("crowd", level, level, 600_000_000, poold.program("poolctl"), "run", "--pool=full", "-c", "")
        harness.eventually("clients to wait", lambda: poold.pool("full")["waiting"] == level)
        try:
            yield
        finally:
            for pid in harness.children_of(waiting.process.pid):
                os.kill(pid, signal.SIGKILL)
            waiting.answer()
            holder.communicate()


def handoff_us(poold):
    return poold.pool()["handoff_us"]


def measure_level(bench, what, level):
    rounds = bench.count(150, 5)
    with contextlib.ExitStack() as stack:
        bench.progress(f"scale: {level} {what}, warming up")
        pools = {"one": stack.enter_context(bench.poold(ONE)),
                 "many": stack.enter_context(bench.poold(ini(what, level)))}
        stack.enter_context(crowded(bench, pools["many"], what, level))
        samplers = {who: stack.enter_context(bench.sampler(poold)) for who, poold in pools.items()}
        results = {who: {"us": [], "missed": 0} for who in pools}
        command = [pools["one"].program("poolctl"), "run", "--no-fallback", "-c", ""]
        cpu_before = {who: cpu_ns_of(poold.pid) for who, poold in pools.items()}
        for number, turn in shuffled_turns(list(pools), rounds):
            bench.progress(f"scale: {level} {what}", number, rounds)
            for who in turn:
                (sample,) = samplers[who].row(command, 1, PAUSE)
                if sample.status == MISSED:
                    results[who]["missed"] += 1
                    continue
                assert sample.status == 0, sample
                results[who]["us"].append(round(sample.end_ns / 1000, 1))
        for who, poold in pools.items():
            poold.wait_idle()
            results[who]["cpu_us_per_run"] = round((cpu_ns_of(poold.pid) - cpu_before[who]) / 1000 / rounds, 2)
            results[who]["memory"] = memory_of(poold.pid)
            results[who]["handoff_us"] = handoff_us(poold)
    return results


def measure(bench):
    return {what: {str(level): measure_level(bench, what, level) for level in bench.some(levels)}
            for what, levels in LEVELS.items()}
