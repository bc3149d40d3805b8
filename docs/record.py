"""Records what commands print in a terminal as an SVG that plays itself: `python docs/record.py <file> <command> ...`.

Each line appears when it was printed. Pauses are cut to two seconds. A line that is overwritten, as a progress bar is,
changes as it did. Where nothing plays, as on paper, the last state is seen. The commands run one after the other in the
working directory.
"""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from html import escape
from itertools import pairwise
from pathlib import Path

COLUMNS, SIZE, LEADING, MARGIN = 112, 13, 19, 18
WIDTH = round(COLUMNS * SIZE * 0.602) + 2 * MARGIN
PAUSE, SILENCE = 1.0, 2.0  # seconds between commands, and without output at most
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
STYLE = f"""
text {{ font: {SIZE}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #d7dde3;
white-space: pre }}
.typed {{ fill: #7fd8c4 }}
@keyframes later {{ from {{ visibility: hidden }} }}
@keyframes meanwhile {{ from, to {{ visibility: visible }} }}
.then {{ animation: later .01s backwards }}
.over {{ visibility: hidden; animation: meanwhile 1s }}
@media (prefers-reduced-motion: reduce) {{ text {{ animation: none !important }} }}
"""

State = tuple[float, str]  # from this second on, the line is this


def output(command: str) -> list[State]:
    """What a command writes to a terminal, in pieces, with the seconds since its start; exits where it fails."""
    parent, child = pty.openpty()
    fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, COLUMNS, 0, 0))
    environment = os.environ | {"COLUMNS": str(COLUMNS), "LINES": "40", "TERM": "xterm"}
    clock, last = 0.0, time.monotonic()
    process = subprocess.Popen(command, shell=True, stdin=child, stdout=child, stderr=child, env=environment)
    os.close(child)
    pieces = []
    while True:
        try:
            piece = os.read(parent, 65536)
        except OSError:  # how a terminal tells its end on Linux
            break
        if not piece:
            break
        now = time.monotonic()
        clock, last = clock + min(now - last, SILENCE), now
        pieces.append((clock, piece.decode(errors="replace")))
    if process.wait():
        sys.exit(f"{command}: exit code {process.returncode}\n" + "".join(text for _, text in pieces))
    return pieces


def lines(pieces: list[State]) -> list[list[State]]:
    """The lines on the screen, each with its states in the order of time."""
    screen: list[list[State]] = [[]]
    current = ""
    for second, text in pieces:
        for token in re.split(r"(\r\n|\n|\r)", ESCAPES.sub("", text)):
            if token in ("\r\n", "\n"):
                screen.append([])
                current = ""
            elif token == "\r":
                current = ""
            elif token:
                current += token
                screen[-1].append((second, current.rstrip()))
    return [line for line in screen if line and line[-1][1]]


def wrapped(text: str) -> list[str]:
    return [text[at : at + COLUMNS] for at in range(0, len(text), COLUMNS)] or [""]


def svg(recorded: list[tuple[str, list[State]]]) -> str:
    shown: list[str] = []
    row, clock = 0, 0.0

    def put(text: str, style: str, timing: str) -> int:
        for number, part in enumerate(wrapped(text)):
            y = MARGIN + 26 + (row + number) * LEADING
            shown.append(f'<text x="{MARGIN}" y="{y}" class="{style}" style="{timing}">{escape(part)}</text>')
        return len(wrapped(text))

    for command, pieces in recorded:
        row += put(f"$ {command}", "typed then", f"animation-delay:{clock:.2f}s")
        for states in lines(pieces):
            for (since, text), (until, _) in pairwise(states):
                if until - since > 0.05 and text:
                    put(text, "over", f"animation-delay:{clock + since:.2f}s;animation-duration:{until - since:.2f}s")
            row += put(states[-1][1], "then", f"animation-delay:{clock + states[-1][0]:.2f}s")
        clock += pieces[-1][0] + PAUSE if pieces else PAUSE
    height = 2 * MARGIN + 18 + row * LEADING
    dots = "".join(
        f'<circle cx="{MARGIN + 4 + 16 * n}" cy="16" r="4.5" fill="{colour}"/>'
        for n, colour in enumerate(("#e06c60", "#d9b44a", "#62b06a"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
        f"<style>{STYLE}</style>"
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#1b2129"/>{dots}\n' + "\n".join(shown) + "\n</svg>\n"
    )


if __name__ == "__main__":
    target, *commands = sys.argv[1:]
    Path(target).write_text(svg([(command, output(command)) for command in commands]), encoding="utf-8")
    print(target)
