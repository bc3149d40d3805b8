"""Ends a command's process at once, in place of taking apart all that it has imported and made."""

from __future__ import annotations

import atexit
import ctypes
import os
import signal
import sys
import threading
from pathlib import Path

WITH_A_VALUE = ("-X", "-W", "--check-hash-based-pycs")  # options of python


def end_process(code: int) -> None:
    """End a process that was started for one command of vfx, as Python does and in its order: threads at work, what was
    registered for the end, what standard output and error still hold. Modules and memory are left to the system, which
    takes torch's in a tenth of the time. Ctrl-C does not wait for the threads.

    By the functions with which multiprocessing ends its processes. Comes back in a process that is someone else's, and
    where a stream takes nothing any more, of which Python has words and an exit code of its own.
    """
    if not _is_ours():
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(code))
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # closed before Python began
                stream.flush()
    except (OSError, ValueError):
        return
    ctypes.CDLL(None).fflush(None)  # of what libraries in C print
    os._exit(code)


def _is_ours() -> bool:
    """Whether it was started as `python -m vfx.<app>` or `vfx-<app>`, not below a profiler, debugger or notebook."""
    words = iter(sys.orig_argv[1:])
    for word in words:
        if word in WITH_A_VALUE:
            next(words, None)
        elif word == "-m":
            return next(words, "").startswith("vfx.") and not sys.flags.inspect
        elif not word.startswith("-"):
            return Path(word).name.startswith("vfx-") and not sys.flags.inspect
    return False
