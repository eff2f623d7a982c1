"""Plots of the results, each as PNG and SVG. A person should see at a glance what the tables say."""

import matplotlib

matplotlib.use("Agg")
import numpy  # noqa: E402
from matplotlib import pyplot  # noqa: E402

from chapters import latency  # noqa: E402
from sampling import median, paired_interval, ratio_interval  # noqa: E402

# Of the palette that people who see colours otherwise can tell apart (Okabe and Ito), one for each contestant.
COLOURS = {"true": "#999999", "python3": "#d55e00", "poolctl": "#0072b2", "fork server": "#e69f00"}
MORE_COLOURS = ["#009e73", "#cc79a7", "#56b4e9", "#f0e442", "#000000"]
STYLE = {"figure.dpi": 110, "font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10,
         "axes.titleweight": "bold", "legend.frameon": False, "svg.fonttype": "none", "svg.hashsalt": "poold",
         "axes.axisbelow": True, "axes.grid": True, "grid.color": "#dddddd", "grid.linewidth": 0.6}


def colour(who, others=()):
    return COLOURS.get(who) or MORE_COLOURS[sorted(others).index(who) % len(MORE_COLOURS)]


def save(figure, out, name):
    """The SVG says nothing of when it was made, so that the same results make the same file."""
    figure.savefig(out / f"{name}.png", bbox_inches="tight")
    figure.savefig(out / f"{name}.svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    return f"{name}.svg"


def milliseconds(axis):
    axis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:g}"))


def plot_latency(results):
    """Median and 99th percentile of each script's time, by contestant."""
    scripts = list(results["rows"])
    whos = [who for who in ("true", "poolctl", "fork server", *results["peers"], "python3")
            if any(latency.find(results, script, "apart", "pipe", who) for script in scripts)]
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.8), sharey=True, constrained_layout=True)
    for axis, distance in zip(axes, ("apart", "back to back")):
        width = 0.8 / len(whos)
        for number, who in enumerate(whos):
            rows = [latency.find(results, script, distance, "pipe", who) for script in scripts]
            at = [place + (number - (len(whos) - 1) / 2) * width for place, row in enumerate(rows) if row and row["end_us"]]
            ends = [numpy.array(row["end_us"]) / 1000 for row in rows if row and row["end_us"]]
            medians = [numpy.median(end) for end in ends]
            axis.bar(at, medians, width * 0.92, color=colour(who, results["peers"]), label=who)
            tails = [numpy.percentile(end, 99) - numpy.median(end) for end in ends]
            axis.errorbar(at, medians, [[0] * len(ends), tails], fmt="none", ecolor="#333333", elinewidth=0.8, capsize=2)
        axis.set_yscale("log")
        axis.set_ylim(bottom=0.3)
        axis.set_xticks(range(len(scripts)), scripts)
        axis.grid(axis="x", visible=False)
        axis.set_title({"apart": "runs 0.5 s apart", "back to back": "runs back to back"}[distance])
        milliseconds(axis.yaxis)
    axes[0].set_ylabel("ms from exec to exit: median, and 99 %")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="upper center", ncol=len(whos),
                  bbox_to_anchor=(0.5, 1.09))
    return figure


def plot_distribution(results):
    """How many of the runs took no longer than that."""
    scripts = list(results["rows"])
    figure, axes = pyplot.subplots(1, len(scripts), figsize=(2.4 * len(scripts), 2.9), sharey=True, constrained_layout=True)
    for axis, script in zip(numpy.atleast_1d(axes), scripts):
        for where, line in (("pipe", "-"), ("terminal", "--")):
            for who in ("true", "poolctl"):
                row = latency.find(results, script, "apart", where, who)
                if row and row["end_us"]:
                    times = numpy.sort(row["end_us"]) / 1000
                    axis.step(times, numpy.arange(1, len(times) + 1) / len(times) * 100, line, where="post", color=colour(who),
                              label=f"{who}, {where}")
        axis.set_xscale("log")
        axis.set_title(script)
        axis.xaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_minor_locator(matplotlib.ticker.NullLocator())
        milliseconds(axis.xaxis)
        axis.set_xlabel("ms")
    first = numpy.atleast_1d(axes)[0]
    first.set_ylabel("% of the runs, apart")
    first.set_ylim(0, 101)
    figure.legend(*first.get_legend_handles_labels(), loc="upper center", ncol=4, bbox_to_anchor=(0.5, 1.12))
    return figure


def plot_stages(results):
    """Where the time of a warm run goes."""
    scripts = list(results["stages"])
    figure, axis = pyplot.subplots(figsize=(10, 3.4), constrained_layout=True)
    colours = pyplot.get_cmap("tab20")
    left = numpy.zeros(len(scripts))
    for number, stage in enumerate(latency.STAGES):
        took = numpy.array([median(results["stages"][script][stage] or [0]) / 1000 for script in scripts])
        axis.barh(scripts, took, 0.7, left=left, color=colours(number % 20), label=stage, edgecolor="white", linewidth=0.4)
        left += took
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("ms, the medians of each stage")
    axis.legend(bbox_to_anchor=(1.01, 1.02), loc="upper left", fontsize=7)
    return figure


def plot_bursts(results):
    """How long a burst takes, by its size and the pool's."""
    names = list(results["bursts"])
    figure, axes = pyplot.subplots(1, len(names), figsize=(5 * len(names), 3.6), constrained_layout=True)
    for axis, name in zip(numpy.atleast_1d(axes), names):
        sizes = results["bursts"][name]
        shades = pyplot.get_cmap("Blues")(numpy.linspace(0.4, 1, len(sizes)))
        cold = {}
        for shade, (size, of) in zip(shades, sizes.items()):
            numbers = sorted(of["poolctl"], key=int)
            axis.plot([int(at_once) for at_once in numbers], [median(of["poolctl"][at_once]["ms"]) for at_once in numbers], "o-",
                      color=shade, markersize=3, label=f"poolctl, a pool of {size}")
            for at_once, row in of["python3"].items():
                cold.setdefault(int(at_once), []).extend(row["ms"])
        axis.plot(sorted(cold), [median(cold[at_once]) for at_once in sorted(cold)], "s--", color=COLOURS["python3"],
                  markersize=3, label="python3")
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks(sorted(cold), [str(at_once) for at_once in sorted(cold)])
        milliseconds(axis.yaxis)
        axis.set_xlabel("runs at once")
        axis.set_ylabel("ms until the last has ended")
        axis.set_title(f"the {name} script")
        axis.legend(fontsize=7)
    return figure


def plot_saturation(results):
    """Throughput with more runs than spares, as a share of python3's."""
    figure, axis = pyplot.subplots(figsize=(5, 2.2), constrained_layout=True)
    names = list(results["saturation"])
    for place, name in enumerate(names):
        rows = results["saturation"][name]
        value, low, high = paired_interval(rows["poolctl"]["per_second"], rows["python3"]["per_second"])
        axis.barh(place, value, 0.6, color=COLOURS["poolctl"])
        axis.errorbar(value, place, xerr=error_bars(value, low, high), color="#333333", capsize=2)
    axis.axvline(1, color=COLOURS["python3"], linewidth=1, label="python3")
    axis.axvline(0.97, color="#333333", linewidth=1, linestyle=":", label="the goal, 0.97")
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("runs per second / python3's")
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def error_bars(values, low, high):
    """What is below and above them, as errorbar() wants it. A bootstrap's interval need not have the value in it."""
    values = numpy.atleast_1d(values)
    return numpy.maximum([values - low, high - values], 0)


def exactly(value):
    """A ratio without an interval."""
    return value, value, value


def plot_scale(results):
    """The cost of a run among many, as a multiple of that among one."""
    levels = results["levels"]
    figure, axes = pyplot.subplots(1, len(levels), figsize=(3.4 * len(levels), 3), sharey=True, constrained_layout=True)
    for axis, (what, rows) in zip(numpy.atleast_1d(axes), levels.items()):
        at = range(len(rows))
        lines = {
            "the run, for its client": [ratio_interval(row["many"]["us"], row["one"]["us"]) for row in rows.values()],
            "handoff, for poold": [exactly(row["many"]["handoff_us"]["p50"] / row["one"]["handoff_us"]["p50"])
                                   for row in rows.values()],
            "poold's CPU time": [exactly(row["many"]["cpu_us_per_run"] / row["one"]["cpu_us_per_run"])
                                 for row in rows.values()],
        }
        for (label, values), shade in zip(lines.items(), ("#0072b2", "#009e73", "#cc79a7")):
            middle, low, high = numpy.array(values).T
            axis.errorbar(at, middle, error_bars(middle, low, high), fmt="o-", markersize=3, capsize=2, color=shade,
                          label=label)
        axis.axhline(1.5, color="#333333", linewidth=1, linestyle=":", label="the goal, 1.5")
        axis.set_xticks(at, [f"{int(level):,}" for level in rows])
        axis.set_xlabel(what)
    first = numpy.atleast_1d(axes)[0]
    first.set_ylim(bottom=0)
    first.set_ylabel("× one worker, one pool, none waiting")
    first.legend(fontsize=7)
    return figure


def plot_scripts(results):
    """Each kernel's time in a worker, as a multiple of that in python3."""
    rows = [(f"{group}: {kernel}", *paired_interval(taken["poolctl"], taken["python3"]))
            for group, kernels in results["groups"].items() for kernel, taken in kernels.items()]
    names, values, low, high = zip(*rows)
    values, low, high = map(numpy.array, (values, low, high))
    figure, axis = pyplot.subplots(figsize=(6.5, 0.22 * len(rows) + 0.9), constrained_layout=True)
    places = numpy.arange(len(rows))
    axis.errorbar(values, places, xerr=error_bars(values, low, high), fmt="o", markersize=4,
                  capsize=2, color=COLOURS["poolctl"])
    axis.axvline(1, color=COLOURS["python3"], linewidth=1, label="python3")
    axis.axvline(1.08, color="#333333", linewidth=1, linestyle=":", label="the goal for each, 1.08")
    axis.set_yticks(places, names)
    axis.invert_yaxis()
    axis.set_xlabel("warm / cold, with the interval that it lies in with 95 %")
    axis.legend(fontsize=7, loc="best")
    return figure


def plot_interference(results):
    """Each sample: what refilling does to a run."""
    took = results["took_s"]
    kinds = {"python3": "python3", "refilling": "warm,\nrefilling"}
    figure, axes = pyplot.subplots(1, len(took), figsize=(3.6 * len(took), 2.8), sharey=True, squeeze=False,
                                   constrained_layout=True)
    generator = numpy.random.default_rng(1)
    for axis, (cpus, of) in zip(axes[0], took.items()):
        for place, kind in enumerate(kinds):
            values = numpy.divide(of[kind], of["quiet"])
            axis.plot(place + generator.uniform(-0.15, 0.15, len(values)), values, "o", markersize=3, alpha=0.6,
                      color=COLOURS["python3"] if kind == "python3" else COLOURS["poolctl"])
            axis.hlines(numpy.median(values), place - 0.3, place + 0.3, color="#333333", linewidth=1.5)
        axis.axhline(1.05, color="#333333", linewidth=1, linestyle=":", label="the goal, 1.05")
        axis.set_xticks(range(len(kinds)), kinds.values(), fontsize=8)
        axis.set_title(f"a run on {cpus} CPU{'s' if int(cpus) > 1 else ''}")
        axis.grid(axis="x", visible=False)
    axes[0][0].set_ylabel("time, × that of the same\nturn’s “nothing to refill”")
    axes[0][0].legend(fontsize=7)
    return figure


def plot_memory(results):
    """Of an idle worker among several, what is its own and its share of the rest."""
    figure, axis = pyplot.subplots(figsize=(5, 2.2), constrained_layout=True)
    sets = {name: sizes[max(sizes, key=int)]["worker"] for name, sizes in results["sets"].items()}
    private = numpy.array([median([memory["private_kb"] for memory in workers]) / 1024 for workers in sets.values()])
    pss = numpy.array([median([memory["pss_kb"] for memory in workers]) / 1024 for workers in sets.values()])
    axis.barh(list(sets), private, 0.6, color="#0072b2", label="its own")
    axis.barh(list(sets), pss - private, 0.6, left=private, color="#56b4e9", label="its share of what is shared (PSS)")
    for place, value in enumerate(pss):
        axis.text(value, place, f" {value:.0f} MB", va="center", fontsize=8)
    axis.invert_yaxis()
    axis.set_xlim(right=pss.max() * 1.15)
    axis.grid(axis="y", visible=False)
    axis.set_xlabel("MB for each idle worker")
    axis.legend(fontsize=7, loc="upper right")
    return figure


PLOTS = {  # chapter: name to function
    "latency": {"latency": plot_latency, "distribution": plot_distribution, "stages": plot_stages},
    "burst": {"bursts": plot_bursts, "saturation": plot_saturation},
    "scale": {"scale": plot_scale},
    "scripts": {"scripts": plot_scripts},
    "interference": {"interference": plot_interference},
    "memory": {"memory": plot_memory},
}


def draw(name, chapter, out):
    """Draws the plots of a chapter. Returns the names of the files, to be shown in the report."""
    with pyplot.rc_context(STYLE):
        return [save(draw_one(chapter), out, file) for file, draw_one in PLOTS[name].items()]
