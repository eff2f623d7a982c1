"""Programs that use the whole screen or prompt, in a tmux with a real bash: what is on the screen is what python3 leaves."""

import re
import subprocess

import pytest

from harness import PYTHON, eventually

READY = "ready> "
IDLE = "^ready> *$"


class Screen:
    """A tmux of our own, with one window, in which bash waits at its prompt."""

    def __init__(self, poold, program, folder):
        self.poold = poold
        self.program = program
        self.socket = folder / "tmux"
        env = poold.env | {"PS1": READY, "HISTFILE": "", "INPUTRC": "/dev/null", "TERM": "screen", "LANG": "C.UTF-8",
                           "IPYTHONDIR": str(folder / "ipython")}
        self.tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "24", "bash", "--norc", "--noprofile", "-i",
                  env=env, cwd=poold.folder)
        self.wait(IDLE)
        self.tmux("set", "-g", "escape-time", "0")

    def tmux(self, *args, **options):
        return subprocess.run(["tmux", "-S", self.socket, *args], check=True, capture_output=True, text=True, **options).stdout

    def type(self, text, *keys):
        self.tmux("send-keys", "-l", text)
        self.tmux("send-keys", *(keys or ["Enter"]))

    def press(self, *keys):
        self.tmux("send-keys", *keys)

    def text(self):
        return self.tmux("capture-pane", "-p").rstrip("\n")

    def wait(self, pattern):
        """Until the screen shows it; what it shows then, with the program's name as python3's."""
        def shown():
            text = self.text()
            return text if re.search(pattern, text, re.M) else None

        return eventually(lambda: f"{pattern!r} on the screen, which has:\n{self.text()}", shown)

    def run(self, arguments):
        if self.program != PYTHON:
            self.poold.wait_idle()
        self.type(f"clear; {self.program} {arguments}")

    def close(self):
        self.tmux("kill-server")


@pytest.fixture(params=["poolctl", "python3"])
def screen(poold, request, tmp_path):
    poold.start("[pool:default]\nsize = 2\n")
    program = f"{poold.program('poolctl')} run --no-fallback" if request.param == "poolctl" else PYTHON
    screen = Screen(poold, program, tmp_path)
    try:
        yield screen
    finally:
        screen.close()


def test_ipython(screen):
    screen.run("-m IPython --no-banner --colors=NoColor")
    screen.wait(r"^In \[1\]: *$")
    screen.type("x = 20 + 1; x * 2")
    screen.wait(r"^Out\[1\]: 42$")
    screen.type("!tty > /dev/null && echo a terminal")
    screen.wait(r"^a terminal$")
    screen.press("C-z")
    screen.wait(r"^\[1\]\+  Stopped")
    screen.type("fg")
    screen.wait(r"^In \[3\]: *$")
    screen.type("x + 1")
    screen.wait(r"^Out\[3\]: 22$")
    screen.type("exit()")
    screen.wait(IDLE)
    screen.type("clear; stty -a | grep -ow -e '-*icanon' -e '-*echo'")
    screen.wait(r"^icanon\necho$")


def test_pdb(screen, script):
    path = script("def double(x):\n    return 2 * x\nprint(double(21))\n")
    screen.run(f"-m pdb {path}")
    screen.wait(r"^\(Pdb\) *$")
    screen.type("b double")
    screen.wait(r"^Breakpoint 1")
    screen.type("c")
    screen.wait(r"return 2 \* x\n\(Pdb\)")
    screen.type("p x")
    screen.wait(r"^21$")
    screen.press("Up", "Enter")  # the line is edited: p x again
    screen.wait(r"^21\n\(Pdb\) p x\n21$")
    screen.type("c")
    screen.wait(r"^42$")
    screen.type("q")
    screen.wait(IDLE)


def test_the_prompt_edits_its_lines(screen):
    screen.run("-q")
    screen.wait("^>>> *$")
    screen.type("pritn(1)", "Home", "Right", "Right", "Right", "DC", "DC", "n", "t", "Enter")
    screen.wait(r"^1\n>>> *$")
    screen.type("prin", "Tab")
    screen.wait(r"^>>> print\($")
    screen.press("C-c")
    screen.wait(r"^KeyboardInterrupt\n>>> *$")
    screen.press("C-d")
    screen.wait(IDLE)


def test_a_window_that_changes(screen, script):
    path = script("import os, signal\nsignal.signal(signal.SIGWINCH, lambda *_: print(*os.get_terminal_size(), flush=True))\n"
                  "print('size', *os.get_terminal_size(), flush=True)\nwhile True: signal.pause()\n")
    screen.run(str(path))
    screen.wait("^size 80 24$")
    screen.tmux("resize-window", "-x", "100", "-y", "30")
    screen.wait("^100 30$")
    screen.press("C-z")
    screen.wait(r"^\[1\]\+  Stopped")
    screen.tmux("resize-window", "-x", "90", "-y", "20")
    screen.type("fg")
    screen.wait("^90 20$")
    screen.press("C-c")
    screen.wait(IDLE)


def test_an_editor_and_a_shell_in_a_script(screen, script, tmp_path):
    note = tmp_path / "note"
    path = script(f"import os\nos.system('vim.tiny -u NONE -N {note}')\nos.system('bash --norc --noprofile -i')\nprint('back')\n")
    screen.run(str(path))
    screen.wait(r"note\" \[New(?: File)?\]")
    screen.type("ihello", "Escape")
    screen.type(":wq")
    screen.wait(IDLE)
    assert note.read_text() == "hello\n"
    screen.type("PS1='inner> '; clear")
    screen.wait("^inner> *$")
    screen.type("sleep 100")
    screen.press("C-z")
    screen.wait(r"^\[1\]\+  Stopped +sleep 100")
    screen.type("fg")
    screen.wait(r"^inner> fg\nsleep 100$")
    screen.press("C-c")
    screen.wait(r"^\^C\ninner> *$")
    screen.type("exit")
    screen.wait(r"^back$")
    screen.wait(IDLE)
