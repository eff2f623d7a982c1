#!/usr/bin/python3
"""includes.py finds what it is for: each rule is broken once, in a small tree that is otherwise in order."""

import tempfile
import unittest
from pathlib import Path

import includes

GOOD = {
    "lib/fd.h": "",
    "lib/fdset.h": "",
    "lib/fdset.c": '#include "fdset.h"\n#include "fd.h"',
    "lib/wire.h": "#include <stdint.h>",
    "lib/proto.h": '#include "wire.h"',
    "lib/channel.h": '#include "proto.h"\n#include "fdset.h"\n#include "wire.h"',
    "lib/channel.c": '#include "channel.h"\n#include "fd.h"',
    "lib/log.h": "",
    "poold/main.c": '#include "config.h"\n#include "server.h"\n#include "lib/log.h"\n#include "systemd.h"',
    "poold/server.h": "",
    "poold/server.c": '#include "server.h"\n#include "client.h"\n#include "pool.h"\n#include "worker.h"\n#include "loop.h"',
    "poold/client.h": "",
    "poold/client.c": '#include "loop.h"\n#include <event2/event.h>',
    "poold/worker.h": "",
    "poold/worker.c": '#include "worker.h"\n#include "spawn.h"\n#include "loop.h"',
    "poold/pool.h": '#include "config.h"',
    "poold/spawn.h": "",
    "poold/loop.h": "#include <event2/event.h>",
    "poold/config.h": '#include "lib/log.h"',
    "poold/config.c": '#include "config.h"\n#include "config_keys.h"\n#include "expand.h"',
    "poold/config_keys.h": "",
    "poold/config_keys.c": '#include "config_keys.h"\n#include "config.h"',
    "poold/expand.h": "",
    "poold/systemd.h": "",
    "poold/host_module.c": '#include "job.h"\n#include "lib/channel.h"',
    "poold/job.h": "",
    "poold/job.c": '#include "job.h"\n#include "python.h"',
    "poold/python.h": "#include <Python.h>",
    "poold/script.c": '#include <Python.h>\n#include "environment.h"',
    "poold/environment.h": "",
    "poolctl/main.c": '#include "cmd_run.h"',
    "poolctl/cmd_run.h": "",
    "poolctl/cmd_run.c": '#include "cmd_run.h"\n#include "relay.h"\n#include "miss.h"',
    "poolctl/cmd_status.h": "",
    "poolctl/relay.h": '#include "lib/channel.h"',
    "poolctl/miss.h": "",
}


def check(added):
    """What includes.py says to the good tree with @added, {file: line to append}."""
    with tempfile.TemporaryDirectory() as folder:
        for file in GOOD.keys() | added.keys():
            path = Path(folder, file)
            path.parent.mkdir(exist_ok=True)
            path.write_text(GOOD.get(file, "") + "\n" + added.get(file, "") + "\n")
        return includes.check(Path(folder))


class Includes(unittest.TestCase):
    def assert_broken(self, file, line, expected):
        lines = check({file: line})
        self.assertTrue(any(found.startswith(file) and expected in found for found in lines), lines)

    def test_a_good_tree(self):
        self.assertEqual(check({}), [])

    def test_folders(self):
        self.assert_broken("lib/log.h", '#include "poold/loop.h"', "lib/ may include only lib")
        self.assert_broken("poold/pool.c", '#include "poolctl/relay.h"', "poold/ may include only poold, lib")
        self.assert_broken("poolctl/miss.h", '#include "poold/spawn.h"', "poolctl/ may include only poolctl, lib")
        self.assert_broken("poolctl/miss.h", '#include "../poold/spawn.h"', "poolctl/ may include only poolctl, lib")

    def test_missing_file(self):
        self.assert_broken("lib/log.c", '#include "nowhere.h"', "there is no such file")

    def test_upwards(self):
        for file, target in [
            ("lib/wire.h", "proto.h"), ("lib/proto.c", "channel.h"), ("lib/fd.c", "fdset.h"), ("lib/proto.c", "fd.h"),
            ("lib/log.c", "fd.h"), ("poold/client.c", "server.h"), ("poold/pool.c", "worker.h"),
            ("poold/pool.c", "loop.h"), ("poold/spawn.c", "worker.h"), ("poold/spawn.c", "loop.h"),
            ("poold/worker.c", "client.h"), ("poold/worker.c", "pool.h"), ("poold/client.c", "config.h"),
            ("poold/worker.c", "config.h"), ("poold/loop.c", "client.h"), ("poold/config_keys.c", "pool.h"),
            ("poold/python.c", "job.h"), ("poold/job.c", "config.h"), ("poold/host_module.c", "spawn.h"),
            ("poolctl/relay.c", "cmd_run.h"), ("poolctl/cmd_run.c", "cmd_status.h"),
        ]:
            with self.subTest(file=file, target=target):
                self.assert_broken(file, f'#include "{target}"', "is not below")

    def test_helpers_do_not_include_the_spine(self):
        self.assert_broken("poold/expand.c", '#include "config.h"', "is a helper")
        self.assert_broken("poold/environment.c", '#  include "python.h"', "is a helper")
        self.assert_broken("poolctl/miss.c", '#include "relay.h"', "is a helper")
        self.assert_broken("lib/new.c", '#include "wire.h"', "is a helper")

    def test_circles(self):
        lines = check({"poold/expand.h": '#include "systemd.h"', "poold/systemd.c": '#include "expand.h"'})
        self.assertEqual(len([line for line in lines if "a circle" in line]), 2, lines)

    def test_system_headers(self):
        self.assert_broken("lib/log.c", "#include <event2/event.h>", "sees <event2/event.h>")
        self.assert_broken("lib/log.c", "#include <Python.h>", "sees <Python.h>")
        self.assert_broken("poolctl/miss.c", "#include <event2/util.h>", "sees <event2/util.h>")
        self.assert_broken("poold/pool.c", "#include <event2/event.h>", "sees <event2/event.h>")
        self.assert_broken("poold/server.c", "# include <Python.h>", "sees <Python.h>")
        self.assert_broken("poold/job.c", "#include <event2/event.h>", "sees <event2/event.h>")
        self.assert_broken("poold/script.c", "#include <event2/event.h>", "sees both")

    def test_system_headers_through_others(self):
        lines = check({"poold/expand.h": "#include <event2/event.h>", "poold/pool.h": '#include "expand.h"'})
        self.assertIn("poold/pool.h: sees <event2/event.h>", lines)
        lines = check({"poold/environment.h": "#include <Python.h>", "poold/client.c": '#include "environment.h"'})
        self.assertIn("poold/client.c: sees <Python.h>", lines)


if __name__ == "__main__":
    unittest.main()
