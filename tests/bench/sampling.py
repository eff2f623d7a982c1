"""Samples of how long commands take, by sampler.c, and what is said of many of them."""

import json
import os
import random
import select
import subprocess
from collections import namedtuple

import numpy

# Of one run: nanoseconds from its start to its first output (0: there was none) and to its end.
Sample = namedtuple("Sample", "start first_ns end_ns status cpu_ns")

PATIENCE = 600  # seconds


class Sampler:
    """One sampler process, whose children have the environment and folder given here."""

    def __init__(self, program, env, folder, terminal=False):
        words = [program, "terminal"] if terminal else [program]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=folder)

    def ask(self, *words):
        line = "\t".join(map(str, words))
        assert "\n" not in line
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def answer(self, patience=PATIENCE):
        if not select.select([self.process.stdout], [], [], patience)[0]:
            raise TimeoutError(f"a run takes longer than {patience} s")
        line = self.process.stdout.readline()
        if not line:
            raise ChildProcessError("the sampler has ended; what it said is above")
        return [Sample(start, first and first - start, end - start, status, cpu)
                for start, first, end, status, cpu in json.loads(line)]

    def row(self, command, count=1, pause=0):
        """So many runs, one after the other, each after a pause of so many seconds."""
        self.ask("row", count, int(pause * 1e6), *command)
        return self.answer()

    def crowd(self, command, count, at_once, seconds=PATIENCE):
        """So many runs at once, until there were `count`, or no new ones after so many seconds."""
        self.ask("crowd", count, at_once, int(seconds * 1e6), *command)
        return self.answer()

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def expect_success(command, samples):
    failed = [sample.status for sample in samples if sample.status]
    if failed:
        raise ChildProcessError(f"{' '.join(map(str, command))}: {len(failed)} of {len(samples)} runs failed, "
                                f"with status {failed[0]}")


def shuffled_turns(names, rounds, every=None):
    """Each name once a round, or once in `every[name]` rounds, each round in another order, the same ones at each call."""
    order = random.Random(1)
    for number in range(rounds):
        turn = [name for name in names if number % (every or {}).get(name, 1) == 0]
        order.shuffle(turn)
        yield number, turn


def median(values):
    return float(numpy.median(values))


def percentile(values, percent):
    return float(numpy.percentile(values, percent))


def bootstrap(generator, values):
    """The medians of 1,000 draws of as many values."""
    values = numpy.asarray(values, float)
    return numpy.median(generator.choice(values, (1000, len(values))), axis=1)


def with_interval(value, resampled):
    """@value, and where 95 % of what was @resampled lie."""
    low, high = numpy.percentile(resampled, [2.5, 97.5])
    return value, float(low), float(high)


def ratio_interval(values, base):
    """The ratio of the medians, and the interval that it lies in: bootstrap, with the same random numbers at each call."""
    generator = numpy.random.default_rng(1)
    resampled = bootstrap(generator, values) / bootstrap(generator, base)
    return with_interval(median(values) / median(base), resampled)


def paired_interval(values, base):
    """The median of the ratios within each turn, and its interval.

    What the machine does to both of a turn, measured right after each other, is not in it; and where the values come in
    two clusters, as the speed of memory does, it does not jump from one to the other as the median of each does.
    """
    assert len(values) == len(base)
    ratios = numpy.divide(values, base)
    return with_interval(median(ratios), bootstrap(numpy.random.default_rng(1), ratios))


def cpu_ns_of(pid):
    """The CPU time of the process's threads so far, to the nanosecond: schedstat's first number, proc(5)."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as file:
            total += int(file.read().split()[0])
    return total


def switches_of(pid):
    """How often the process has gone to sleep of its own so far, and so was woken."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/status") as file:
            total += next(int(line.split()[1]) for line in file if line.startswith("voluntary_ctxt_switches"))
    return total


def memory_of(pid):
    """{"pss_kb": , "private_kb": } of a process."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        numbers = {line.split()[0]: int(line.split()[1]) for line in file if line.split()[1].isdigit()}
    return {"pss_kb": numbers["Pss:"], "private_kb": numbers["Private_Clean:"] + numbers["Private_Dirty:"]}
