#!/usr/bin/python3
"""What the programs have, the manual has; test_manual.py shows each of these being amiss.

    manual.py POOLD POOLCTL     prints what is missing or wrong, and then exits with status 1

 - poold.ini(5): every key of conf/poold.ini, which is made from poold's own table, with its default and bounds
 - poold(1), poolctl(1): every command and option that --help prints
 - completions/: likewise, for each shell
 - poolctl(1) and the README: every reason for a fallback
 - poolctl(1): every variable that poold compares
"""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

REASONS = [  # how the code names one
    re.compile(r'\b(?:miss|miss_set|decline|decline_exception|refuse|send_finished)\([^";]*"([a-z]+)"'),
    re.compile(r'\breason = "([a-z]+)"'),
    re.compile(r'\bT\([A-Z_]+, "([a-z]+)", "'),  # lib/traits.h
]
STATES = {"warming", "degraded"}  # those of a pool without an idle worker are reasons, too


def sample_keys(sample):
    """Every key of the sample configuration: (section, name) to (default, bounds or None)."""
    keys, section, bounds = {}, None, None
    for line in sample.splitlines():
        if found := re.fullmatch(r"\[(\w+)(:\w+)?\]", line):
            section = found[1]
        elif found := re.search(r"\bbetween (\d+) and (\d+)\.", line):
            bounds = found.groups()
        elif found := re.fullmatch(r"#?([a-z_]+(?:\.NAME)?) =(?: (.*))?", line):
            keys[section, found[1]] = (found[2] or "", bounds)
            bounds = None
    return keys


def page_keys(page):
    """What poold.ini(5) says of each key: (section, name) to text."""
    keys = {}
    for section in re.findall(r"^# SECTION \[(?:.|\n)*?(?=^# |\Z)", page, re.M):
        name = re.match(r"# SECTION \[(\w+)", section)[1]
        for key, text in re.findall(r"^\*([a-z_]+(?:\.NAME)?)\*\n((?:\t.*\n|\n)*)", section, re.M):
            keys[name, key] = text
    return keys


def check_keys(sample, page):
    expected, found = sample_keys(sample), page_keys(page)
    for section, key in sorted(expected.keys() ^ found.keys()):
        where = "conf/poold.ini" if (section, key) in found else "poold.ini(5)"
        yield f"[{section}] {key}: missing in {where}"
    for (section, key), (default, bounds) in expected.items():
        text = " ".join(found.get((section, key), "").split())
        if not text:
            continue
        if f"Default: *{default}*." not in text and (default or "Default: empty." not in text):
            yield f"[{section}] {key}: its default is {default or 'empty'}"
        if bounds and "between {} and {}".format(*bounds) not in text:
            yield f"[{section}] {key}: it must be between {bounds[0]} and {bounds[1]}"


def read_help(said):
    """Commands are the words that are indented by two in the help, options are words with a dash."""
    return re.findall(r"^  ([a-z]+)\b", said, re.M), set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", said))


def check_help(name, said, page):
    commands, options = read_help(said)
    for command in commands:
        if not re.search(rf"^\*{command}\*", page, re.M):
            yield f"{name}(1): no command {command}"
    for option in sorted(options):
        if not re.search(rf"\*{option}(?![a-z-])", page):
            yield f"{name}(1): no option {option}"


def check_completion(file, said, text):
    """Options are as they are typed, or as fish has them: `-l pool`, `-o v`."""
    commands, options = read_help(said)
    for command in commands:
        if not re.search(rf"(?<![\w-]){command}(?![\w-])", text):
            yield f"{file}: no command {command}"
    for option in sorted(options):
        word = option.lstrip("-")
        if not re.search(rf"(?<![\w-])(?:{option}|-l {word}|-[os] {word})(?![\w-])", text):
            yield f"{file}: no option {option}"


def reasons(sources):
    found = set(STATES)
    for source in sources:
        for pattern in REASONS:
            found |= set(pattern.findall(source))
    return found


def check_reasons(names, page, readme):
    for name in sorted(names):
        if not re.search(rf"^\*(?:[a-z]+\*, \*)*{name}\*", page, re.M):
            yield f"poolctl(1): no reason {name}"
        if not re.search(rf"^\|.*`{name}`.*\|.*\|.*\|$", readme, re.M):
            yield f"README.md: no reason {name}"


def check_variables(fit, page):
    table = re.search(r"import_time\[\] = \{(.*?)\};", fit, re.S)[1]
    for variable in re.findall(r'"([A-Z_]+\*?)"', table):
        if not re.search(rf"(?:^|\s){re.escape(variable)}(?:\s|$)", page):
            yield f"poolctl(1): no variable {variable}"


def check(poold, poolctl):
    def read(path):
        return (ROOT / path).read_text()

    def help_of(program):
        return subprocess.run([program, "--help"], capture_output=True, text=True, check=True).stdout

    page = read("man/poolctl.1.scd")
    sources = [path.read_text() for folder in ("poold", "poolctl", "lib") for path in (ROOT / folder).glob("*.[ch]")]
    yield from check_keys(read("conf/poold.ini"), read("man/poold.ini.5.scd"))
    yield from check_help("poold", help_of(poold), read("man/poold.1.scd"))
    yield from check_help("poolctl", help_of(poolctl), page)
    for file in "poolctl.bash", "_poolctl", "poolctl.fish":
        for program in poold, poolctl:
            yield from check_completion(file, help_of(program), read(f"completions/{file}"))
    yield from check_reasons(reasons(sources), page, read("README.md"))
    yield from check_variables(read("poold/fit.c"), page)


def main():
    problems = list(check(*sys.argv[1:]))
    print("\n".join(problems) or "the manual has it all")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
