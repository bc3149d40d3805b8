"""The server that worker processes are forked from: a process that imports what they need once, and starts no thread.

A fork of a process with threads can hang, and decord hangs in a fork of a process that has opened a video. Spawned
processes have neither problem, but each would import torch anew.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.context import BaseContext
from multiprocessing.util import Finalize
from typing import Any


def context(preload: Sequence[str]) -> BaseContext:
    """The context of multiprocessing that forks workers from the server.

    Args:
        preload: names of modules that the server imports when it starts; a server that runs keeps those that it has.
    """
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(list(preload))
    return made


def warm_up(preload: Sequence[str]) -> None:
    """Start the server now, so that it imports `preload` while this process makes its own imports."""
    context(preload)
    with without_main():
        forkserver.ensure_running()


def kill_server() -> None:
    """Kill the server, even while it imports; the workers that it started live on.

    It has this process's standard output and error: while it lives, whoever reads these waits for their end.
    """
    server: Any = forkserver._forkserver
    if server._forkserver_pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server._forkserver_pid, signal.SIGKILL)


def stop_server() -> None:
    """Kill the server and wait for its end, so that the next worker comes from a new one."""
    kill_server()
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


def kill_server_at_exit() -> None:
    """Kill the server when this process exits, after its workers have ended."""
    Finalize(None, kill_server, exitpriority=-1)


@contextmanager
def without_main() -> Iterator[None]:
    """Start workers inside: they do not import the user's script, and ignore Ctrl-C and SIGTERM.

    A script that lacks `if __name__ == "__main__":` would run itself again in every worker. Signals that all processes
    are sent (by a terminal, SLURM, systemd) are for the main process to handle, also while the server still imports.
    The start method is "forkserver" meanwhile, since workers take it over, and a worker of joblib has one of its own
    that they do not know.
    """
    resource_tracker.ensure_running()  # else it starts with the server, and unblocks Ctrl-C there
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
    main = sys.modules["__main__"]
    kept = {name: getattr(main, name) for name in ("__spec__", "__file__") if hasattr(main, name)}
    main.__spec__ = None
    main.__dict__.pop("__file__", None)
    method = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method("forkserver", force=True)
    try:
        yield
    finally:
        multiprocessing.set_start_method(method, force=True)
        for name, value in kept.items():
            setattr(main, name, value)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
