"""Markdown tables, and how figures are written in them."""

from sampling import median, paired_interval, percentile, ratio_interval


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines) + "\n"


def number(value, unit=""):
    """Three digits that count."""
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}{unit}"


def ms(microseconds):
    return number(microseconds / 1000, " ms")


def ratio(values, base):
    """The ratio of the medians and the interval it lies in with 95 %."""
    if not values or not base:
        return "–"
    value, low, high = ratio_interval(values, base)
    return f"{number(value)} ({number(low)}–{number(high)})"


def paired_ratio(values, base):
    """The median of the turns' ratios and the interval it lies in with 95 %. To a thousandth, for it is close to 1."""
    value, low, high = paired_interval(values, base)
    return f"{value:.3f} ({low:.3f}–{high:.3f})"


def spread(values):
    """Median and 99th percentile, of microseconds."""
    if not values:
        return ["–", "–"]
    return [ms(median(values)), ms(percentile(values, 99))]
