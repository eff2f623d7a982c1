"""Bursts and saturation: many runs at once, 500 in a row, and more than there are spares, in slices of 20 s or more.

What finds no spare falls back to python3, as it does for users. Each is compared with python3 doing the same, the pool
being full before each; in turns, but for the 500, which each does once. A burst takes from the first start to the last
end, and is the median of three. Of a slice, what follows its first quarter counts.
"""

from sampling import expect_success, median, percentile, shuffled_turns
from tables import ms, number, paired_ratio, table

SCRIPTS = {
    "empty": ([], ""),
    "print": ([], "print('hello')\n"),
    "numpy": (["numpy"], "import numpy; print(numpy.__version__)\n"),
    "torch": (["torch"], "import torch; print(torch.__version__)\n"),
}
BURSTS = {  # script: sizes of the pool, how many at once
    "print": ((1, 2, 4, 8, 16, 32), (1, 2, 4, 8, 16, 32, 64, 128, 256)),
    "torch": ((4, 16), (1, 2, 4, 8, 16)),
}
ROW_SIZES = (1, 4, 16, 32)
ROW = 500
SATURATED_SIZE = 4
SATURATED_AT_ONCE = 8
SLICE = {"empty": 20, "numpy": 20, "torch": 40}  # seconds
LEAD = 0.25  # of a slice: until the spares that were there at its beginning have stopped to count


def pool(modules, size):
    return f"[pool:default]\nsize = {size}\nmax_workers = {max(64, 4 * size)}\nmodules = {', '.join(modules)}\n"


def commands(bench, poold, script):
    return {"python3": [bench.python, script], "poolctl": [poold.program("poolctl"), "run", script]}


def counts(poold):
    found = poold.pool()
    return found["hits"], sum(found["misses"].values())


def makespan_ms(samples):
    return round((max(sample.start + sample.end_ns for sample in samples) - min(sample.start for sample in samples)) / 1e6, 3)


def crowd(poold, sampler, command, count, at_once, seconds=600):
    """Returns the samples, and how many of the runs were warm."""
    poold.wait_idle()
    hits = counts(poold)[0]
    samples = sampler.crowd(command, count, at_once, seconds)
    expect_success(command, samples)
    return samples, counts(poold)[0] - hits


def measure_bursts(bench, name, size, numbers):
    modules, text = SCRIPTS[name]
    script = bench.script(f"with_{name}.py", text)
    rounds = bench.count(3, 1)
    results = {}
    with bench.poold(pool(modules, size)) as poold, bench.sampler(poold) as sampler:
        of = commands(bench, poold, script)
        for _, turn in shuffled_turns([(who, number) for who in of for number in numbers], rounds):
            for done, (who, number) in enumerate(turn):
                bench.progress(f"burst: {name}, a pool of {size}", done, len(turn))
                samples, hits = crowd(poold, sampler, of[who], number, number)
                row = results.setdefault(who, {}).setdefault(str(number), {"ms": [], "hits": []})
                row["ms"].append(makespan_ms(samples))
                row["hits"].append(hits)
    return results


def measure_row(bench, size):
    modules, text = SCRIPTS["print"]
    script = bench.script("with_print.py", text)
    count = bench.count(ROW, 20)
    results = {"count": count}
    with bench.poold(pool(modules, size)) as poold, bench.sampler(poold) as sampler:
        for who, command in commands(bench, poold, script).items():
            bench.progress(f"burst: {count} in a row by {who}, a pool of {size}")
            samples, hits = crowd(poold, sampler, command, count, 1)
            results[who] = {"us": [round(sample.end_ns / 1000) for sample in samples], "hits": hits}
    return results


def rate(samples, seconds):
    """Runs per second in the slice, after its lead. Of a run that is only partly in it, that part counts."""
    window = [samples[0].start + part * seconds * 1e9 for part in (LEAD, 1)]
    done = 0
    for sample in samples:
        within = min(sample.start + sample.end_ns, window[1]) - max(sample.start, window[0])
        done += max(within, 0) / sample.end_ns
    return done / (window[1] - window[0]) * 1e9


def measure_saturation(bench, name):
    modules, text = SCRIPTS[name]
    script = bench.script(f"with_{name}.py", text)
    seconds = bench.count(SLICE[name], 4 if name != "torch" else 12)
    rounds = bench.count(5, 1)
    results = {"seconds": seconds, "size": SATURATED_SIZE, "at_once": SATURATED_AT_ONCE}
    with bench.poold(pool(modules, SATURATED_SIZE)) as poold, bench.sampler(poold) as sampler:
        of = commands(bench, poold, script)
        for number, turn in shuffled_turns(list(of), rounds):
            for who in turn:
                bench.progress(f"burst: {name}, saturated by {who}", number, rounds)
                samples, hits = crowd(poold, sampler, of[who], 1_000_000, SATURATED_AT_ONCE, seconds)
                row = results.setdefault(who, {"per_second": [], "hits": [], "runs": []})
                row["per_second"].append(rate(samples, seconds))
                row["hits"].append(hits)
                row["runs"].append(len(samples))
    return results


def measure(bench):
    return {
        "bursts": {name: {str(size): measure_bursts(bench, name, size, bench.some(numbers)) for size in bench.some(sizes)}
                   for name, (sizes, numbers) in BURSTS.items()},
        "rows": {str(size): measure_row(bench, size) for size in bench.some(ROW_SIZES)},
        "saturation": {name: measure_saturation(bench, name) for name in SLICE},
    }


def burst_table(sizes):
    """Of each number at once: how much faster than python3 pools of each size are."""
    lines = []
    for number_at_once in next(iter(sizes.values()))["python3"]:
        line = [number_at_once]
        for of in sizes.values():
            cold, warm = (of[who][number_at_once] for who in ("python3", "poolctl"))
            line.append(f"{ms(1000 * median(warm['ms']))} ({number(median(cold['ms']) / median(warm['ms']))} ×, "
                        f"{median(warm['hits']):.0f} warm)")
        lines.append(line)
    lines.sort(key=lambda line: int(line[0]))
    return table(["at once", *(f"a pool of {size}" for size in sizes)], lines)


def row_table(rows):
    lines = []
    for size, row in rows.items():
        cold, warm = row["python3"]["us"], row["poolctl"]["us"]
        lines.append([size, f"{sum(warm) / 1e6:.2f} s", f"{sum(cold) / 1e6:.2f} s", number(sum(cold) / sum(warm)),
                      ms(median(warm)), ms(percentile(warm, 99)), f"{row['poolctl']['hits']} of {row['count']}"])
    return table(["a pool of", "`poolctl`", "`python3`", "faster", "median", "99 %", "warm"], lines)


def saturation_table(saturation):
    lines = []
    for name, rows in saturation.items():
        cold, warm = (rows[who]["per_second"] for who in ("python3", "poolctl"))
        share = sum(rows["poolctl"]["hits"]) / sum(rows["poolctl"]["runs"])
        lines.append([name, number(median(warm)), number(median(cold)), paired_ratio(warm, cold), f"{share:.0%}"])
    return table(["script", "`poolctl`, runs per second", "`python3`", "ratio", "warm"], lines)


def tables(results):
    text = ""
    for name, sizes in results["bursts"].items():
        text += f"### Bursts of the {name} script\n\n{burst_table(sizes)}\n"
    text += f"### In a row, the print script\n\n{row_table(results['rows'])}\n"
    some = next(iter(results["saturation"].values()))
    text += (f"### Saturated: {some['at_once']} at once, all the time, with a pool of {some['size']}\n\n"
             f"{saturation_table(results['saturation'])}\n")
    return text
