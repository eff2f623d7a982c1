# What the python of a pool runs as its script, to become a worker. When this file has ended,
# and with it its frame, the host takes over (host_module.c). There is to be no trace of us then: __main__ is as it
# was before the first line, sys as if there were no script, and nothing is imported that would not be there anyway.
names = dict(globals())

import _imp
import sys

folder = __file__.rpartition("/")[0]
host = _imp.create_dynamic(type(sys.__spec__)("_poold_host", None, origin=f"{folder}/_poold_host.abi3.so"))

names.pop("__file__")
names.pop("__cached__", None)
names["__loader__"] = sys.modules["_frozen_importlib"].BuiltinImporter
sys.modules["__main__"] = type(sys)("__main__")
vars(sys.modules["__main__"]).clear()
vars(sys.modules["__main__"]).update(names)

if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
    del sys.path[0]  # our folder
sys.path_importer_cache.pop(__file__, None)

host.stderr, sys.stderr = sys.stderr, host
globals().clear()
