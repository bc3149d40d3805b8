"""From a command's first import on, Ctrl-C ends it with a line and not with a traceback."""

from __future__ import annotations

import os
import signal
from types import FrameType

ENDED = "error: ended by Ctrl-C; what was finished is kept: the same command goes on from there"


def end_with_a_line() -> None:
    """Until the app itself says what Ctrl-C does; where the signal is ignored, as after nohup, it stays so."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, f"{ENDED}\n".encode())
    os._exit(128 + number)  # an exception might be taken for a module that is not there
