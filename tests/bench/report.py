"""What was measured, for people: report.md, with the goals and a table or more for each chapter, and the plots."""

import goals
import plots


def about(machine):
    modules = ", ".join(f"{name} {version}" for name, version in machine["modules"].items() if version)
    return (f"{machine['time']}: {machine['cpus']} CPUs ({machine['cpu']}), {machine['memory_kb'] // 1024:,} MB, "
            f"Linux {machine['kernel']}, CPython {machine['python']}, {modules}; {machine['poold']}; "
            f"load at the start {machine['load']:.2f}")


def unrest(chapter):
    """What others took of the machine meanwhile, as far as it can be known."""
    return f"it took {chapter['seconds']} s, and {chapter['stolen']:.1%} of the CPUs' time was stolen by other machines"


def write(results, out, chapters):
    measured = {name: results["chapters"][name] for name in chapters if name in results["chapters"]}
    lines = ["# poold beside what else there is", ""]
    if any(chapter["machine"]["quick"] for chapter in measured.values()):
        lines += ["**Of few samples: this shows that the bench works, and no more.**", ""]
    lines += ["Times of one table are from one run on one machine, taken in turns where they are compared. Ratios are of "
              "medians; those of saturation, scripts and interference, to a thousandth, are the median of the ratios within "
              "each turn. In brackets is the interval that they lie in with 95 %, by bootstrap.", "", "## Goals", "",
              goals.goals_table(results)]
    for name, chapter in measured.items():
        title, _, rest = chapters[name].__doc__.partition("\n")
        heading, _, title = title.partition(": ")
        lines += [f"## {heading}", "", title[:1].upper() + title[1:], "", rest.strip(), ""]
        lines += [chapters[name].tables(chapter)]
        for plot in plots.draw(name, chapter, out):
            lines += [f"![{heading}]({plot})", ""]
        lines += [f"Measured {about(chapter['machine'])}; {unrest(chapter)}.", ""]
    (out / "report.md").write_text("\n".join(lines))
