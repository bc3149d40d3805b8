"""What a worker process does: tasks in order, within its limit of memory, until the main process ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from vfx.system import heartbeat
from vfx.system.shared_memory import SLOTS, SharedMemory


def serve(
    connection: Connection,
    shared: SharedMemory,
    work: Callable[[Any], Iterator[Any]],
    memory: float,
    initializer: Callable[[], None] | None,
) -> None:
    """Do tasks until the main process is gone.

    Args:
        connection: brings tasks as (number, task) and None for each item that was unpacked; takes (number, PackedItem,
            None) for an item and (number, None, error or None) for the end of a task.
        shared: the memory of this process and the main one.
        work: makes the items of a task.
        memory: bytes that this process may take beyond those it has now.
        initializer: is called before the first task.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the main process decides what it means
    _end_with_main()
    _limit_memory(memory)
    heartbeat.use(shared.clock)
    if initializer is not None:
        initializer()
    channel = _Channel(connection, shared)
    with contextlib.suppress(EOFError, OSError):  # the main process is gone
        while True:
            shared.task_number, task = channel.next_task()
            channel.end_task(_do(task, work, channel))


def _do(task: Any, work: Callable[[Any], Iterator[Any]], channel: _Channel) -> Exception | None:
    """Send the items of a task; returns the error that ended it."""
    try:
        for item in work(task):
            channel.send(item)
    except (EOFError, BrokenPipeError):
        raise
    except Exception as error:  # noqa: BLE001  (for the main process to raise)
        return error
    return None


class _Channel:
    """The worker's end of the connection. The heart does not beat while it waits for the main process."""

    def __init__(self, connection: Connection, shared: SharedMemory) -> None:
        self._connection = connection
        self._shared = shared
        self._tasks: deque[tuple[int, Any]] = deque()
        self._free_slots = SLOTS

    def next_task(self) -> tuple[int, Any]:
        """Wait for a task; returns its number and the task."""
        heartbeat.pause()
        while not self._tasks:
            self._receive()
        heartbeat.tick()
        return self._tasks.popleft()

    def send(self, item: object) -> None:
        """Send an item of the current task once there is a slot for it."""
        heartbeat.pause()
        while not self._free_slots:
            self._receive()
        self._free_slots -= 1
        self._connection.send((self._shared.task_number, self._shared.pack(item), None))
        heartbeat.tick()

    def end_task(self, error: Exception | None) -> None:
        self._connection.send((self._shared.task_number, None, error))

    def _receive(self) -> None:
        message = self._connection.recv()
        if message is None:
            self._free_slots += 1
        else:
            self._tasks.append(message)


def _end_with_main() -> None:
    """Let this process end when the main one does, however that ends, even while a decoder hangs here."""
    main = multiprocessing.parent_process()
    assert main is not None

    def follow() -> None:
        main.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _limit_memory(memory: float) -> None:
    """Let this process have `memory` bytes more than now, where the system tells that (Linux), and dump no core."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    status = Path("/proc/self/status")
    if not status.exists():
        return
    (data,) = [line for line in status.read_text().splitlines() if line.startswith("VmData:")]
    allowed = int(data.split()[1]) * 1024 + memory
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = sys.maxsize if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_DATA, (int(allowed) if allowed < most else hard, hard))
