"""The fork server that reading processes come from."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import BaseContext

# All that a worker needs and what takes long to import: torch, PyAV. Imported once, in the server.
PRELOAD = ["vfx.clips"]


def context() -> BaseContext:
    """How workers are started: by a server that has never had a thread or a decoder.

    A fork of a process with threads can hang, and decord hangs in a fork of a process that has opened a video;
    spawn is free of both too, but imports torch anew in each worker.
    """
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(PRELOAD)
    return made


def warm_up() -> None:
    """Let the server begin its imports while this process does its own."""
    context()
    with without_main():
        forkserver.ensure_running()


@contextmanager
def without_main() -> Iterator[None]:
    """Start workers inside: they will not import the user's script, of which they need nothing.

    A script that lacks `if __name__ == "__main__":` would run itself again in every worker.
    """
    main = sys.modules["__main__"]
    kept = {name: getattr(main, name) for name in ("__spec__", "__file__") if hasattr(main, name)}
    main.__spec__ = None
    main.__dict__.pop("__file__", None)
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(main, name, value)


def end_with_run() -> None:
    """In a worker: let it end with its run, however that ends: at once on Ctrl-C, and when the main process is gone."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
