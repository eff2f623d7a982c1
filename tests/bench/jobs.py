"""Times commands as a shell's jobs in the foreground of our terminal, in turns.

jobs.py RESULT RUNS PAUSE COMMAND...: writes the seconds that each command took, a list for each, to the file RESULT.
"""

import json
import os
import shlex
import signal
import sys
import time


def seconds(words):
    start = time.perf_counter()
    pid = os.posix_spawn(words[0], words, os.environ, setpgroup=0)
    os.tcsetpgrp(0, pid)
    status = os.waitpid(pid, 0)[1]
    taken = time.perf_counter() - start
    os.tcsetpgrp(0, os.getpgrp())
    if status:
        raise SystemExit(f"{words} ended with {status:#x}")
    return taken


def main():
    result, runs, pause = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    commands = [shlex.split(command) for command in sys.argv[4:]]
    taken = [[] for _ in commands]
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    for _ in range(runs):
        for times, words in zip(taken, commands):
            time.sleep(pause)
            times.append(seconds(words))
    with open(result, "w") as file:
        json.dump(taken, file)


main()
