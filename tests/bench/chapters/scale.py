"""Scale: 1 to 500 idle workers, 1 to 50 pools, 0 to 1,000 waiting clients. What does a run cost among so many?

Each, one by one, is compared with a poold of one pool with one idle worker and nobody waiting, in turns. Measured are the
run as its client sees it; the handoff as poold sees it, from the accepted connection to the worker that has the run; and
the CPU time of poold itself, the replacement of the worker included. How much of that is the handover alone is measured
while nothing can be replaced, since the two workers that may warm up at once are kept from ending that.
"""

import contextlib
import os
import signal
import subprocess
import time

import harness
from sampling import cpu_ns_of, expect_success, median, memory_of, shuffled_turns
from tables import number, ratio, spread, table

LEVELS = {
    "idle workers": (1, 10, 100, 500),
    "pools": (1, 10, 50),
    "waiting clients": (0, 10, 100, 1000),
}
PAUSE = 0.1
WAITED = 2  # seconds: bench-floor's workers have waited like poold's
MISSED = 125
ONE = "[pool:default]\nsize = 1\n"


def ini(what, level):
    if what == "idle workers":
        return f"[pool:default]\nsize = {level}\nmax_workers = {level + 16}\n"
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
        time.sleep(1)  # the last ones are replaced; to ask poold whether they are costs it CPU time
        for who, poold in pools.items():
            results[who]["cpu_us_per_run"] = round((cpu_ns_of(poold.pid) - cpu_before[who]) / 1000 / rounds, 2)
            results[who]["memory"] = memory_of(poold.pid)
            results[who]["handoff_us"] = handoff_us(poold)
    return results


GATE = """
import os, time
while os.path.exists({!r}):
    time.sleep(0.05)
"""


def measure_cpu(bench):
    """poold's CPU time per run, handover and end of the run alone, and with the replacement; and what bench-floor has."""
    rounds, runs = bench.count(5, 1), bench.count(60, 6)
    results = {"handover_us": [], "with_replacement_us": [], "floor_us": [], "floor_of_new_us": []}
    closed = bench.folder / "closed"
    (bench.folder / "gate").mkdir()
    (bench.folder / "gate/gate.py").write_text(GATE.format(str(closed)))
    ini = f"[pool:default]\nsize = {runs}\nmax_workers = {2 * runs}\nmodules = gate\npath = {bench.folder / 'gate'}\n"
    with bench.poold(ini) as poold, bench.sampler(poold) as sampler:
        command = [poold.program("poolctl"), "run", "--no-fallback", "-c", ""]
        for number_of_round in range(rounds):
            bench.progress("scale: poold's CPU time", number_of_round, rounds)
            poold.wait_idle()
            closed.touch()
            keepers = set(harness.children_of(poold.pid))
            before = cpu_ns_of(poold.pid)
            expect_success(command, sampler.row(command, runs))
            harness.eventually("the workers to end", lambda: not keepers & set(harness.children_of(poold.pid)))
            handed_over = cpu_ns_of(poold.pid)
            closed.unlink()
            time.sleep(bench.count(6, 2))
            replaced = cpu_ns_of(poold.pid)
            results["handover_us"].append(round((handed_over - before) / 1000 / runs, 2))
            results["with_replacement_us"].append(round((replaced - before) / 1000 / runs, 2))
            for floor, waited in (("floor_us", WAITED), ("floor_of_new_us", 0)):
                results[floor].append(float(subprocess.check_output([bench.floor, str(runs), str(waited)], timeout=60)))
    return results


def measure(bench):
    return {"cpu": measure_cpu(bench),
            "levels": {what: {str(level): measure_level(bench, what, level) for level in bench.some(levels)}
                       for what, levels in LEVELS.items()}}


def tables(results):
    lines = []
    for what, levels in results["levels"].items():
        for level, row in levels.items():
            one, many = row["one"], row["many"]
            lines.append([f"{int(level):,} {what}", *spread(many["us"]), ratio(many["us"], one["us"]),
                          *(number(many["handoff_us"][part], " µs") for part in ("p50", "p99")),
                          number(many["handoff_us"]["p50"] / one["handoff_us"]["p50"]),
                          number(many["cpu_us_per_run"], " µs"), number(many["cpu_us_per_run"] / one["cpu_us_per_run"]),
                          number(many["memory"]["pss_kb"] / 1024, " MB"), many["missed"]])
    cpu = results["cpu"]
    return table(["", "run, median", "99 %", "× one", "handoff, median", "99 %", "× one", "poold's CPU per run", "× one",
                  "its memory", "found no spare"], lines) + (
        f"\npoold's CPU time per run: {number(median(cpu['handover_us']))} µs for the handover and the run's end, "
        f"{number(median(cpu['with_replacement_us']))} µs with the worker's replacement. A server that makes the same "
        f"system calls for a handover and an end, and does nothing else: {number(median(cpu['floor_us']))} µs with workers "
        f"that have waited for {WAITED} s, as poold's have, {number(median(cpu['floor_of_new_us']))} µs with new ones.\n"
        "\nHandoffs are counted in steps of 10 µs from 100 µs on.\n")
