"""What a script can see and do, one row each: under python3 and under a warm worker it must come out the same.

Compared are standard output and error, exit status or signal, and every file left behind, byte for byte.
"""

import dataclasses
import json
import pathlib
import shlex

import pytest

import compare

# What may differ, and why. `python` prints it; a row whose two sides are equal is out of date, and fails.
MAY_DIFFER = {
    "os.getppid()": ("import os; print(open(f'/proc/{os.getppid()}/comm').read())",
                     "the parent is poold: a process cannot be given another one"),
    "sys.modules": ("import sys; print(sorted(sys.modules))", "the pool's modules are there already, as is the point"),
    "sys.path_importer_cache": ("import sys; print(sorted(sys.path_importer_cache))",
                                "the folders that the pool's modules were found in"),
    "open fds": ("import os; print(sorted(map(int, os.listdir('/proc/self/fd'))))",
                 "the connection to poolctl, above the numbers that scripts get"),
    "warnings.filters": ("import warnings; print(len(warnings.filters))", "those that preloaded modules add"),
    "gc.get_referrers()": ("import gc, json.decoder as d; print(len(gc.get_referrers(d.JSONDecoder.decode)))",
                           "preloaded objects are frozen, and so not searched; `-m trace` names functions by them"),
    "gc.get_count()": ("import gc; print(gc.get_freeze_count(), len(gc.get_objects()))",
                       "the objects of preloaded modules"),
}


@dataclasses.dataclass
class Case:
    name: str
    args: tuple = None  # python's; or
    shell: str = None  # a bash script, with $PY for python
    files: dict = dataclasses.field(default_factory=dict)
    env: dict = dataclasses.field(default_factory=dict)
    stdin: bytes = None
    fallback: str = None  # the reason why no worker serves it
    known: str = None  # why it differs; then it must

    def command(self, python):
        if self.args is not None:
            return [*python, *self.args]
        return ["/bin/bash", "-c", self.shell.replace("$PY", shlex.join(python))]


CASES = []


def cmd(name, *args, **options):
    CASES.append(Case(name, args=args, **options))


def c(name, code, *args, **options):
    cmd(f"-c: {name}", "-c", code, *args, **options)


def script(name, text, *args, files=None, **options):
    cmd(f"script: {name}", "s.py", *args, files={"s.py": text} | (files or {}), **options)


def piped(name, text, *args, **options):
    cmd(f"stdin: {name}", *args, stdin=text.encode(), **options)


def sh(name, shell, **options):
    CASES.append(Case(f"sh: {name}", shell=shell, **options))


# -- The command line


SHOW = """\
import sys
print(sys.argv, sys.orig_argv, sys.path, sys.flags, sys.executable, sys.warnoptions, sys._xoptions, sep='\\n')
print(sorted((name, str(value)) for name, value in globals().items()))
"""
c("what sys says", SHOW, "one", "-x", "--", "")
script("what sys says", SHOW, "one", "-x", "--", "")
piped("what sys says", SHOW)
piped("- with arguments", SHOW, "-", "a", "-b")
cmd("-m what sys says", "-m", "mod", "a", "-c", files={"mod.py": SHOW})
cmd("-m joined", "-mmod", "a", files={"mod.py": SHOW})
cmd("-m package", "-m", "pack", "a", files={"pack/__init__.py": "print(__name__, __path__)\n", "pack/__main__.py": SHOW})
cmd("-m in a package", "-m", "pack.sub", files={"pack/__init__.py": "", "pack/sub.py": SHOW})
cmd("-m imported by its package", "-m", "pack.sub", files={"pack/__init__.py": "import pack.sub\n",
                                                             "pack/sub.py": "print(1)\n"})
cmd("-m namespace package", "-m", "pack.sub", files={"pack/sub.py": SHOW})
cmd("-m absent", "-m", "nonesuch")
cmd("-m absent in a package", "-m", "json.nonesuch")
cmd("-m package without main", "-m", "json")
cmd("-m relative", "-m", ".x")
cmd("-m nothing", "-m", "")
cmd("-m json.tool", "-m", "json.tool", "--sort-keys", stdin=b'{"b": 1, "a": [1, 2]}')
cmd("-m json.tool --help", "-m", "json.tool", "--help")
cmd("-m this", "-m", "this")
cmd("-m calendar", "-m", "calendar", "2020")
cmd("-m timeit", "-m", "timeit", "-h")
cmd("-m fails", "-m", "mod", files={"mod.py": "def f(): 1 / 0\nf()\n"})
cmd("-m syntax error", "-m", "mod", files={"mod.py": "def f(:\n"})
cmd("-m sys.exit", "-m", "mod", files={"mod.py": "import sys; sys.exit('why')\n"})
cmd("-m KeyboardInterrupt", "-m", "mod", files={"mod.py": "raise KeyboardInterrupt\n"})
cmd("-m writes a .pyc", "-m", "mod", files={"mod.py": "import other\n", "other.py": "print(__cached__)\n"})
cmd("-c without code", "-c", fallback="options")
cmd("-m without module", "-m", fallback="options")
cmd("-V", "-V", fallback="options")
cmd("--version", "--version", fallback="options")
cmd("-VV", "-VV", fallback="options")
cmd("-h", "-h", fallback="options")
cmd("unknown option", "-Z", fallback="options")
cmd("unknown long option", "--nonesuch", fallback="options")
cmd("-?", "-?", fallback="options")
cmd("-u", "-u", "-c", "import os, sys; sys.stdout.write('a'); sys.stdout.buffer.write(b'b'); "
    "print(sys.stdout.write_through, type(sys.stdout.buffer)); os._exit(3)")
cmd("-uc", "-uc", "import sys; print(sys.stdout.write_through, sys.orig_argv)")
cmd("-B", "-B", "-c", "import sys, m; print(sys.dont_write_bytecode, sys.flags)", files={"m.py": ""})
cmd("-q", "-q", "-c", "import sys; print(sys.flags)")
cmd("-Bqu", "-Bqu", "-c", "import sys; print(sys.flags, sys.orig_argv)")
for option in ("-P", "-Wignore", "-Wd"):
    cmd(f"{option}", option, "-c", "import sys; print(sys.flags, sys.warnoptions); assert 0")
for option in ("-O", "-OO", "-I", "-E", "-s", "-S", "-b", "-bb", "-R"):
    cmd(f"{option}", option, "-c", "import sys; print(sys.flags, sys.warnoptions); assert 0", fallback="options")
cmd("-X utf8", "-X", "utf8", "-c", "import sys; print(sys.flags)", fallback="options")
cmd("-X dev", "-Xdev", "-c", "import sys; print(sys.flags)", fallback="options")
cmd("-X faulthandler", "-X", "faulthandler", "-c", "import faulthandler; print(faulthandler.is_enabled())")
cmd("-x", "-x", "s.py", files={"s.py": "no python\nprint(1)\n"})
cmd("script absent", "nonesuch.py", fallback="script")
cmd("script in a folder", "d/s.py", files={"d/s.py": SHOW + "import beside\n", "d/beside.py": "print(__file__)\n"})
sh("script by absolute path", "$PY \"$PWD/d/s.py\"", files={"d/s.py": SHOW})
cmd("script with ..", "d/../s.py", files={"s.py": SHOW, "d/x": ""})
cmd("script's name with spaces", "a b.py", "c d", files={"a b.py": SHOW})
cmd("script's name not UTF-8", b"\xff.py", b"\xfe", files={"\udcff.py": "import sys; print(ascii(sys.argv))\n"})
cmd("script absent, its name not UTF-8", b"\xff.py", fallback="script")
sh("script through a link", "ln -s d/s.py l.py; $PY l.py", files={"d/s.py": SHOW + "import beside\n", "d/beside.py": ""})
sh("script in a linked folder", "ln -s d l; cd l; $PY -c 'import os; print(os.getcwd())'; $PY s.py", files={"d/s.py": SHOW})
sh("shebang", "chmod +x s; sed -i \"1s|.*|#!/usr/bin/env -S $PY|\" s; ./s one two; rm s",
   files={"s": "#!\nimport sys; print(sys.argv, __file__)\n"})
sh("poolpython is the same", "poolpython -c 'import sys; print(sys.argv)' a; $PY -c 0")

# -- What else can be a script

DEEP = "def f(x):\n    return g(x,\n             0)\n\ndef g(a, b):\n    return a / b\n\n"
BESIDE = SHOW + "import beside, numpy\nprint(beside.__file__, beside.__loader__, numpy.__file__)\n"
IN_FOLDER = {"d/__main__.py": BESIDE, "d/beside.py": ""}
cmd("folder", "d", "a", "-b", files=IN_FOLDER)
cmd("folder with a slash", "./d/", files=IN_FOLDER)
sh("folder by absolute path", "$PY \"$PWD/d\"", files=IN_FOLDER)
sh("folder through a link", "ln -s d l; $PY l", files=IN_FOLDER)
cmd("folder is the current one", ".", files={"__main__.py": SHOW, "beside.py": ""})
cmd("folder, -P", "-P", "d", files=IN_FOLDER)
cmd("folder without __main__", "d", files={"d/x.py": ""})
cmd("folder that is a package", "d", files={"d/__init__.py": "1 / 0\n", "d/__main__.py": SHOW})
cmd("folder fails", "d", files={"d/__main__.py": "def f(): 1 / 0\nf()\n"})
cmd("folder with a syntax error", "d", files={"d/__main__.py": "def f(:\n"})
cmd("folder exits", "d", files={"d/__main__.py": "import sys; sys.exit('why')\n"})
cmd("folder, frames", "d", files={"d/__main__.py": "import inspect; print([f[1:4] for f in inspect.stack()])\n"})
cmd("folder with a module of a preloaded name", "d", fallback="shadow",
    files={"d/__main__.py": "import numpy; print(numpy.__file__)\n", "d/numpy.py": ""})

ZIP, ZIPPED = "(cd z; python3 -m zipfile -c ../a.zip *); ", "; echo $?; rm a.zip"
IN_ZIP = {"z/__main__.py": BESIDE, "z/beside.py": ""}
for how in ("a.zip a -b", "./a.zip", "\"$PWD/a.zip\"", "-P a.zip", "-B a.zip", "-x a.zip"):
    sh(f"zip: {how}", f"{ZIP}$PY {how}{ZIPPED}", files=IN_ZIP)
for name, text in {"fails": "def f(): 1 / 0\nf()\n", "exits": "raise SystemExit(7)\n", "with a syntax error": "def f(:\n",
                   "reads itself": "import sys, zipfile\nprint(zipfile.is_zipfile(sys.argv[0]), __loader__.get_data('data'))\n"}.items():
    sh(f"zip {name}", f"{ZIP}$PY a.zip{ZIPPED}", files={"z/__main__.py": text, "z/data": "text"})
sh("zip without __main__", f"{ZIP}$PY a.zip{ZIPPED}", files={"z/x.py": ""})
sh("zip behind text", f"{ZIP}(echo '#!/bin/false'; cat a.zip) > s; $PY s a; rm s{ZIPPED}", files=IN_ZIP)
sh("zip of .pyc", "python3 -c 'import py_compile; py_compile.compile(\"m.py\", \"z/__main__.pyc\", \"named.py\")'; " +
   f"{ZIP}$PY a.zip; rm z/__main__.pyc{ZIPPED}", files={"m.py": "print(__file__, __spec__.loader)\n1 / 0\n", "z/x": ""})
for name in ("numpy.py", "numpy/__init__.py"):
    sh(f"zip with {name}", f"{ZIP}$PY a.zip{ZIPPED}", fallback="shadow",
       files={"z/__main__.py": "import numpy; print(numpy.__file__)\n", f"z/{name}": ""})
sh("zip with a folder of a preloaded name", f"{ZIP}$PY a.zip{ZIPPED}",
   files={"z/__main__.py": "import numpy; print(numpy.__file__)\n", "z/numpy/data": ""})
script("source that looks like a zip", b"x = 'PK\5\6'\nprint(ascii(x))\n")
cmd("zip that is none", "a.zip", files={"a.zip": b"PK\3\4" + b"x" * 50}, fallback="syntax")
cmd("zip that is cut off", "a.zip", files={"a.zip": b"PK\5\6" + b"x" * 30}, fallback="syntax")

PYC = "python3 -c 'import py_compile; py_compile.compile(\"s.py\", \"s.pyc\", \"named.py\")'; "
for how in ("s.pyc a -b", "./s.pyc", "\"$PWD/s.pyc\"", "-x s.pyc"):
    sh(f".pyc: {how}", f"{PYC}$PY {how}; rm s.pyc", files={"s.py": SHOW})
for name, text in {"fails": "def f():\n    1 / 0\nf()\n", "exits": "raise SystemExit(7)\n", "interrupted": "raise KeyboardInterrupt\n"}.items():
    sh(f".pyc {name}", f"{PYC}$PY s.pyc; echo $?; rm s.pyc", files={"s.py": text})
sh(".pyc of another name", f"{PYC}mv s.pyc s; $PY s; rm s", files={"s.py": SHOW})
sh(".pyc of another name, -x", f"{PYC}mv s.pyc s; $PY -x s; echo $?; rm s", files={"s.py": "print(1)\n"})
sh(".pyc unchecked", PYC + "echo 1 / 0 > s.py; $PY s.pyc; rm s.pyc", files={"s.py": "print('old')\n"})
sh(".pyc of another version", f"{PYC}printf X | dd of=s.pyc conv=notrunc status=none; $PY s.pyc; echo $?; rm s.pyc",
   files={"s.py": "print(1)\n"}, fallback="script")
sh(".pyc cut off", f"{PYC}head -c 30 s.pyc > t.pyc; $PY t.pyc; echo $?; rm ?.pyc", files={"s.py": "print(1)\n"}, fallback="script")
sh(".pyc without code", f"{PYC}head -c 16 s.pyc > t.pyc; printf N >> t.pyc; $PY t.pyc; echo $?; rm ?.pyc",
   files={"s.py": "print(1)\n"}, fallback="script")
cmd(".pyc empty", "s.pyc", files={"s.pyc": b""}, fallback="script")
cmd(".pyc that is source", "s.pyc", files={"s.pyc": "print('longer than the header')\n"}, fallback="script")

sh("pipe", "$PY <(cat s.py) a -b", files={"s.py": SHOW})
sh("pipe that is slow", "$PY <(echo 'print(1)'; sleep 0.2; echo 'print(2)'; sleep 0.2; printf 'print(3)')")
sh("pipe and input", "echo text | $PY <(echo 'print(input())')")
sh("pipe, -x", "$PY -x <(cat s.py); echo $?", files={"s.py": "no python\nprint(1)\n1 / 0\n"})
for name, text in {"fails": DEEP + "f(1)\n", "exits": "raise SystemExit('why')\n", "interrupted": "raise KeyboardInterrupt\n",
                   "with a syntax error": "print(1)\ndef f(:\n", "with a warning": "print(1 is 1)\n",
                   "of latin-1": b"# coding: latin-1\nprint(ascii('\xe9'))\n", "with a null byte": "print(1)\n\0\nprint(2)\n",
                   "with a byte order mark": b"\xef\xbb\xbfprint(1)\n", "that is a .pyc": b"\xa7\x0d\x0d\n" + bytes(50),
                   "frames": "import inspect; print([f[1:] for f in inspect.stack()])\n",
                   "its fd": "import os; print(open('/dev/null').fileno())\n"}.items():
    sh(f"pipe {name}", "$PY <(cat s.py); echo $?", files={"s.py": text})
sh("pipe that ends at once", "$PY <(true); echo $?")
sh("two pipes", "$PY <(cat s.py) <(echo text)", files={"s.py": "import sys; print(open(sys.argv[1]).read())\n"})
sh("named pipe", "mkfifo p; cat s.py > p & $PY p a; wait; rm p", files={"s.py": SHOW})
sh("named pipe, its writer", "mkfifo p; (exec > p; sleep 0.2; cat s.py; echo wrote >&2) & $PY p; wait; rm p", files={"s.py": "print(1)\n"})
cmd("/dev/stdin", "/dev/stdin", "a", stdin=SHOW.encode())
cmd("/dev/stdin and input", "/dev/stdin", stdin=b"print(input())\n")
sh("/dev/stdin is a file", "$PY /dev/stdin a < s.py", files={"s.py": SHOW + "print(repr(sys.stdin.readline()))\n"})
sh("/dev/stdin is a file read in part", "(read; $PY /dev/stdin) < s.py", files={"s.py": "print(1)\nprint(input())\n"})
sh("/dev/stdin is a zip", f"{ZIP}$PY /dev/stdin < a.zip{ZIPPED}", files=IN_ZIP, fallback="script")
sh("/dev/stdin is closed", "$PY /dev/stdin <&-; echo $?", fallback="script")
sh("/dev/fd", "$PY /dev/fd/7 a 7< s.py", files={"s.py": SHOW})
sh("/dev/fd closed", "$PY /dev/fd/7; echo $?", fallback="script")
sh("/dev/fd is a folder", "$PY /dev/fd/7 7< d; echo $?", files=IN_FOLDER, fallback="script")
sh("/proc/self/fd", "$PY /proc/self/fd/7 7< s.py", files={"s.py": SHOW})
sh("/proc/self/fd of a pipe", "$PY /proc/self/fd/7 7< <(cat s.py)", files={"s.py": SHOW})
sh("/proc/self/cwd", "$PY /proc/self/cwd/s.py", files={"s.py": SHOW}, fallback="script")
sh("/dev/shm", "f=$(mktemp -p /dev/shm); cp s.py $f; $PY $f | sed s:$f:F:g; rm $f", files={"s.py": "print(__file__, __loader__.path)\n"})
cmd("/dev/null", "/dev/null")
cmd("/dev/null, -x", "-x", "/dev/null")

# -- The prompt, where there is no terminal

EXPLORE = b"""1 + 1
if 1:
  print(_)

def f(): return g()

f()
x = (
3)
x
1 +
'a
import sys
sys.ps1 = 'next: '
from __future__ import annotations
def f(a: b): pass

f.__annotations__
dir()
__builtins__, __loader__, __spec__
sys.path[0], sys.argv, sys.flags
"""
for args in (("-i",), ("-iq",), ("-i", "-", "a"), ("-iu",), ("-iii",), ("-iB", "-Wd")):
    cmd(f"prompt: {args}", *args, stdin=EXPLORE)
for name, text in {
    "no end of line": b"print(1)", "nothing": b"", "latin-1": b"ascii('\xe9')\n1\n", "null byte": b"1\n2\0\n3\n",
    "CRLF": b"1\r\nif 1:\r\n  2\r\n\r\n3\r\n", "input()": b"input()\nfirst\ninput()\nsecond\n", "exit()": b"exit()\n", "quit(3)": b"quit(3)\n1\n",
    "sys.exit": b"import sys\nsys.exit('why')\n", "SystemExit": b"raise SystemExit(300)\n", "os._exit": b"import os\nos._exit(5)\n",
    "interrupted": b"raise KeyboardInterrupt\n", "interrupted before": b"raise KeyboardInterrupt\n1\n",
    "interrupted, then wrong": b"raise KeyboardInterrupt\n1 +\n", "interrupted, then exit": b"raise KeyboardInterrupt\nexit()\n", "fails": b"1 / 0\n",
    "killed": b"import os\nos.kill(os.getpid(), 15)\n", "atexit": b"import atexit\natexit.register(print, 'bye')\n",
    "atexit and exit": b"import atexit\natexit.register(print, 'bye')\nexit(2)\n", "file left open": b"f = open('f', 'w')\nf.write('text')\n",
    "file left open, exit": b"f = open('f', 'w')\nf.write('text')\nexit()\n", "__del__": b"class A:\n  def __del__(s): print('d')\n\na = A()\n",
    "thread": b"import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('t'))).start()\nexit()\n",
    "fork": b"import os\nif os.fork() == 0: os._exit(0)\n\nos.wait()[1]\n", "last": b"1 / 0\nimport sys\nsys.last_type\n1 +\nsys.last_value\n",
    "hooks": b"import sys\nsys.displayhook = print\nsys.excepthook = lambda *a: print(a[:2])\n5\n1 / 0\n", "no stdout": b"import sys\nsys.stdout = None\n1\n",
    "memory errors": b"raise MemoryError\n" * 16 + b"1\n" + b"raise MemoryError\n" * 16, "prompts": b"import sys\nsys.ps1 = 5\n1\ndel sys.ps1, sys.ps2\nif 1:\n  2\n\n3\n",
}.items():
    cmd(f"prompt: {name}", "-iq", stdin=text)
cmd("prompt: __del__, exit", "-iq", stdin=b"class A:\n  def __del__(s): print('d')\n\na = A()\nexit()\n")
for args in (("-c", "x = 5; print(x)"), ("-m", "s"), ("s.py",), ("d",)):
    cmd(f"prompt after {args[0]}", "-i", *args, "a", files={"s.py": "x = 5\nprint(__file__)\n", "d/__main__.py": "x = 5\n"},
        stdin=b"x\nimport sys\nsys.argv, sys.path[0] == sys.argv[0]\n__file__\n__cached__\n__spec__, __loader__, __name__\n")
sh("prompt after .pyc", f"{PYC}echo 'x, __loader__' | $PY -i s.pyc; rm s.pyc", files={"s.py": "x = 5\n"})
sh("prompt after a pipe", "echo x | $PY -i <(echo 'x = 5')")
sh("prompt after a zip", f"{ZIP}echo '__loader__' | $PY -i a.zip{ZIPPED}", files=IN_ZIP)
for name, code in {"fails": "x = 5\n1 / 0", "exits": "import sys\nsys.exit('why')", "exits with 3": "raise SystemExit(3)",
                   "is interrupted": "raise KeyboardInterrupt", "has a hook": "import sys\nsys.excepthook = lambda *a: print(a[:2])\nsys.exit(1)",
                   "has a bad hook": "import sys\nsys.excepthook = lambda *a: 1 / 0\nsys.exit(1)",
                   "has no hook": "import sys\ndel sys.excepthook\nsys.exit(1)",
                   "starts a thread": "import threading\nthreading.Thread(target=print, args=('t',)).start()", "is gone": "import os; os._exit(4)"}.items():
    for args in (("-c", code), ("-m", "s"), ("s.py",)):
        cmd(f"prompt after {args[0]}, which {name}", "-i", *args, files={"s.py": code + "\n"},
            stdin=b"import sys, traceback\nsys.last_type, sys.last_value\ntraceback.print_tb(sys.last_traceback)\n")
        cmd(f"prompt after {args[0]}, which {name}, and no input", "-i", *args, files={"s.py": code + "\n"})
for name, value in {"PYTHONINSPECT": "1", "PYTHONSTARTUP": "st.py", "PYTHON_BASIC_REPL": "1", "PYTHON_HISTORY": "/dev/null"}.items():
    for args in ((), ("-",), ("-i",), ("-c", "x = 1"), ("-i", "-c", "x = 1"), ("s.py",), ("-m", "s")):
        cmd(f"{name}: {args}", *args, env={name: value}, stdin=b"import sys\nprint(sys.flags, dir())\n",
            files={"s.py": "x = 1\nraise SystemExit(4)\n", "st.py": "print('startup', __file__)\ny = 2\n"})
for value in ("0", "2", "yes", "-3", "", "3000000000"):
    c(f"PYTHONINSPECT={value}", "import sys; print(sys.flags); sys.exit(3)", env={"PYTHONINSPECT": value})
for code in ("pass", "import sys; sys.exit(3)", "1 / 0"):
    late = "import os; os.environ['PYTHONINSPECT'] = '1'; " + code
    for args in (("-c", late), ("s.py",), ("-m", "s"), ("d",)):
        cmd(f"PYTHONINSPECT set late by {args[0]}: {code}", *args, files={"s.py": late, "d/__main__.py": late}, stdin=b"1\n")
for name, text in {"fails": "1 / 0\n", "exits": "raise SystemExit(3)\n", "is wrong": "def f(:\n", "is interrupted": "raise KeyboardInterrupt\n",
                   "has hooks": "import sys\ndel sys.__interactivehook__\nsys.addaudithook(lambda e, a: print(e) if 'python.' in e else None)\n",
                   "has a bad hook": "import sys\nsys.__interactivehook__ = lambda: 1 / 0\n",
                   "has a hook that exits": "import sys\nsys.__interactivehook__ = lambda: sys.exit(6)\n",
                   "is latin-1": b"# coding: latin-1\nprint(ascii('\xe9'))\n"}.items():
    cmd(f"PYTHONSTARTUP {name}", "-i", env={"PYTHONSTARTUP": "st.py"}, files={"st.py": text}, stdin=b"1\n")
cmd("PYTHONSTARTUP absent", "-i", env={"PYTHONSTARTUP": "st.py"}, stdin=b"1\n")
cmd("hook of one's own", "-i", "-c", "import sys; sys.__interactivehook__ = lambda: print('hook')", stdin=b"1\n")
cmd("readline beside", "-i", files={"readline.py": "print('ours')\n"}, stdin=b"1\n")

# -- Source

script("empty", "")
script("no newline at the end", "if 1:\n  print(1)")
script("CRLF", "print('''a\r\nb''')\r\nif 1:\r\n  print(repr('''\r'''))\r\n")
script("byte order mark", b"\xef\xbb\xbfprint(1, __doc__)\n")
script("coding latin-1", b"# -*- coding: latin-1 -*-\nprint(ascii('\xe9'))\n")
script("form feed", "\x0cprint(1)\n")
script("docstring", "'''doc'''\nprint(__doc__)\n")
script("annotations", "from __future__ import annotations\nx: y = 1\nprint(__annotations__)\n")
script("coding unknown", "# coding: nonesuch\nprint(1)\n", fallback="syntax")
script("not UTF-8", b"print('\xe9')\n", fallback="syntax")
script("UTF-16", "print(1)\n".encode("utf-16"))
script("null byte", "print(1)\n\0\nprint(2)\n")
script("null byte in a line", "print(1\0)\nprint(2)\n")
script("null byte in a string", "x = '''\na\0b\n'''\nprint(repr(x))\n")
script("byte order mark and coding", b"\xef\xbb\xbf# coding: utf-8\nprint(ascii('\xc3\xa9'), __doc__)\n")
script("byte order mark and another coding", b"\xef\xbb\xbf# coding: latin-1\nprint(1)\n", fallback="syntax")
script("byte order mark and -sig", b"\xef\xbb\xbf# coding: utf-8-sig\nprint(ascii('\xc3\xa9'))\n")
script("coding on the second line", b"#!/usr/bin/python3\n# vim: set fileencoding=latin-1 :\nprint(ascii('\xe9'))\n")
script("coding on the third line", b"#\n#\n# coding: latin-1\nprint(ascii('\xe9'))\n", fallback="syntax")
script("coding behind code", b"x = 1\n# coding: latin-1\nprint(ascii('\xc3\xa9'))\n")
for coding in ("utf-7", "cp1252", "koi8-r", "shift_jis"):
    script(f"coding {coding}", f"# coding: {coding}\nprint(ascii('a'))\n")
for coding in ("rot13", "utf_16"):
    script(f"coding {coding}", f"# coding: {coding}\nprint(ascii('a'))\n", fallback="syntax")
script("CRLF, no end", b"# coding: latin-1\r\nif 1:\r\n  print(ascii('''\xe9\r\n'''))")
script("CR", "print(1)\rif 1:\r  print(repr('''a\rb'''))\r")
script("CR and CRLF", "print(1)\rprint(2)\r\nprint(3)\n\rprint(4)\n")
script("continued at the end", "print(1)\nx = 1 + \\", fallback="syntax")
script("continued", "print(1)\nx = 1 + \\\n2")
script("Ctrl-Z", "print(1)\n\x1aprint(2)\n", fallback="syntax")
script("comment without an end", "print(1)\n# the end")
script("only a byte order mark", b"\xef\xbb\xbf")
script("traceback of latin-1", b"# coding: latin-1\nx = '\xe9'; 1 / 0\n")
script("syntax error", "print(1)\ndef f(:\n    pass\n", fallback="syntax")
script("indentation error", "if 1:\nprint(1)\n", fallback="syntax")
script("syntax warning", "print(1 is 1)\n", fallback="warnings")
script("invalid escape", "print('\\d')\n")
script("very long line", "x = '" + "y" * 1_000_000 + "'\nprint(len(x))\n")
c("empty", "")
c("indented", "  x = 1", fallback="syntax")
c("syntax error", "print(1\n", fallback="syntax")
c("syntax warning", "print(1 is 1)", fallback="warnings")
c("several lines", "\n\nif 1:\n  print(1)\n")
c("surrogates", b"print(ascii('\xe9\xff'))", fallback="syntax")
c("coding cookie", "# coding: latin-1\nprint(ascii('\u00e9'))")
piped("empty", "")
piped("input() reads on", "print(repr(input()))\nhello\n")
piped("reads the rest", "import sys\nprint(sys.stdin.read())\n")
piped("syntax error", "print(1)\ndef f(:\n")
piped("fails", "def f():\n  1 / 0\nf()\n")
piped("exit", "import sys\nsys.exit(sys.argv[1])\n", "-", "why")
PROGRAMS = {
    "coding": b"# coding: latin-1\nprint(ascii('\xe9'))\n",
    "coding of nothing": b"# coding: latin-1\nprint(1)\n",
    "byte order mark": b"\xef\xbb\xbfprint(ascii('\xc3\xa9'))\n",
    "byte order mark and -sig": b"\xef\xbb\xbf# coding: utf-8-sig\nprint(1)\n",
    "not UTF-8": b"print(1)\nprint('\xe9')\n",
    "coding unknown": b"# coding: nonesuch\nprint(1)\n",
    "null byte": b"print(1)\n\0\nprint(2)\n",
    "null byte in a line": b"print(1\0)\nprint(2)\n",
    "CRLF": b"print(1)\r\nif 1:\r\n  print(repr('''\r\n'''))\r\n",
    "CR": b"print(1)\rprint(2)\r",
    "no end of line": b"if 1:\n  print(1)",
    "comment without an end": b"print(1)\n# the end",
    "form feed": b"\x0cprint(1)\n",
    "wrong": b"print(1)\ndef f(:\n",
    "wrong at the end": b"print(1\n",
    "indented": b"print(1)\n  print(2)\n",
    "warns": b"print(1 is 1)\n",
    "fails": b"x = '\xc3\xa9'; 1 / 0\n",
    "interrupted": b"raise KeyboardInterrupt\n",
    "reads on": b"import os, sys\nprint(repr(sys.stdin.read()), os.read(0, 9))\ninput()\n",
    "longer than a block": b"import sys\n" + b"x = 1\n" * 20000 + b"print(repr(sys.stdin.read()), sys.stdin.buffer.peek())\n",
}
for name, text in PROGRAMS.items():
    cmd(f"stdin is a pipe: {name}", stdin=text)
    sh(f"stdin is a file: {name}", "$PY < s.py; echo $?", files={"s.py": text})
sh("stdin is slow", "(echo 'print(1)'; sleep 0.2; echo 'print(input())'; sleep 0.2; echo text) | $PY; echo $?")
sh("stdin is shared", "(read; $PY; cat) < s.py", files={"s.py": "print(1)\nprint(2)\nprint(3)\n"})
cmd("stdin, -x", "-x", stdin=b"print(1)\nprint(2)\n")
cmd("stdin, -u", "-u", stdin=b"import sys\nprint(repr(sys.stdin.read()))\n")
sh("stdin from a file", "$PY < s.py", files={"s.py": "def f():\n  raise ValueError\nf()\n"})
sh("here document", "$PY - a b <<'EOF'\nimport sys\nprint(sys.argv)\nEOF")
sh("stdin is null", "$PY < /dev/null; echo $?")

# -- Tracebacks and warnings

script("traceback", DEEP + "f(1)\n")
script("traceback chained", DEEP + "try:\n    f(1)\nexcept Exception as e:\n    raise ValueError('x') from e\n")
script("traceback in a handler", DEEP + "try:\n    f(1)\nexcept Exception:\n    {}['key']\n")
script("traceback from None", DEEP + "try:\n    f(1)\nexcept Exception:\n    raise KeyError('k') from None\n")
script("traceback with notes", "e = ValueError('x'); e.add_note('a note\\nmore'); raise e\n")
script("exception group", "raise ExceptionGroup('g', [ValueError(1), ExceptionGroup('h', [TypeError(2)])])\n")
script("traceback through an import", "import other\n", files={"other.py": "import third\n", "third.py": "1 / 0\n"})
script("syntax error in an import", "import other\n", files={"other.py": "x = (\n"})
script("import absent", "import nonesuch_module\n")
script("name suggested", "print(len(sys.argv))\n")
script("attribute suggested", "import json\njson.dumbs\n")
script("recursion", "def f():\n    f()\nf()\n")
script("recursion of two", "def f():\n    g()\ndef g():\n    f()\nf()\n")
script("limit", "import sys\nsys.tracebacklimit = 1\n" + DEEP + "f(1)\n")
script("exec and eval", "exec(compile('eval(\"1/0\")', 'made', 'exec'))\n")
script("str of exception fails", "class E(Exception):\n    def __str__(self): 1 / 0\nraise E\n")
script("surrogates in the message", "raise ValueError('\\udcff')\n")
script("print_stack", "import traceback\ndef f():\n    traceback.print_stack()\n    print(traceback.format_stack())\nf()\n")
script("frames", "import inspect, sys\nprint(sys._getframe().f_back, sys._getframe().f_lineno, len(inspect.stack()))\n"
       "print([(f.filename, f.lineno, f.function, f.code_context) for f in inspect.stack()])\n")
c("frames", "import inspect, sys; print(sys._getframe().f_back, [f[1:4] for f in inspect.stack()])")
cmd("-m frames", "-m", "mod", files={"mod.py": "import inspect; print([f[1:4] for f in inspect.stack()])\n"})
script("inspect source", "import inspect\ndef f():\n    pass  # here\nprint(inspect.getsource(f), inspect.getfile(f))\n")
c("traceback", "def f():\n  1 / 0\nf()")
script("warning", "import warnings\nwarnings.warn('x')\nwarnings.warn('y', DeprecationWarning)\n"
       "warnings.warn('z', ResourceWarning)\ndef f():\n    warnings.warn('w', stacklevel=2)\nf()\n")
script("warning in a module", "import other\nother.f()\n",
       files={"other.py": "import warnings\ndef f():\n    warnings.warn('x', DeprecationWarning, stacklevel=2)\n"})
script("ResourceWarning", "import warnings\nwarnings.simplefilter('always')\ndef f():\n    open('/dev/null')\nf()\n")
c("warning", "import warnings; warnings.warn('x')")
c("coroutine never awaited", "async def f(): pass\nx = f()")
c("unraisable", "class A:\n  def __del__(self): 1 / 0\na = A()\ndel a\nprint('on')")
c("unraisable at the end", "class A:\n  def __del__(self): 1 / 0\na = A()")
c("excepthook", "import sys\nsys.excepthook = lambda *a: print('hook', a[0])\n1 / 0")
c("excepthook exits", "import sys\nsys.excepthook = lambda *a: sys.exit(9)\n1 / 0")
c("excepthook fails", "import sys\nsys.excepthook = lambda *a: 1 / 0\n{}['x']")
c("excepthook deleted", "import sys\ndel sys.excepthook\n{}['x']")
c("sys.last_*", "import sys\nsys.excepthook = lambda *a: print(hasattr(sys, 'last_type'))\n1 / 0")
c("unraisablehook", "import sys\nsys.unraisablehook = lambda u: print('hook', u.exc_type)\n"
  "class A:\n  def __del__(self): 1 / 0\nA()")
c("threading.excepthook", "import threading\nthreading.excepthook = lambda a: print(a.exc_type)\n"
  "t = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()")

# -- sys, __main__ and the interpreter's state

SYS = ("import sys\nfor n in sorted(dir(sys)):\n"
       "  if n in ('modules', 'path_importer_cache') or callable(getattr(sys, n)): continue\n"
       "  print(n, str(getattr(sys, n)).split(' at 0x')[0] if n != 'stdlib_module_names' else '')\n")
c("attributes of sys", SYS)
c("names in sys", "import sys; print(dir(sys))")
c("settings", "import gc, sys; print(gc.get_threshold(), gc.isenabled(), gc.callbacks, gc.garbage, sys.getswitchinterval(), "
  "sys.getrecursionlimit(), sys.gettrace(), sys.getprofile(), sys.getdlopenflags(), sys.getfilesystemencoding(), "
  "sys.getfilesystemencodeerrors(), sys.getdefaultencoding(), sys.get_asyncgen_hooks(), sys.is_finalizing())")
c("builtins", "import builtins; print(dir(builtins)); print(quit, exit, copyright, help, open)")
c("site", "import site; print(site.ENABLE_USER_SITE, site.USER_SITE, site.USER_BASE, site.getsitepackages())")
c("sysconfig", "import sysconfig, platform; print(sysconfig.get_paths(), platform.python_version(), sysconfig.get_platform())")
c("dunder main", "import __main__, sys; x = 3; print(__main__.x, __main__ is sys.modules['__main__'], __main__.__spec__, "
  "__main__.__loader__, sorted(vars(__main__)))")
script("dunder main", "import __main__; x = 3\nprint(__main__.x, __main__.__file__, __spec__, __cached__, __loader__, "
       "__package__, __builtins__)\n")
script("pickle of __main__", "import pickle\nclass A: pass\nprint(pickle.dumps(A()), type(pickle.loads(pickle.dumps(A()))))\n")
script("module replaced", "import sys\nsys.modules['__main__'] = None\nprint(1)\n")
c("modules emptied", "import sys\nsys.modules.clear()\nprint(1)")
c("modules but two gone", "import sys\nfor k in list(sys.modules):\n  if k not in ('sys', 'builtins'): del sys.modules[k]\n"
  "print('unflushed', end='')")
c("builtins emptied", "import builtins\nprint('x', end='')\nbuiltins.__dict__.clear()",
  known="numpy has loaded threading, whose end fails without builtins; so it does under python3 if threading is imported")
c("meta_path gone", "import sys\nsys.meta_path = None\nprint(1)")
c("import hook", "import builtins\no = builtins.__import__\ndef f(n, *a, **k):\n  print('I', n); return o(n, *a, **k)\n"
  "builtins.__import__ = f\nimport nonesuch_module")
c("settrace", "import sys\nsys.settrace(lambda f, e, a: print('T', e, f.f_code.co_name))\ndef f(): pass\nf()\nsys.settrace(None)")
c("audit hook", "import sys\nsys.addaudithook(lambda e, a: print(e) if e.startswith('my') else None)\nsys.audit('my.event')")
c("hash seed", "print(hash('x') == hash('x'), hash(1.5))")
c("random seeded", "import random; random.seed(1); print(random.random())")
c("random fresh", "import random, numpy; print(random.random() != random.random())")
c("recursion limit", "import sys\ndef depth(n):\n  try: return depth(n + 1)\n  except RecursionError: return n\nprint(depth(0))")
c("deep in a thread", "import sys, threading\nthreading.stack_size(64 << 20); sys.setrecursionlimit(20000)\n"
  "def f(n): return n and f(n - 1)\nt = threading.Thread(target=lambda: print(f(15000))); t.start(); t.join()")
c("subinterpreter", "import _xxsubinterpreters as x\ni = x.create(); x.run_string(i, 'print(5)'); x.destroy(i)")
c("time spent", "import time; print(time.process_time() < 1.5, time.perf_counter() > 0)")
c("CPU time", "import os; t = os.times(); print(t.user + t.system < 0.5)")
c("threads", "import os, threading; print(threading.active_count(), threading.enumerate()[0].name, "
  "threading.main_thread() is threading.current_thread(), threading.get_native_id() == os.getpid())")
c("logging", "import logging\nlogging.warning('x'); logging.getLogger('q').error('z'); print(logging.root.handlers)")
c("logging configured", "import logging\nlogging.basicConfig(level=10); logging.info('x')")
c("locale", "import locale; print(locale.getlocale(), locale.setlocale(locale.LC_ALL), locale.getpreferredencoding())")
c("locale C", "import sys, locale; print(sys.stdout.encoding, sys.stdin.errors, locale.getlocale())",
  env={"LC_ALL": "C"}, fallback="environment")
c("time zone", "import datetime, time; print(time.tzname, time.timezone, datetime.datetime.fromtimestamp(0), time.localtime(0))",
  env={"TZ": "Asia/Kathmandu"})
c("environment", "import os; print(ascii(sorted(os.environb.items())))", env={"A": "\udcff", "B": "", "\u00c9": "\u00e9"})
c("environment of children", "import os, sys; os.environ['X'] = 'y'; sys.stdout.flush(); os.system('echo $X $A')", env={"A": "1"})
c("temporary folder", "import tempfile; print(tempfile.gettempdir())", env={"TMPDIR": "/var/tmp"})
c("home", "import os; print(os.path.expanduser('~'), os.get_exec_path())")
c("COLUMNS", "import argparse; argparse.ArgumentParser().parse_args(['-h'])", env={"COLUMNS": "33"})
c("user", "import getpass; print(getpass.getuser())", env={"LOGNAME": "zed"})
VARIABLE = "import os, sys; print(sys.flags, sys.stdout.encoding, sys.path, sys.warnoptions); breakpoint if 0 else 1/0"
for name, value in {"PYTHONPATH": "/tmp/nonesuch", "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1",
                    "PYTHONWARNINGS": "error", "PYTHONSAFEPATH": "1", "PYTHONFAULTHANDLER": "1",
                    "PYTHONIOENCODING": "latin-1:replace", "PYTHONBREAKPOINT": "0"}.items():
    c(f"{name}={value}", VARIABLE, env={name: value})
for name, value in {"PYTHONHASHSEED": "0", "PYTHONOPTIMIZE": "1", "PYTHONUTF8": "1", "PYTHONDEVMODE": "1"}.items():
    c(f"{name}={value}", VARIABLE, env={name: value}, fallback="environment")
for name in ("MATPLOTLIBRC", "OPENSSL_CONF", "PANDAS_DATA_MANAGER", "SCIPY_USE_PROPACK", "XDG_CONFIG_HOME"):
    c(f"{name}, which a library reads when it is imported", "import ssl; print(ssl.create_default_context().minimum_version)",
      env={name: "openssl.cnf"}, fallback="environment", files={"openssl.cnf":
      "openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMinProtocol = TLSv1.3\n"})

# -- Imports

script("module beside", "import helper; print(helper.__file__, helper.__cached__)\n", files={"helper.py": ""})
script("module made a moment ago", "import sys; sys.dont_write_bytecode = True\nopen('late_one.py', 'w').write('x = 1')\nimport late_one; print(late_one.x)\n"
       "open('late_two.py', 'w').write('x = 2')\nimport late_two\nprint(late_two.x)\n",
       files={})
script("module beside, of a preloaded name", "import numpy; print(numpy.__file__)\n", files={"numpy.py": ""},
       fallback="shadow")
script("package beside, in C, of a preloaded name", "import numpy\n", fallback="shadow",
       files={"numpy/__init__.cpython-311-x86_64-linux-gnu.so": ""})
script("module beside, of a name python itself has loaded", "import abc, os; print(abc.__file__, os.__file__)\n",
       files={"abc.py": "1 / 0\n", "os.py": "1 / 0\n"})
script("module beside, of a library's name", "import queue_x, colorsys; print(colorsys.__file__)\n",
       files={"colorsys.py": "", "queue_x.py": ""})
c("module in the cwd, of a preloaded name", "import numpy; print(numpy.__file__)", files={"numpy.py": ""}, fallback="shadow")
script("preloaded module", "import numpy; print(numpy.arange(3).sum(), numpy.__name__)\n")
script("reload", "import importlib, os, other; open('other.py', 'w').write('x = 22')\n"
       "os.utime('other.py', (1, 1)); importlib.reload(other); print(other.x)\n",  # the .pyc has its time
       files={"other.py": "x = 1"})
script("runpy", "import runpy; print(sorted(runpy.run_path('other.py', {'a': 1}, 'named').items())[-3:])\n"
       "runpy.run_module('third', run_name='__main__')\n", files={"other.py": "b = a; z = __name__\n", "third.py": "print(__name__)\n"})
script("zip on sys.path", "import sys, zipfile\nwith zipfile.ZipFile('a.zip', 'w') as z: z.writestr('inside.py', 'x = 5')\n"
       "sys.path.insert(0, 'a.zip')\nimport inside, os; print(inside.x, inside.__file__); os.unlink('a.zip')\n")
script("importlib.resources", "import importlib.resources as r; print(r.files('pack').joinpath('data').read_text())\n",
       files={"pack/__init__.py": "", "pack/data": "text"})

# -- Streams

STREAMS = ("import sys\nfor s in (sys.stdin, sys.stdout, sys.stderr):\n  sys.stderr.write(ascii((s and (s.name, s.mode, s.encoding, "
           "s.errors, s.line_buffering, s.write_through, s.newlines, s.fileno(), s.isatty(), type(s.buffer).__name__, "
           "type(s.buffer.raw).__name__, s.closed))) + '\\n') if sys.stderr else None\n")
c("streams", STREAMS, stdin=b"x")
sh("streams to files", "$PY s.py < s.py > out 2> err", files={"s.py": STREAMS})
sh("streams null", "$PY s.py < /dev/null > /dev/null 2> err", files={"s.py": STREAMS})
for closed in ("<&-", ">&-", "2>&-", "<&- >&-", ">&- 2>&-", "<&- 2>&-", "<&- >&- 2>&-"):
    sh(f"closed {closed}", f"$PY s.py {closed}; echo $?; cat res", files={"s.py":
       "import sys\nr = repr((sys.stdin, sys.stdout, sys.stderr, sys.__stdout__))\nprint(r)\nprint(1, file=sys.stderr)\n"
       "open('res', 'w').write(r + str([open('/dev/null').fileno() for i in range(4)]))\nsys.exit('why')\n"})
c("reads stdin", "import sys; print(repr(sys.stdin.read()))", stdin=b"a\r\nb\rc\n\xc3\xa9")
c("stdin not UTF-8", "import sys; print(ascii(sys.stdin.read()))", stdin=b"\xff\xfe")
c("input", "print(input('? ')); print(input())", stdin=b"a\n")
c("prints what cannot be encoded", "print('\\udcff')")
c("order", "import os, sys\nprint('a', end=''); sys.stdout.buffer.write(b'b'); os.write(1, b'c'); print('d', end='', flush=True); "
  "sys.stderr.write('e')")
sh("stdout and stderr the same file", "$PY -c 'import sys; print(1); print(2, file=sys.stderr); print(3)' > both 2>&1")
sh("appends", "echo x > a; $PY -c 'import os, sys; print(sys.stdout.tell()); sys.stdout.flush(); os.system(\"echo sub\")' >> a")
sh("offsets are shared", "printf 'abcdefgh\\nsecond\\n' > f; { head -c0; $PY -c 'import os; print(os.read(0, 3))'; cat; } < f")
sh("stdin open for writing", "$PY -c 'import os; os.write(0, b\"x\")' 0<>rw")
sh("a socket", "python3 -c 'import socket, subprocess, sys; a, b = socket.socketpair(); p = subprocess.Popen(sys.argv[1:], "
   "stdin=b, stdout=b); b.close(); a.sendall(b\"hi\\n\"); print(a.recv(99), p.wait())' $PY -c 'print(input() * 2)'")
sh("a pipe that would block", "python3 -c 'import os, subprocess, sys; r, w = os.pipe(); os.set_blocking(w, False); "
   "p = subprocess.Popen(sys.argv[1:], stdout=w, stderr=subprocess.PIPE); os.close(w); s = p.wait(); "
   "print(s, b\"BlockingIOError\" in p.stderr.read())' $PY -c 'import sys; sys.stdout.write(\"x\" * 1000000)'")
c("much output", "import sys; sys.stdout.write('x' * 5_000_000)")
c("stdout is None", "import sys\nsys.stdout = None\nprint(1)")
c("stderr is None", "import sys\nsys.stderr = None\n1 / 0")
c("stdout closed by the script", "import sys\nprint(1); sys.stdout.close()")
c("stdout detached", "import sys\nb = sys.stdout.detach(); b.write(b'x')")
c("stdout replaced", "import io, sys\nsys.stdout = io.TextIOWrapper(sys.stdout.buffer, write_through=False)\nprint('hello')")
c("stdout reconfigured", "import sys\nsys.stdout.reconfigure(encoding='latin-1', line_buffering=True); print('\u00e9')")
c("stdout flush fails", "import sys\nclass W:\n  def write(s, x): pass\n  def flush(s): raise ValueError('fl')\nsys.stdout = W()")
c("stdout's fd elsewhere", "import os\nprint('a'); os.dup2(os.open('/dev/null', 1), 1); print('b')")
c("C's stdio", "import ctypes\nc = ctypes.CDLL(None); c.puts(b'c'); print('py'); c.printf(b'z')")
c("C's stdio, a file", "import ctypes\nc = ctypes.CDLL(None); c.fopen.restype = ctypes.c_void_p\n"
  "f = c.fopen(b'made', b'w'); c.fputs(b'hey', ctypes.c_void_p(f))")
for code in ("print(1)", "import sys; sys.stdout.write('x' * 100000)", "import sys; print(1); sys.exit(3)", "print(1); 1 / 0",
             "import os; print(1); os._exit(4)", "print(1, flush=True)"):
    sh(f"full: {code}", f"$PY -c {shlex.quote(code)} > /dev/full; echo $?")
sh("full stderr", "$PY -c '1 / 0' 2> /dev/full; echo $?")
sh("broken pipe", "$PY -c 'while True: print(1)' | head -1; echo ${PIPESTATUS[0]}")
sh("broken pipe at the end", "$PY -c 'import time; time.sleep(0.3); print(1)' | true; echo ${PIPESTATUS[0]}")
sh("broken pipe with SIGPIPE", "$PY -c 'import signal; signal.signal(13, signal.SIG_DFL)\nwhile True: print(1)' | head -1; "
   "echo ${PIPESTATUS[0]}")
sh("the next command's pipe", "$PY -c 'print(1)' | { cat; echo end; }")
sh("pipeline", "seq 1 100000 | $PY -c 'import sys; print(sum(map(int, sys.stdin)))' | tr 0-9 a-j")
sh("process substitution", "$PY -c 'import sys; print(open(sys.argv[1]).read())' <(echo x)")

# -- Files and fds

c("files left open", "f = open('a', 'w'); f.write('x' * 5000 + 'end'); g = open('b', 'wb', 1 << 20); g.write(b'y'); keep = [f]; keep.append(keep)")
c("files left open, failing", "f = open('a', 'w'); f.write('text'); 1 / 0")
c("files left open, sys.exit", "import sys; f = open('a', 'w'); f.write('text'); sys.exit(2)")
c("files left open, os._exit", "import os; f = open('a', 'w'); f.write('text'); os._exit(2)")
c("files left open, without gc", "import gc\ngc.disable()\nclass A: pass\na = A(); a.me = a; a.f = open('a', 'w'); a.f.write('data')\ndel a")
c("files left open in other modules", "import json, gzip; json.f = open('a', 'w'); json.f.write('q'); z = open('b', 'wb'); "
  "z.write(b'1'); import io; t = io.TextIOWrapper(open('c', 'wb')); t.write('t')")
c("zip left open", "import tarfile; t = tarfile.open('t.tar', 'w'); t.add('a')", files={"a": "x"})
c("temporary files are removed", "import os, tempfile; t = tempfile.NamedTemporaryFile(dir='.'); d = tempfile.TemporaryDirectory(dir='.'); "
  "d.cleanup; print(len(os.listdir()))")
c("fds start at 3", "print([open('/dev/null').fileno() for i in range(3)]); a = [open('/dev/null') for i in range(6)]; print([x.fileno() for x in a])")
sh("inherited fds", "exec 7<f 450<f; $PY -c 'import os; print(os.read(7, 3), os.fstat(450).st_size, os.get_inheritable(7)); "
   "print([x for x in sorted(map(int, os.listdir(\"/proc/self/fd\"))) if 3 < x < 600])'; cat <&7", files={"f": "abcdef"})
sh("inherited fd high", "exec 1000<f; $PY -c 'import os; print(os.fstat(1000).st_size)'", files={"f": "abc"}, fallback="fds")
sh("umask", "umask 077; $PY -c 'open(\"made\", \"w\"); import os; os.mkdir(\"d\")'; umask 002; $PY -c 'open(\"two\", \"w\")'")
sh("cwd removed", "mkdir g; cd g; rmdir ../g; $PY -c 'import os; os.getcwd()'")
sh("cwd removed, sys.path", "mkdir g; cd g; rmdir ../g; $PY -c 'import sys, json; print(sys.path[0] == \"\")'")
sh("close_range", "$PY -c 'import os; os.closerange(3, 65536); print(1)'; echo $?")
sh("all fds closed", "$PY -c 'import os, sys; os.closerange(0, 65536); sys.exit(3)'; echo $?")

# -- Limits and what else a process inherits

sh("ulimit -n", "ulimit -n 64; $PY -c 'import resource; print(resource.getrlimit(7))\ntry:\n  a = [open(\"/dev/null\") for i in range(100)]\n"
   "except OSError as e: print(e)'")
sh("ulimit -f", "ulimit -f 1; $PY -c 'open(\"f\", \"w\").write(\"x\" * 5000)'; echo $?")
sh("ulimit -c", "ulimit -c 0; $PY -c 'import os; os.abort()'; echo $?")
sh("ulimit -t", "ulimit -t 1; $PY -c 'while True: pass'; echo $?", fallback="limits")
sh("ulimit -s", "ulimit -s 1000; $PY -c 'import resource; print(resource.getrlimit(resource.RLIMIT_STACK))'", fallback="limits")
sh("ulimit -v", "ulimit -v 4000000; $PY -c 'import resource; print(resource.getrlimit(resource.RLIMIT_AS))'", fallback="limits")
c("limits", "import resource; print([resource.getrlimit(i) for i in range(16)])")
c("what it runs", "import os; print(os.readlink('/proc/self/exe'))")
CALLED = "for name in ('cmdline', 'comm', 'environ'): print(name, open(f'/proc/self/{name}', 'rb').read())\n"
c("what it is called", CALLED, "one", "", "two words", "\u00e9\n")
script("what it is called", CALLED, "-c", "x")
piped("what it is called", CALLED, "-", "a")
cmd("-m what it is called", "-m", "mod", "-x", files={"mod.py": CALLED})
c("what it is called at length", CALLED, *["y" * 1000] * 1000)
c("what it is called, large environment", CALLED, env={f"B{i}": "x" * 100_000 for i in range(12)})
c("what its threads are called", "import threading\nthreading.Thread(target=lambda: print(open('/proc/thread-self/comm').read())).start()")
c("what its children are called", "import os\nif os.fork() == 0:\n  " + CALLED.replace("\n", "") + "; os._exit(0)\nos.wait()")
c("what ps calls it", "import os\nos.system(f'ps -ww -o comm,args -p {os.getpid()}; ps -ww e -o args -p {os.getpid()} | wc -c')", "--", "a b")
c("what pgrep finds", "import os\nfor how in ('-x python3', '-f \"^/usr/bin/python3 -c .* needle$\"'):\n"
  "  print(str(os.getpid()) in os.popen(f'pgrep {how}').read().split())", "needle")
sh("nice", "nice -n 5 $PY -c 'import os; print(os.nice(0))'")
sh("affinity", "taskset -c 0 $PY -c 'import os; print(os.sched_getaffinity(0))'")
sh("affinity of all", "$PY -c 'import os; print(len(os.sched_getaffinity(0)), os.cpu_count())'")
sh("nohup", "nohup $PY -c 'import os, signal; print(signal.getsignal(1)); os.kill(os.getpid(), 1)'; echo $?")
sh("background SIGINT", "$PY -c 'import os, signal; print(signal.getsignal(2), signal.getsignal(3))' & wait; echo $?")
sh("SIGCHLD ignored", "(trap '' CHLD; exec $PY -c 'import signal; print(signal.getsignal(17))')")
sh("SIGPIPE ignored", "trap '' PIPE; $PY -c 'import signal; print(signal.getsignal(13))'")
sh("SIGTERM ignored", "trap '' TERM; $PY -c 'import os, signal; print(signal.getsignal(15)); os.kill(os.getpid(), 15)'; echo $?")
sh("SIGPIPE default", "env --default-signal=PIPE,XFSZ $PY -c 'import signal; print(signal.getsignal(13), signal.getsignal(25))'")
sh("signals blocked", "env --block-signal=TERM,USR1 $PY -c 'import signal; print(signal.pthread_sigmask(0, []))'")
sh("signals of children", "trap '' USR1; $PY -c 'import subprocess; subprocess.run([\"grep\", \"^Sig[BI]\", \"/proc/self/status\"])'")
c("signals of exec", "import os\nos.execvp('grep', ['grep', '^Sig[BI]', '/proc/self/status'])")
c("signals", "import signal; print([signal.getsignal(i) for i in range(1, 65) if i not in (32, 33)], signal.getitimer(0), "
  "signal.set_wakeup_fd(-1), signal.sigpending(), signal.pthread_sigmask(0, []))")
c("status of children", "import subprocess\nsubprocess.run(['grep', '-E', '^(Cap|NoNew|Seccomp|Cpus_a|Mems_a|Uid|Gid|Groups|Umask|"
  "CoreD|Threads)', '/proc/self/status'])")
c("fds of children", "import subprocess\nsubprocess.run('ls /proc/self/fd | wc -l', shell=True)")
c("session leader", "import os\nos.setsid(); print(os.getpid() == os.getsid(0))")
sh("own session", "$PY -c 'import os; os.setsid(); print(os.getpid() == os.getsid(0))'; echo $?")
sh("own group", "$PY -c 'import os; os.setpgrp(); print(os.getpid() == os.getpgrp())'; echo $?")

# -- Threads, asyncio, signals, other processes

c("thread awaited", "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('t'))).start(); print('m')")
c("thread awaited, sys.exit", "import sys, threading, time\nthreading.Thread(target=lambda: (time.sleep(0.2), print('t'))).start(); sys.exit(4)")
c("thread fails", "import threading\nthreading.Thread(target=lambda: 1 / 0, name='q').start()")
c("thread exits", "import sys, threading\nthreading.Thread(target=sys.exit, args=(3,)).start()")
c("daemon thread", "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start(); print('done')")
c("daemon thread spins", "import threading\ndef f():\n  while True: pass\nfor i in range(3): threading.Thread(target=f, daemon=True).start()\n"
  "print('done')")  # a file left open here is lost under python3 more often than not
c("daemon thread holds stdout", "import sys, threading, time\ndef f():\n  while True: sys.stdout.write(''); sys.stdout.flush()\n"
  "for i in range(3): threading.Thread(target=f, daemon=True).start()\ntime.sleep(0.1); print('done')")
c("timer", "import threading\nthreading.Timer(0.1, print, ['t']).start()")
c("executor", "import time\nfrom concurrent.futures import ThreadPoolExecutor as T\nt = T(2); t.submit(lambda: time.sleep(0.2) or print('done'))")
c("thread-local deleted", "import threading\nclass A:\n  def __del__(s): print('d')\nt = threading.local(); t.a = A()")
c("asyncio", "import asyncio\nasync def m():\n  p = await asyncio.create_subprocess_exec('sh', '-c', 'echo hi; exit 3')\n"
  "  print(await p.wait()); await asyncio.to_thread(print, 5)\n  await asyncio.gather(*[asyncio.sleep(0.01) for i in range(9)])\nasyncio.run(m())")
c("asyncio fails", "import asyncio\nasync def m():\n  async with asyncio.TaskGroup() as g: g.create_task(n())\nasync def n(): 1 / 0\nasyncio.run(m())")
c("asyncio signal", "import asyncio, os, signal\nasync def m():\n  e = asyncio.Event(); asyncio.get_running_loop().add_signal_handler(10, e.set)\n"
  "  os.kill(os.getpid(), 10); await e.wait(); print('got')\nasyncio.run(m())")
c("asyncio task destroyed", "import asyncio\nl = asyncio.new_event_loop()\nasync def f(): await asyncio.sleep(9)\nt = l.create_task(f()); "
  "l.run_until_complete(asyncio.sleep(0))")
c("asyncgen", "import asyncio\nasync def g():\n  try:\n    yield 1\n  finally: print('fin')\nasync def m():\n  async for x in g(): break\nasyncio.run(m())")
c("signal handlers", "import os, signal\nfor s in (1, 3, 10, 12, 14): signal.signal(s, lambda n, f: print(n))\n"
  "for s in (1, 3, 10, 12, 14): os.kill(os.getpid(), s)")
c("signal wakes", "import signal\nsignal.setitimer(signal.ITIMER_REAL, 0.1)\nsignal.signal(14, lambda *a: print('alarm'))\nsignal.pause()")
c("signal sent to a thread", "import signal, threading, time\nsignal.signal(10, lambda *a: print('got', threading.current_thread().name))\n"
  "t = threading.Thread(target=time.sleep, args=(0.2,)); t.start(); signal.pthread_kill(t.ident, 10); t.join()")
c("sigwait", "import os, signal\nsignal.pthread_sigmask(signal.SIG_BLOCK, [10]); os.kill(os.getpid(), 10); print(signal.sigwait([10]))")
c("SIGCHLD", "import signal, subprocess\nsignal.signal(17, lambda *a: print('child'))\nsubprocess.run('true')")
c("Ctrl-C caught", "import os, time\ntry:\n  os.kill(os.getpid(), 2); time.sleep(5)\nexcept KeyboardInterrupt: print('caught')")
c("no children at first", "import os\ntry: print(os.waitpid(-1, os.WNOHANG))\nexcept OSError as e: print(e)")
c("subprocess", "import subprocess, sys; print(subprocess.run([sys.executable, '-c', 'import sys; print(sys.argv, sys.flags); sys.exit(3)'], capture_output=True))")
c("os.system", "import os; print(os.system('exit 3'), os.popen('echo x').read())")
c("fork, sys.exit", "import os, sys\np = os.fork()\nif p == 0: print('child'); sys.exit(9)\nprint(os.waitpid(p, 0)[1]); sys.exit(3)")
c("fork, fails", "import os, sys\nsys.stdout.write('buffered')\np = os.fork()\nif p == 0: 1 / 0\nprint(os.waitpid(p, 0)[1])")
c("fork, both go on", "import atexit, os\natexit.register(lambda: print('bye', flush=True))\np = os.fork()\nif p: os.wait()\nprint(bool(p))")
c("fork, threads", "import os, threading, time\nthreading.Thread(target=time.sleep, args=(0.3,)).start()\nif os.fork() == 0: print(threading.active_count()); os._exit(0)\nos.wait()")
c("exec", "import os\nprint('x', flush=True)\nos.execvp('sh', ['sh', '-c', 'echo $0 $FOO; exit 9'])")
c("exec python", "import os, sys\nos.execv(sys.executable, [sys.executable, '-c', 'import sys; sys.exit(5)'])")
c("exec fails", "import os\nos.execv('/nonesuch', ['x'])")
MP = ("import multiprocessing as mp, sys\ndef f(x): return x * x\ndef g(q): q.put(__name__)\nif __name__ == '__main__':\n"
      "  x = mp.get_context('%s')\n  with x.Pool(2) as p: print(p.map(f, range(5)))\n  q = x.Queue(); p = x.Process(target=g, args=(q,))\n"
      "  p.start(); print(q.get()); p.join()\n  p = x.Process(target=sys.exit, args=(4,)); p.start(); p.join(); print(p.exitcode)\n")
for method in ("fork", "spawn", "forkserver"):
    script(f"multiprocessing {method}", MP % method)
script("multiprocessing fails", "import multiprocessing as mp\ndef f(x): return 1 / x\nif __name__ == '__main__':\n"
       "  with mp.get_context('spawn').Pool(1) as p: p.map(f, [0])\n")
script("shared memory", "from multiprocessing import shared_memory as s\na = s.SharedMemory(create=True, size=9); a.buf[0] = 5\n"
       "b = s.SharedMemory(a.name); print(b.buf[0]); b.close(); a.close(); a.unlink()\n")
script("process pool", "from concurrent.futures import ProcessPoolExecutor as P\ndef f(x): return x + 1\nif __name__ == '__main__':\n"
       "  with P(2) as p: print(list(p.map(f, range(3))))\n")
sh("daemonised child", "$PY s.py; echo $?; until [ -e made ]; do sleep 0.05; done", files={"s.py":
   "import os, sys, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork() == 0:\n    n = os.open('/dev/null', os.O_RDWR)\n"
   "    for i in range(3): os.dup2(n, i)\n    time.sleep(0.7); open('tmp', 'w').write('alive'); os.rename('tmp', 'made'); os._exit(0)\n"
   "  os._exit(0)\nos.wait(); print('parent', flush=True); sys.exit(3)\n"})
for how in ("sys.exit(3)", "os._exit(3)", "os.kill(os.getpid(), 9)", "os.kill(os.getpid(), 15)", "os.execvp('true', ['true'])"):
    sh(f"child outlives {how}", "$PY s.py; echo $?; until [ -e made ]; do sleep 0.05; done", files={"s.py":
       "import os, subprocess, sys\nd = subprocess.DEVNULL\nsubprocess.Popen(['sh', '-c', 'sleep 0.7; echo alive > tmp; mv tmp made'], "
       f"stdin=d, stdout=d, stderr=d)\n{how}\n"})
sh("child holds the pipe", "$PY s.py | cat", files={"s.py": "import os, sys, time\nif os.fork() == 0:\n  time.sleep(0.5); os.write(1, b'late'); os._exit(0)\nprint('early', flush=True)\n"})
sh("killed from outside", "$PY -c 'import os, time; print(1, flush=True); time.sleep(60)' > out & p=$!; until [ -s out ]; do sleep 0.05; done; "
   "kill -TERM $p; wait $p; echo $?")
sh("interrupted from outside", "set -m; $PY -c 'import time; print(1, flush=True); time.sleep(60)' > out & p=$!; until [ -s out ]; do sleep 0.05; done; "
   "kill -INT $p; wait $p; echo $?")
sh("USR1 from outside", "$PY s.py > out & p=$!; until [ -s out ]; do sleep 0.05; done; kill -USR1 $p; wait $p; echo $?; cat out",
   files={"s.py": "import signal, sys, time\nsignal.signal(10, lambda *a: sys.exit(7))\nprint(1, flush=True)\ntime.sleep(60)\n"})

# -- Debugging

c("pdb", "import pdb; pdb.set_trace(); x = 1; print(x)", stdin=b"p 1 + 1\nn\nc\n")
script("pdb", "x = 1\nbreakpoint()\ny = x + 1\nprint(y)\n", stdin=b"l\nw\np x\nn\np y\nc\n")
script("pdb up", "def f(a):\n    breakpoint()\n    return a\nprint(f(5))\n", stdin=b"w\nu\nw\np f\nd\na\nq\n")
cmd("-m pdb", "-m", "pdb", "s.py", files={"s.py": "x = 1\ny = x / 0\n"}, stdin=b"b 2\nc\np x\nc\nw\nq\n")
c("pdb at the end of input", "breakpoint()\nprint(2)", stdin=b"")
cmd("-m trace", "-m", "trace", "--trace", "s.py", files={"s.py": "def f():\n    return 1\nf()\n"})
cmd("-m profile", "-m", "cProfile", "-o", "/dev/null", "s.py", files={"s.py": "print(__name__)\n"})
cmd("-m unittest", "-m", "unittest", "-q", "test_x", files={"test_x.py": "import unittest\nclass T(unittest.TestCase):\n  def test(s): pass\n"})
cmd("-m doctest", "-m", "doctest", "s.py", files={"s.py": "'''\n>>> 1 + 1\n3\n'''\n"})
c("faulthandler", "import faulthandler; faulthandler.enable(); faulthandler.dump_traceback(); print(faulthandler.is_enabled())")
c("faulthandler, segfault", "import faulthandler; faulthandler.enable(); import ctypes; ctypes.string_at(0)",
  known="it lists the extension modules loaded, and so numpy's")
c("faulthandler, signal", "import faulthandler, os, signal; faulthandler.register(10); os.kill(os.getpid(), 10)")
c("tracemalloc", "import tracemalloc; tracemalloc.start(); x = [0] * 1000; print(tracemalloc.is_tracing())")
c("code.interact", "import code; code.interact('hello', local={'a': 5})", stdin=b"a + 1\nif a:\n  print(2)\n\n1/0\n")

# -- Ends

for status in ("0", "1", "257", "-1", "2.5", "2 ** 70", "-2 ** 70", "True", "None", "''", "()", "'\\udcff'", "[1]", "b'x'"):
    c(f"SystemExit({status})", f"raise SystemExit({status})")
c("SystemExit()", "raise SystemExit")
c("SystemExit(1, 2)", "raise SystemExit(1, 2)")
c("SystemExit with a property", "class E(SystemExit):\n  code = property(lambda s: 7)\nraise E")
c("SystemExit with a failing property", "class E(SystemExit):\n  @property\n  def code(s): 1 / 0\nraise E")
c("KeyboardInterrupt", "raise KeyboardInterrupt")
c("KeyboardInterrupt, derived", "class K(KeyboardInterrupt): pass\nraise K")
c("KeyboardInterrupt, ignored", "import signal; signal.signal(2, signal.SIG_IGN); raise KeyboardInterrupt")
c("KeyboardInterrupt, blocked", "import signal; signal.pthread_sigmask(0, [2]); raise KeyboardInterrupt")
c("KeyboardInterrupt, atexit", "import atexit\natexit.register(print, 'x')\nraise KeyboardInterrupt")
script("KeyboardInterrupt", "raise KeyboardInterrupt\n")
c("GeneratorExit", "raise GeneratorExit")
c("atexit", "import atexit; atexit.register(print, 'bye'); atexit.register(print, 'first'); 1 / 0")
c("atexit fails", "import atexit\ndef f(): 1 / 0\natexit.register(f); print('m')")
c("atexit exits", "import atexit, sys\ndef f(): sys.exit(5)\natexit.register(f); print('m')")
c("atexit os._exit", "import atexit, os\natexit.register(os._exit, 5); print('m')")
c("atexit thread", "import atexit, threading\ndef f(): threading.Thread(target=print, args=('t',)).start()\natexit.register(f); print('m')")
c("atexit KeyboardInterrupt", "import atexit, os, time\natexit.register(lambda: (os.kill(os.getpid(), 2), time.sleep(1)))")
c("atexit registers", "import atexit\natexit.register(lambda: atexit.register(print, 'late'))")
c("os._exit", "import os; print('lost'); os._exit(6)")
c("os.abort", "import os; os.abort()")
c("segfault", "import ctypes; ctypes.string_at(0)")
c("C's exit", "import ctypes\nprint('x')\nctypes.CDLL(None).exit(7)")
c("Py_Exit", "import ctypes\nprint('x')\nctypes.pythonapi.Py_Exit(6)")
c("os._exit in a thread", "import os, threading, time\nthreading.Thread(target=os._exit, args=(6,)).start(); time.sleep(5)")
for number in (1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 13, 14, 15, 24, 25, 31, 34, 64):
    c(f"signal {number}", f"import os, time\nos.kill(os.getpid(), {number})\ntime.sleep(0.5)\nprint('on')")
c("alarm", "import signal, time; signal.setitimer(signal.ITIMER_REAL, 0.1); time.sleep(5)")
c("__del__ at the end", "class A:\n  def __init__(s, n): s.n = n\n  def __del__(s): print(s.n)\na = A(1); b = A(2); b.b = b; _c = A(3); l = [A(4)]\n"
  "def f(x=A(8)): pass\nclass B: q = A(9)")
c("__del__ uses globals", "import os\nX = 5\nclass A:\n  def __del__(s): print(X, os, len)\na = A()")
c("__del__ is finalizing", "import sys\nclass A:\n  def __del__(s): print(sys.is_finalizing() if sys else None)\na = A()")
c("generator closed at the end", "def g():\n  try: yield 1\n  finally: print('fin')\nx = g(); next(x)")
c("weakref.finalize", "import weakref\nclass A: pass\na = A(); weakref.finalize(a, print, 'fin')")
c("lru_cache", "import functools\nclass A:\n  def __del__(s): print('d')\n@functools.lru_cache\ndef f(): return A()\nf()")
c("__del__ in a preloaded module", "import numpy\nclass A:\n  def __del__(s): print('d')\nnumpy.zzz = A()")
c("__del__ in a preloaded module's object", "import os\nclass A:\n  def __del__(s): print('d')\nos.environ.zzz = A()")
c("__del__ deep in a preloaded module", "import os\nclass A:\n  def __del__(s): print('d')\nos.environ.zzz = [A()]",
  known="what preloaded modules hold of the script is left to the kernel, where that holds yet more")
# -- What is still there at the end, and what is not

DEL = "class A:\n  def __init__(s, n='x'): s.n = n\n  def __del__(s): print('del', s.n)\n"
for name, code in {
    "builtins": "import builtins\nbuiltins.x = A()", "sys": "import sys\nsys.x = A()", "json": "import json\njson.x = A()",
    "os": "import os\nos.x = A()", "a class of json": "import json\njson.JSONDecoder.x = A()",
    "a context": "import contextvars\nv = contextvars.ContextVar('v'); v.set(A())",
    "another thread": "import threading, time\nl = threading.local()\ndef f(): l.a = A(); time.sleep(60)\n"
    "threading.Thread(target=f, daemon=True).start(); time.sleep(0.1)",
    "another thread's frame": "import threading, time\ndef f(): a = A(); time.sleep(60)\n"
    "threading.Thread(target=f, daemon=True).start(); time.sleep(0.1)",
    "the exception's frame": "def f():\n  a = A('frame')\n  raise ValueError\nf()",
    "SystemExit's frame": "import sys\ndef f():\n  a = A('frame')\n  sys.exit(3)\nf()",
    "sys.modules": "import sys\nsys.modules['zz'] = A()",
}.items():
    c(f"__del__ in {name}", DEL + code)
AT_END = "class A:\n  def __del__(s):\n    try:\n      %s\n    except BaseException as e: print(repr(e))\na = A()\n"
for code in ("import colorsys; print(colorsys)", "import json; print(json)", "print(open('made', 'w'))",
             "import sys; print(sys.path, sys.meta_path, sys.argv)", "import builtins; print(len(dir(builtins)))"):
    c(f"__del__: {code}", AT_END % code)
    c(f"__del__ in a cycle: {code}", AT_END % code + "a.a = a")
c("__del__ sees sys and its modules", "import sys\nclass A:\n  def __del__(s):\n    m = s.m\n    print([n for n in dir(m) if getattr(m, n) is None], "
  "m.modules)\nA.m = sys\na = A()")
for code in ("1 / 0", "sys.exit(5)", "raise KeyboardInterrupt", "os._exit(5)", "os.abort()", "os.kill(os.getpid(), 2); print('on')",
             "atexit.register(print, 'x')", "subprocess.run(['true'])", "logging.warning('w')", "print(gc.collect() >= 0)"):
    c(f"__del__ runs {code}", "import atexit, gc, logging, os, subprocess, sys\nclass A:\n  def __del__(s): " + code + "\na = A()")
script("__del__ fails", "class A:\n  def __del__(s): 1 / 0\na = A()\n")
c("__del__ and a handled signal", "import os, signal, time\nsignal.signal(15, lambda *a: print('h'))\nclass A:\n"
  "  def __del__(s): os.kill(os.getpid(), 15); time.sleep(0.1); print('on')\na = A()")
c("finalizing, step by step", "import atexit, sys, threading\nf = sys.is_finalizing\nclass A:\n  def __del__(s): print('del', f())\na = A()\n"
  "atexit.register(lambda: print('atexit', f()))\nthreading.Thread(target=lambda: print('thread', f())).start()")
c("generator imports at the end", "def g():\n  try: yield 1\n  finally:\n    import colorsys; print(colorsys)\nx = g(); next(x)")
c("gc.callbacks", "import gc\ngc.callbacks.append(lambda phase, info: print(phase, info['generation']))")
c("gc.garbage", "import gc\ngc.set_debug(gc.DEBUG_UNCOLLECTABLE)\ngc.garbage.append(5)")
c("unraisablehook at the end", "import sys\nsys.unraisablehook = lambda u: print('hook', u.exc_type, u.err_msg)\n"
  "class A:\n  def __del__(s): 1 / 0\na = A()")
c("stdout replaced goes", "import sys\nclass W:\n  def write(s, x): sys.__stdout__.write('W' + x)\n  def flush(s): pass\n"
  "  def __del__(s): sys.__stdout__.write(f'del {sys.path}\\n')\nsys.stdout = W()\nprint('x')")
c("flushed how often", "import logging, sys\nclass W:\n  def write(s, x): pass\n  def flush(s): sys.__stderr__.write(f'{sys.stdout is s} "
  "{sys.is_finalizing()}\\n')\nsys.stdout = sys.stderr = W()")
c("stderr flush fails", "import sys\nclass W:\n  def write(s, x): pass\n  def flush(s): 1 / 0\nsys.stderr = W()")
c("stdout is no file", "import sys\nclass W: pass\nsys.stdout = W()")
c("stderr is None, sys.exit", "import sys\nsys.stderr = None\nsys.exit('why\\udcff')")
c("stderr closed", "import sys\nsys.stderr.close()\n1 / 0")
c("atexit cleared", "import atexit\natexit._clear()\nf = open('a', 'w'); f.write('q')\nclass A:\n  def __del__(s): print('d', open)\na = A()")
c("atexit run early", "import atexit\natexit.register(print, 1); atexit._run_exitfuncs(); print(2)\nf = open('a', 'w'); f.write('q')")
c("atexit sees sys", "import atexit, sys\natexit.register(lambda: print(type(sys.stdout), sys.__interactivehook__.__name__, len(sys.modules) > 9))")
c("thread joined, signal exits", "import signal, sys, threading, time\nsignal.signal(14, lambda *a: sys.exit(9)); signal.setitimer(0, 0.1)\n"
  "threading.Thread(target=time.sleep, args=(0.4,)).start()")
c("thread joined, interrupted", "import os, threading, time\nthreading.Thread(target=lambda: (time.sleep(0.1), os.kill(os.getpid(), 2), "
  "time.sleep(0.2), print('t'))).start()")
c("pool left open", "import multiprocessing as m\np = m.get_context('fork').Pool(2); print(p.map(abs, [-1]))")
c("shared memory left", "from multiprocessing import shared_memory as s\na = s.SharedMemory('poold-left', create=True, size=9)")
c("dump_traceback_later", "import faulthandler\nfaulthandler.dump_traceback_later(60)")
c("fork in a thread, exit", "import os, sys, threading\ndef f():\n  p = os.fork()\n  if not p: sys.exit(4)\n  print(os.waitpid(p, 0)[1])\n"
  "t = threading.Thread(target=f); t.start(); t.join()")
for name, code in {"a file": "f = open('/dev/null')", "a socket": "import socket; s = socket.socket()", "a file in json":
                   "import json; json.f = open('a', 'w'); json.f.write('q')", "a loop": "import asyncio; l = asyncio.new_event_loop()",
                   "a process": "import subprocess; p = subprocess.Popen(['sleep', '0.1']); p.pid = 7; p.args = 1",
                   "a coroutine": "async def f(): pass\nx = f()", "a folder": "import os; x = os.scandir('.'); next(x)",
                   "a cycle": "class A: pass\na = A(); a.a = a; a.f = open('a', 'w'); a.f.write('x')"}.items():
    cmd(f"-Wd {name} left", "-Wd", "-c", code)

# -- What a module reads when it is imported

c("logging: relativeCreated", "import logging, time\ntime.sleep(0.01); print(logging.LogRecord(*[''] * 4, *[None] * 3).relativeCreated < 5000)")
script("multiprocessing: where it began", "import multiprocessing.process as p, os; print(p.ORIGINAL_DIR == os.getcwd())\n")
script("path_importer_cache", "import sys; print(sys.path_importer_cache[__file__])\n")

# -- Large

c("memory error", "x = bytearray(1 << 60)")
c("large argument list", "import sys; print(len(sys.argv), sum(map(len, sys.argv)))", *["y" * 1000] * 1000)
c("large environment", "import os; print(sum(map(len, os.environ.values())) > 1_000_000)", env={f"B{i}": "x" * 100_000 for i in range(12)})


@pytest.fixture(scope="module")
def pair(start_poold, tmp_path_factory):
    poold = start_poold("[pool:default]\nsize = 3\nmodules = json, logging, multiprocessing.process, numpy\n")
    return compare.Pair(poold, tmp_path_factory.mktemp("cases") / "here")


def rows():
    for case in CASES:
        marks = [pytest.mark.xfail(reason=case.known, strict=True)] if case.known else []
        yield pytest.param(case, id=case.name, marks=marks)


@pytest.mark.parametrize("case", rows())
def test_as_python3(pair, case):
    cold = pair.cold(case.command, case.files, case.env, stdin=case.stdin)
    warm, hits, misses = pair.warm(case.command, case.files, case.env, stdin=case.stdin)
    assert warm == cold
    assert misses == ({case.fallback} if case.fallback else set())
    assert hits or case.fallback


@pytest.mark.parametrize("name", MAY_DIFFER)
def test_may_differ(pair, name):
    code, _why = MAY_DIFFER[name]
    command = Case(name, args=("-c", code)).command
    assert pair.cold(command, {}, {}) != pair.warm(command, {}, {})[0]


def test_names_are_told_apart(count):
    assert len({case.name for case in CASES}) == len(CASES)
    known, fallback = sum(bool(case.known) for case in CASES), sum(bool(case.fallback) for case in CASES)
    count(f"cases compared: {len(CASES)}, {len(CASES) - fallback} of them warm and {fallback} by fallback; "
          f"{known} known to differ; {len(MAY_DIFFER)} things that may differ")
