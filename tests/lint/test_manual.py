#!/usr/bin/python3
"""manual.py finds what it is for: a manual that has it all, and each thing taken from it once."""

import unittest

import manual

SAMPLE = """\
[poold]
# Where.
#socket =
# Value: a whole number between 1 and 64.
#max_starting = 2

[pool:default]
#env.NAME =
# Value: a whole number of seconds between 0 and 9.
#size = 3
"""

INI = """\
# SECTION [poold]

*socket*
	Where.

	Default: empty.

*max_starting*
	A whole number between 1
	and 64. Default: *2*.

# SECTION [pool:NAME]

*env.NAME*
	Default: empty.

*size*
	A whole number of seconds between 0 and 9.

	Default: *3*.

# SEE ALSO
"""

HELP = """\
usage: poolctl COMMAND

  run [--pool NAME] [-v]   as python3
  stop [--now]             end a well-known poold
"""

PAGE = """\
*run* [_OPTIONS_]
	*--pool* _NAME_
	*-v*
*stop* [*--now*]

*lost*, *busy*
	Why.

*degraded*
	Why.

	```
	CUDA_*  HOME
	```
"""

COMPLETIONS = ["run stop) '--pool --now' -v", "complete -a run -l pool -o v -s v\ncomplete -a stop -l now"]

README = """\
| `lost`, `busy` | why | what to do |
| `degraded` | why | what to do |
"""

FIT = 'static const char *const import_time[] = {\n "CUDA_*", "HOME",\n};'


class Manual(unittest.TestCase):
    def assert_found(self, check, arguments, index, old, new, expected):
        """With one text changed, check() names `expected`; before that, it names nothing."""
        self.assertEqual(list(check(*arguments)), [])
        self.assertIn(old, arguments[index])
        changed = [argument.replace(old, new) if i == index else argument for i, argument in enumerate(arguments)]
        problems = list(check(*changed))
        self.assertTrue(any(expected in problem for problem in problems), problems)

    def test_keys(self):
        for index, old, new, expected in [
            (1, "*socket*", "*sock*", "[poold] socket: missing in poold.ini(5)"),
            (1, "*socket*", "*sock*", "[poold] sock: missing in conf/poold.ini"),
            (1, "*env.NAME*\n\tDefault: empty.\n", "", "[pool] env.NAME: missing"),
            (1, "*2*", "*3*", "[poold] max_starting: its default is 2"),
            (0, "#socket =", "#socket = /x", "[poold] socket: its default is /x"),
            (0, "= 3", "=", "[pool] size: its default is empty"),
            (1, "and 64", "and 65", "[poold] max_starting: it must be between 1 and 64"),
            (0, "between 0 and", "between 1 and", "[pool] size: it must be between 1 and 9"),
        ]:
            with self.subTest(expected=expected):
                self.assert_found(manual.check_keys, [SAMPLE, INI], index, old, new, expected)

    def test_help(self):
        for index, old, new, expected in [
            (2, "*run*", "*runs*", "poolctl(1): no command run"),
            (1, "  stop", "  end", "poolctl(1): no command end"),
            (2, "*--now*", "now", "poolctl(1): no option --now"),
            (2, "*--pool*", "*--pools*", "poolctl(1): no option --pool"),
            (2, "*-v*", "*-w*", "poolctl(1): no option -v"),
        ]:
            with self.subTest(expected=expected):
                self.assert_found(manual.check_help, ["poolctl", HELP, PAGE], index, old, new, expected)

    def test_completion(self):
        for text, old, new, expected in [
            (COMPLETIONS[0], "run", "runs", "_x: no command run"),
            (COMPLETIONS[0], "--pool", "--pools", "_x: no option --pool"),
            (COMPLETIONS[0], " -v", " --v", "_x: no option -v"),
            (COMPLETIONS[1], "-a stop", "-a stopped", "_x: no command stop"),
            (COMPLETIONS[1], "-l now", "-s now-and-then", "_x: no option --now"),
        ]:
            with self.subTest(expected=expected):
                self.assert_found(manual.check_completion, ["_x", HELP, text], 2, old, new, expected)

    def test_reasons(self):
        arguments = [{"lost", "busy", "degraded"}, PAGE, README]
        for index, old, new, expected in [
            (1, "*busy*", "busy", "poolctl(1): no reason busy"),
            (1, "*degraded*", "*degrade*", "poolctl(1): no reason degraded"),
            (2, "`lost`", "lost", "README.md: no reason lost"),
            (2, "| `degraded` |", "`degraded`", "README.md: no reason degraded"),
        ]:
            with self.subTest(expected=expected):
                self.assert_found(manual.check_reasons, arguments, index, old, new, expected)

    def test_reasons_of_the_code(self):
        code = """
            return decline(why, "script", "%s: not a plain file", path);
            r = decline(&why,
                        "worker", "failed");
            refuse(server, client, "stopping", "poold is stopping");
            reason = strcmp(reason, "interpreter") == 0;
            .reason = "version",
        """
        self.assertEqual(manual.reasons([code]) - manual.STATES, {"script", "worker", "stopping", "version"})

    def test_variables(self):
        for old, new, expected in [("CUDA_*", "CUDA_", "no variable CUDA_*"), ("HOME", "HOMER", "no variable HOME")]:
            with self.subTest(expected=expected):
                self.assert_found(manual.check_variables, [FIT, PAGE], 1, old, new, expected)


if __name__ == "__main__":
    unittest.main()
