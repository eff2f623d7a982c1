"""Latency: from exec to the first output and to the end, of scripts that import nothing, numpy, pandas, torch.

Apart: each run half a second after the one before, whatever that was, so that all are hit alike by poold's refills. Back
to back: rows of as many runs as the pool of 16 has spares. On a pipe, and as a shell's job on a terminal. Where the time
goes is from other runs, apart and on a pipe, that note when they reach which stage: $POOLD_TRACE in poolctl(1). The
fork server and other peers are compared on a pipe, and in this chapter only.
"""

import subprocess

import harness
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
STAGES = {  # what is done: the stage that ends it; it begins with the end of the one before
    "poolctl's start, by the kernel": "client",
    "looking at what the run inherits, connecting": "connected",
    "making the request": "asks",
    "waking poold; sending and receiving": "received",
    "poold: choosing a worker": "assigns",
    "waking the worker; sending and receiving": "woken",
    "becoming the client's process, compiling": "compiled",
    "the claim, streams, arguments": "starts",
    "the script": "ended",
    "the end of the script: threads, atexit, objects": "finished",
    "closing its files": "tells",
    "telling and waking poolctl": "ends",
    "poolctl's end, by the kernel": "exit",
}


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


def stages_of(path, sample):
    """The microseconds that each of STAGES took."""
    at = {"exit": sample.start + sample.end_ns}
    for line in harness.eventually("the worker's stages", lambda: path.exists() and "tells " in path.read_text()
                                   and path.read_text().splitlines()):
        name, nsec, _ = line.split()
        at[name] = int(nsec)
    took, before = {}, sample.start
    for what, stage in STAGES.items():
        took[what] = round((at[stage] - before) / 1000, 1)
        before = at[stage]
    return took


def measure_stages(bench, poold, name, script):
    rounds = bench.count(100)
    stages = {what: [] for what in STAGES}
    path = bench.folder / "stages"
    command = [poold.program("poolctl"), "run", "--no-fallback", script]
    with bench.sampler(poold, POOLD_TRACE=str(path)) as sampler:
        for number_of_round in range(rounds):
            bench.progress(f"latency: {name}, by stage", number_of_round, rounds)
            (sample,) = sampler.row(command, 1, bench.count(PAUSE, 0.1))
            if sample.status == 0:
                for what, took in stages_of(path, sample).items():
                    stages[what].append(took)
            path.unlink(missing_ok=True)
    return stages


def as_results(rows, distance):
    return [{"distance": distance, "where": where, "who": who, "first_us": row.first_us, "end_us": row.end_us,
             "missed": row.missed} for (where, who), row in rows.items()]


def try_peers(bench):
    """A peer that cannot run the scripts is better known now than in half an hour."""
    for name, (_, text) in SCRIPTS.items():
        script = bench.script(f"with_{name}.py", text)
        for peer, command in bench.peer_commands().items():
            done = subprocess.run([*command, script], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=bench.folder)
            if done.returncode:
                raise ChildProcessError(f"--peer {peer}: the script {name!r} ends with status {done.returncode}: {text}")


def measure(bench):
    try_peers(bench)
    results = {"rows": {}, "stages": {}, "peers": bench.peers}
    for name, (modules, text) in SCRIPTS.items():
        script = bench.script(f"with_{name}.py", text)  # a name that hides no module
        with bench.fork_server(modules) as fork_client:
            bench.progress(f"latency: {name}, warming up")
            with bench.poold(pool(modules, SPARES_APART)) as poold:
                compare_output(bench, poold, script)
                apart = measure_apart(bench, poold, name, script, fork_client)
                results["stages"][name] = measure_stages(bench, poold, name, script)
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


def stage_table(stages):
    lines = [[what, *(f"{number(median(took[what]))}" for took in stages.values() if took[what])] for what in STAGES]
    lines.append(["**sum of the medians**", *(f"**{number(sum(median(values) for values in took.values() if values))}**"
                                              for took in stages.values())])
    return table(["median, µs", *stages], lines)


def tables(results):
    text = ""
    for distance in ("apart", "back to back"):
        for where in ("pipe", "terminal"):
            text += f"### {distance.capitalize()}, on a {where}\n\n{table_of(results, distance, where)}\n"
    text += f"### Where the time goes\n\n{stage_table(results['stages'])}\n"
    return text
