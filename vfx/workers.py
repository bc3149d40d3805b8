"""The fork server that reading processes come from."""

from __future__ import annotations

import multiprocessing
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
    forkserver.ensure_running()
