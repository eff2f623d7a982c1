#!/usr/bin/python3
"""Includes point one way. The rules are the tables below; test_includes.py shows each of them being broken.

    includes.py [FOLDER]     prints each #include that breaks a rule, as FILE:LINE, and then exits with status 1

A module is NAME.c and NAME.h in one folder. Those that a table names are the spine. All others are helpers: they may
be included by every module of their folder, but they include only helpers, and nobody includes anybody in a circle.
"""

import re
import sys
from collections import namedtuple
from fnmatch import fnmatch
from pathlib import Path

FOLDERS = {  # folder: the other folders that it may include
    "lib": [],
    "poold": ["lib"],
    "poolctl": ["lib"],
}

SPINE = {  # module: what is directly below it; a module may include all that is below it
    "poold/main": ["poold/server", "poold/config"],
    "poold/server": ["poold/report", "poold/runs", "poold/reload", "poold/listener", "poold/metrics", "poold/tell"],
    "poold/runs": ["poold/client", "poold/pools"],
    "poold/pools": ["poold/live_pool", "poold/machine"],
    "poold/metrics": ["poold/pools"],
    "poold/tell": ["poold/pools"],
    "poold/reload": ["poold/config", "poold/loop"],
    "poold/report": ["poold/client", "poold/live_pool"],
    "poold/live_pool": ["poold/pool", "poold/worker", "poold/config", "poold/watch"],
    "poold/client": ["poold/loop"],
    "poold/machine": ["poold/pool", "poold/loop"],
    "poold/worker": ["poold/spawn", "poold/loop"],
    "poold/pool": ["poold/config"],
    "poold/watch": ["poold/loop"],
    "poold/spawn": [],
    "poold/loop": [],
    "poold/config": [],
    "poold/listener": [],
    "poold/host_module": ["poold/job"],
    "poold/keeper_main": ["poold/patience"],
    "poold/job": ["poold/python"],
    "poold/python": [],
    "poolctl/main": ["poolctl/cmd_*"],
    "poolctl/cmd_*": ["poolctl/relay"],
    "poolctl/relay": [],
    "lib/channel": ["lib/proto", "lib/fdset"],
    "lib/proto": ["lib/wire"],
    "lib/fdset": ["lib/fd"],
    "lib/sock": ["lib/fd"],
    "lib/spawning": ["lib/fd"],
    "lib/stages": ["lib/fd"],
    "lib/wire": [],
    "lib/fd": [],
    "lib/log": [],
}

PARTS = {  # a module that is a part of another one, and under its rules
    "poold/config_keys": "poold/config",
    "poold/metrics_page": "poold/metrics",
    "poold/config_diff": "poold/config",
}

UNSEEN = [  # modules, and the system headers that they must not see, not even through another header
    (["lib/*", "poolctl/*"], ["event2/*", "event.h", "Python.h"]),
    (["poold/main", "poold/server", "poold/client", "poold/pool", "poold/worker", "poold/spawn", "poold/loop"],
     ["Python.h"]),
    (["poold/pool", "poold/config", "poold/spawn"], ["event2/*", "event.h"]),
    (["poold/host_module", "poold/keeper_main", "poold/job", "poold/python"], ["event2/*", "event.h"]),
]

STRANGERS = [  # system headers that no module sees together: libevent is poold's, Python is its workers'
    (["event2/*", "event.h"], ["Python.h"]),
]

Include = namedtuple("Include", "file line target system")  # target: a path below the root, or a system header


def module_of(path):
    """'poold/config_keys.h' -> 'poold/config'"""
    name = re.sub(r"\.[ch]$", "", path)
    return PARTS.get(name, name)


def matches(name, patterns):
    return any(fnmatch(name, pattern) for pattern in patterns)


def row_of(module):
    """The name of the module's row in SPINE, or None for a helper."""
    return next((row for row in SPINE if fnmatch(module, row)), None)


def below(row):
    """All rows that are below a row of SPINE."""
    rows = set()
    for lower in SPINE[row]:
        rows |= {lower} | below(lower)
    return rows


def read_includes(root):
    """Every #include of every file."""
    includes = []
    for file in sorted(path for folder in FOLDERS for path in (root / folder).rglob("*.[ch]")):
        for number, line in enumerate(file.read_text().splitlines(), 1):
            found = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
            if not found:
                continue
            system, target = found[1] == "<", found[2]
            if not system and (file.parent / target).exists():
                target = str((file.parent / target).resolve().relative_to(root.resolve()))
            includes.append(Include(str(file.relative_to(root)), number, target, system))
    return includes


def check_place(include, root):
    """Is it a file of ours, in a folder that this one may include?"""
    folder, target_folder = include.file.split("/")[0], include.target.split("/")[0]
    if not (root / include.target).exists():
        return "there is no such file"
    if target_folder != folder and target_folder not in FOLDERS[folder]:
        return f"{folder}/ may include only {', '.join([folder] + FOLDERS[folder])}"
    return None


def check_spine(include):
    """Does it point down?"""
    module, target = module_of(include.file), module_of(include.target)
    row, target_row = row_of(module), row_of(target)
    if module == target or target_row is None or target.split("/")[0] != module.split("/")[0]:
        return None
    if row is None:
        return f"{module} is a helper (not in the table SPINE), and those may not include {target}"
    if target_row not in below(row):
        return f"{target} is not below {module}"
    return None


def check_circles(includes):
    """Modules that include each other, over however many steps. One message for each include that is on a circle."""
    edges = {}
    for include in includes:
        if not include.system:
            edges.setdefault(module_of(include.file), set()).add(module_of(include.target))

    def reaches(start, end):
        seen, ahead = set(), [start]
        while ahead:
            module = ahead.pop()
            if module == end:
                return True
            if module not in seen:
                seen.add(module)
                ahead.extend(edges.get(module, ()))
        return False

    for include in includes:
        module, target = module_of(include.file), module_of(include.target)
        if not include.system and module != target and reaches(target, module):
            yield include, f"a circle: {target} includes {module}, if through others"


def system_headers_seen(includes):
    """For each file the system headers that it sees, itself or through headers of ours."""
    direct = {}
    for include in includes:
        direct.setdefault(include.file, []).append(include)

    def seen_by(file, visited):
        visited.add(file)
        headers = set()
        for include in direct.get(file, []):
            if include.system:
                headers.add(include.target)
            elif include.target not in visited:
                headers |= seen_by(include.target, visited)
        return headers

    return {file: seen_by(file, set()) for file in direct}


def check_system(includes):
    """Messages about files that see a system header they must not."""
    for file, headers in system_headers_seen(includes).items():
        for modules, unseen in UNSEEN:
            for header in sorted(headers):
                if matches(module_of(file), modules) and matches(header, unseen):
                    yield f"{file}: sees <{header}>"
        for one, other in STRANGERS:
            if any(matches(header, one) for header in headers) and any(matches(header, other) for header in headers):
                yield f"{file}: sees both {one[0]} and {other[0]}"


def check(root):
    """All that is wrong below the folder @root, one line each."""
    includes = read_includes(root)
    problems = [(include, check_place(include, root) or check_spine(include))
                for include in includes if not include.system]
    problems += check_circles(includes)
    lines = [f'{include.file}:{include.line}: "{include.target}": {problem}' for include, problem in problems if problem]
    return lines + list(check_system(includes))


def main():
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2])
    lines = check(root)
    print("\n".join(lines) or "includes point one way")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
