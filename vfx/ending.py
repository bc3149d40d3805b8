"""Ends a command's process at once, in place of taking apart all that it has imported and made."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from pathlib import Path


def end_process(code: int) -> None:
    """End a process that was started for one command of vfx, as Python does and in its order: threads at work, what was
    registered for the end, what standard output and error still hold. Modules and memory are left to the system, which
    takes torch's in a tenth of the time.

    By the functions with which multiprocessing ends its processes. Comes back in a process that is someone else's, and
    where a stream takes nothing any more, of which Python has words and an exit code of its own.
    """
    if not _is_ours():
        return
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    try:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except (OSError, ValueError):
        return
    os._exit(code)


def _is_ours() -> bool:
    """Whether it was started as `python -m vfx.<app>` or `vfx-<app>`, not below a profiler, debugger or notebook."""
    _, *words = sys.orig_argv
    by_module = "-m" in words[:-1] and words[words.index("-m") + 1].startswith("vfx.")
    by_script = bool(words) and Path(words[0]).name.startswith("vfx-")
    return (by_module or by_script) and not sys.flags.inspect
