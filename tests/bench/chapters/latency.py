"""Latency: from exec to the first output and to the end, of scripts that import nothing, numpy, pandas, torch.

Apart: each run half a second after the one before, whatever that was, so that all are hit alike by poold's refills. Back
to back: rows of as many runs as the pool of 16 has spares. On a pipe, and as a shell's job on a terminal.
"""

from sampling import expect_success, median, shuffled_turns
from tables import number, ratio, spread, table

SCRIPTS = {  # name: what is imported, the script
    "empty": ([], ""),
    "print": ([], "print('hello')\n"),
    "numpy": (["numpy"], "import numpy; print(numpy.__version__)\n"),
    "pandas": (["pandas"], "import pandas; print(pandas.__version__)\n"),
    "torch": (["torch"], "import torch; print(torch.__version__)\n"),
}
PAUSE = 0.5
SPARES_APART = 4
SPARES_IN_A_ROW = 16
COLD_EVERY = {"pandas": 2, "torch": 5}  # a sample is long: fewer will do
FLOOR, COLD, WARM, FORKED = "true", "python3", "poolctl", "fork server"
MISSED = 125  # poolctl's status with --no-fallback


def pool(modules, size):
    return f"[pool:default]\nsize = {size}\nmax_workers = {4 * size}\nmodules = {', '.join(modules)}\n"


def commands(bench, poold, fork_client, script, terminal):
    """What is compared: name to command."""
    warm = [poold.program("poolctl"), "run", "--no-fallback"]
    found = {FLOOR: ["/bin/true"], COLD: [bench.python, script], WARM: [*warm, script]}
    if terminal:
        return found | {"poolctl --tty=direct": [*warm, "--tty=direct", script]}
    found[FORKED] = [*fork_client, script]
    return found | {name: [*command, script] for name, command in bench.peer_commands().items()}


class Row:
    """The samples of one command. A run that found no spare is none, but is counted."""

    def __init__(self):
        self.first_us, self.end_us, self.missed = [], [], 0

    def add(self, command, samples):
        self.missed += sum(sample.status == MISSED for sample in samples)
        samples = [sample for sample in samples if sample.status != MISSED]
        expect_success(command, samples)
        self.first_us += [round(sample.first_ns / 1000, 1) for sample in samples if sample.first_ns]
        self.end_us += [round(sample.end_ns / 1000, 1) for sample in samples]


def compare_output(bench, poold, script):
    """What is fast must also be right."""
    cold, warm = poold.python3(script), poold.run(script)
    assert (cold.stdout, cold.stderr, cold.returncode) == (warm.stdout, warm.stderr, warm.returncode), (cold, warm)
    poold.wait_idle()


def measure_apart(bench, poold, name, script, fork_client):
    rounds = bench.count(100)
    with bench.sampler(poold) as pipe, bench.sampler(poold, terminal=True) as terminal:
        contestants = {("pipe", who): (pipe, command)
                       for who, command in commands(bench, poold, fork_client, script, False).items()}
        contestants |= {("terminal", who): (terminal, command)
                        for who, command in commands(bench, poold, fork_client, script, True).items()}
        rows = {key: Row() for key in contestants}
        every = {(where, COLD): COLD_EVERY.get(name, 1) for where in ("pipe", "terminal")}
        for sampler, command in contestants.values():
            sampler.row(command)  # what is read for the first time is no sample
        for number, turn in shuffled_turns(list(contestants), rounds, every):
            bench.progress(f"latency: {name}, apart", number, rounds)
            for key in turn:
                sampler, command = contestants[key]
                rows[key].add(command, sampler.row(command, 1, bench.count(PAUSE, 0.1)))
    return rows


def measure_in_a_row(bench, poold, name, script, fork_client):
    rounds = bench.count(8, 1)
    with bench.sampler(poold) as pipe, bench.sampler(poold, terminal=True) as terminal:
        contestants = {("pipe", who): (pipe, command)
                       for who, command in commands(bench, poold, fork_client, script, False).items()}
        contestants |= {("terminal", who): (terminal, command)
                        for who, command in commands(bench, poold, fork_client, script, True).items()
                        if who in (FLOOR, WARM)}
        rows = {key: Row() for key in contestants}
        for number, turn in shuffled_turns(list(contestants), rounds):
            bench.progress(f"latency: {name}, back to back", number, rounds)
            for key in turn:
                sampler, command = contestants[key]
                poold.wait_idle()
                count = 3 if key[1] == COLD and name in COLD_EVERY else bench.count(SPARES_IN_A_ROW)
                rows[key].add(command, sampler.row(command, count, 0))
    return rows


def as_results(rows, distance):
    return [{"distance": distance, "where": where, "who": who, "first_us": row.first_us, "end_us": row.end_us,
             "missed": row.missed} for (where, who), row in rows.items()]


def measure(bench):
    results = {"rows": {}, "peers": bench.peers}
    for name, (modules, text) in SCRIPTS.items():
        script = bench.script(f"with_{name}.py", text)  # a name that hides no module
        with bench.fork_server(modules) as fork_client:
            bench.progress(f"latency: {name}, warming up")
            with bench.poold(pool(modules, SPARES_APART)) as poold:
                compare_output(bench, poold, script)
                apart = measure_apart(bench, poold, name, script, fork_client)
            with bench.poold(pool(modules, bench.count(SPARES_IN_A_ROW))) as poold:
                in_a_row = measure_in_a_row(bench, poold, name, script, fork_client)
        results["rows"][name] = as_results(apart, "apart") + as_results(in_a_row, "back to back")
    return results


def find(results, script, distance, where, who):
    """The row of these, None if there is none."""
    for row in results["rows"].get(script, ()):
        if (row["distance"], row["where"], row["who"]) == (distance, where, who):
            return row
    return None


def table_of(results, distance, where):
    lines = []
    for script, rows in results["rows"].items():
        floor = find(results, script, distance, where, FLOOR)["end_us"]
        cold = find(results, script, distance, where, COLD)
        for row in rows:
            if (row["distance"], row["where"]) != (distance, where):
                continue
            end = row["end_us"]
            faster = number(median(cold["end_us"]) / median(end)) if cold and end and row["who"] not in (COLD, FLOOR) else ""
            lines.append([script, f"`{row['who']}`", *spread(row["first_us"]), *spread(end),
                          ratio(end, floor) if row["who"] != FLOOR else "1", faster,
                          f"{len(end)}" + (f", {row['missed']} found no spare" if row["missed"] else "")])
    return table(["script", "", "first output, median", "99 %", "end, median", "99 %", "× `/bin/true`",
                  "faster than `python3`", "samples"], lines)


def tables(results):
    text = ""
    for distance in ("apart", "back to back"):
        for where in ("pipe", "terminal"):
            text += f"### {distance.capitalize()}, on a {where}\n\n{table_of(results, distance, where)}\n"
    return text
