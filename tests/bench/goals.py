"""The goals: what was measured of each, and whether it is met. All are ratios within one run, or counts."""

from statistics import geometric_mean

from chapters import latency
from sampling import median, paired_interval, percentile, ratio_interval
from tables import number, paired_ratio, ratio, table

FLOOR, COLD, WARM, FORKED = latency.FLOOR, latency.COLD, latency.WARM, latency.FORKED


class Missing(Exception):
    """What a goal needs was not measured."""


class NoSpares(Exception):
    """Too many runs found no spare: those that did say nothing of what users would have."""


MISSED_AT_MOST = 0.02


def expect_spares(missed, found):
    if missed > MISSED_AT_MOST * (missed + found):
        raise NoSpares(f"{missed} of {missed + found} runs found no spare")


def chapter(results, name):
    try:
        return results["chapters"][name]
    except KeyError:
        raise Missing from None


def samples_of(results, script, distance, where, who):
    row = latency.find(chapter(results, "latency"), script, distance, where, who)
    if not row:
        raise Missing
    expect_spares(row["missed"], len(row["end_us"]))
    if not row["end_us"]:
        raise Missing
    return row


def ends(*what):
    return samples_of(*what)["end_us"]


def of_medians(values, base):
    return ratio_interval(values, base)[0]


def empty_median(results):
    warm, floor = (ends(results, "empty", "apart", "pipe", who) for who in (WARM, FLOOR))
    return ratio(warm, floor), of_medians(warm, floor) <= 1.6


def empty_tail(results):
    floor, cold = (ends(results, "empty", "apart", "pipe", who) for who in (FLOOR, COLD))
    row = samples_of(results, "empty", "apart", "pipe", WARM)
    warm = row["end_us"] + row["missed"] * [median(cold)]  # what a user has who finds no spare
    tails = [percentile(values, 99) / median(values) for values in (warm, floor)]
    return f"{number(tails[0])} (`/bin/true`: {number(tails[1])})", tails[0] <= 3


def torch_floor(results):
    warm, floor = (ends(results, "torch", "apart", "pipe", who) for who in (WARM, FLOOR))
    return ratio(warm, floor), of_medians(warm, floor) <= 2.5


def torch_cold(results):
    warm, cold = (ends(results, "torch", "apart", "pipe", who) for who in (WARM, COLD))
    return ratio(cold, warm), of_medians(cold, warm) >= 400


def torch_in_a_row(results):
    warm, floor = (ends(results, "torch", "back to back", "pipe", who) for who in (WARM, FLOOR))
    return ratio(warm, floor), of_medians(warm, floor) <= 5


def terminal(results):
    more = {distance: (median(ends(results, "torch", distance, "terminal", WARM)) -
                       median(ends(results, "torch", distance, "pipe", WARM))) / 1000
            for distance in ("apart", "back to back")}
    return ", ".join(f"{distance} {number(value)} ms" for distance, value in more.items()), max(more.values()) <= 1


def saturated(script):
    def measure(results):
        rows = chapter(results, "burst")["saturation"][script]
        cold, warm = (rows[who]["per_second"] for who in (COLD, WARM))
        return paired_ratio(warm, cold), paired_interval(warm, cold)[0] >= 0.97
    return measure


def fork_server(results):
    forked, warm = (ends(results, "torch", "apart", "pipe", who) for who in (FORKED, WARM))
    row = [ends(results, "torch", "back to back", "pipe", who) for who in (FORKED, WARM)]
    return f"{ratio(forked, warm)}; back to back {ratio(*row)}", of_medians(forked, warm) >= 3


def kernel_ratios(results):
    return {f"{group}: {kernel}": paired_interval(taken["poolctl"], taken["python3"])[0]
            for group, kernels in chapter(results, "scripts")["groups"].items() for kernel, taken in kernels.items()}


def scripts_mean(results):
    mean = geometric_mean(kernel_ratios(results).values())
    return f"{mean:.3f}", mean <= 1.03


def scripts_worst(results):
    name, worst = max(kernel_ratios(results).items(), key=lambda item: item[1])
    return f"{worst:.3f} ({name})", worst <= 1.08


def interference(results):
    taken = chapter(results, "interference")["took_s"]
    kinds = taken[max(taken, key=int)]
    taken = kinds["refilling"], kinds["quiet"]
    return paired_ratio(*taken), paired_interval(*taken)[0] <= 1.05


def poold_cpu(results):
    cpu = chapter(results, "scale")["cpu"]
    return (f"{number(median(cpu['handover_us']))} µs (its system calls alone: {number(median(cpu['floor_us']))} µs); "
            f"{number(median(cpu['with_replacement_us']))} µs with the worker's replacement", median(cpu["handover_us"]) < 60)


def poold_wakeups(results):
    idle = chapter(results, "memory")["idle"]
    woken = ", ".join(f"{kind} {count}" for kind, count in idle["wakeups"].items())
    return f"{woken} in {idle['seconds']} s", not any(idle["wakeups"].values())


def poold_memory(results):
    sets = chapter(results, "memory")["sets"]
    most = max(memory["pss_kb"] for sizes in sets.values() for kinds in sizes.values() for memory in kinds["poold"])
    return f"{number(most / 1024)} MB", most < 6 * 1024


def scale(what, level):
    def measure(results):
        levels = chapter(results, "scale")["levels"][what]
        row = levels.get(str(level))
        if not row:
            raise Missing
        for who in row.values():
            expect_spares(who["missed"], len(who["us"]))
        value = of_medians(row["many"]["us"], row["one"]["us"])
        handoffs = [row[who]["handoff_us"]["p50"] for who in ("many", "one")]
        handoff = handoffs[0] / handoffs[1]
        return (f"{number(handoff)}; the whole run {ratio(row['many']['us'], row['one']['us'])}",
                handoff <= 1.5 and value <= 1.5)
    return measure


GOALS = [  # what, goal, measured by
    ("empty script, warm, median", "at most 1.6 × `/bin/true`", empty_median),
    ("its 99th percentile", "at most 3 × its median", empty_tail),
    ("torch script, warm, 0.5 s apart", "at most 2.5 × `/bin/true`", torch_floor),
    ("the same", "at least 400 × faster than `python3`", torch_cold),
    ("torch script, back to back until the pool of 16 is empty", "median at most 5 × `/bin/true`", torch_in_a_row),
    ("torch script under a terminal", "at most 1 ms more", terminal),
    ("saturated, empty script", "throughput at least 0.97 of `python3`'s", saturated("empty")),
    ("saturated, numpy", "the same", saturated("numpy")),
    ("saturated, torch", "the same", saturated("torch")),
    ("fork server, torch", "poold at least 3 × faster per warm run", fork_server),
    ("scripts afterwards, geometric mean", "at most 1.03 × `python3`'s time", scripts_mean),
    ("scripts afterwards, the worst", "at most 1.08 ×", scripts_worst),
    ("a run on all CPUs while the pool refills", "at most 1.05 ×", interference),
    ("poold's own CPU per run, handover and end", "under 60 µs", poold_cpu),
    ("an idle poold's wake-ups", "none", poold_wakeups),
    ("poold's memory", "under 6 MB", poold_memory),
    ("handoff with 500 idle workers", "at most 1.5 × that with one", scale("idle workers", 500)),
    ("handoff with 50 pools", "at most 1.5 × that with one", scale("pools", 50)),
    ("handoff with 1,000 waiting clients", "at most 1.5 × that with none", scale("waiting clients", 1000)),
]


def goals_table(results):
    rows = []
    for what, goal, measure in GOALS:
        try:
            text, is_met = measure(results)
            rows.append([what, goal, text, "yes" if is_met else "**no**"])
        except Missing:
            rows.append([what, goal, "not measured", ""])
        except NoSpares as no_spares:
            rows.append([what, goal, str(no_spares), "**no**"])
    return table(["what", "goal", "measured", "met"], rows)
