"""Ctrl-C while a command makes its first imports: it ends with a message, not with a traceback."""

from __future__ import annotations

import os
import signal
from types import FrameType

ENDED = "error: ended by Ctrl-C; what was finished is kept: the same command goes on from there"


def exit_on_ctrl_c() -> None:
    """Let Ctrl-C end the process with a message, until the command sets its own handler. An ignored signal, as after
    nohup, stays ignored."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _exit)


def _exit(number: int, frame: FrameType | None) -> None:
    os.write(2, f"{ENDED}\n".encode())
    os._exit(128 + number)  # an exception might be taken for a module that is not there
