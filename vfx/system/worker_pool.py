"""Worker processes that may go down: each is watched, replaced when it ends, and costs only the task it was at."""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import pickle
import resource
import signal
import struct
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import connection, forkserver, reduction, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any, Generic, TypeVar

from vfx.errors import ExtractionError
from vfx.promise import anonymous_file
from vfx.system import heartbeat

Task = TypeVar("Task")
Item = TypeVar("Item")
Work = Callable[[Task], Iterator[Item]]

# All that a reading worker needs and what takes long to import: torch, PyAV. Imported once, in the server.
PRELOAD = ("vfx.extraction.worker_preload",)
AHEAD = 2  # items that each worker may have ready; more only costs memory
SLOT_BYTES = 80 << 20  # shared memory for the arrays of one item, taken from the system only as it is used
TICK_SECONDS = 0.5
STILLBORN = 5  # workers in turn that may go down before they begin anything
_HEADER = mmap.PAGESIZE  # of the shared memory: the pulse, and the number of the task at work
_NUMBER = struct.Struct("8xq")


@dataclass(frozen=True)
class Down:
    """The worker went down at this task, and what came of it before is void. `hung`: it had to be killed.
    `final`: alone, for the second time."""

    reason: str
    hung: bool = False
    final: bool = False


def run(
    tasks: Sequence[Task] | deque[Task],
    work: Work[Task, Item],
    *,
    processes: int,
    patience: float,
    memory: float,
    start: Callable[[], None] | None = None,
    is_last: Callable[[Item], bool] = lambda item: False,
    preload: Sequence[str] = PRELOAD,
    check: Callable[[], None] | None = None,
) -> Generator[tuple[Task, Item | Down]]:
    """What `work` makes of each task, as it comes: items of one task in order, those of several in turns.

    The processes are started, and given their first tasks, before this returns, and end with what it returns, at the
    latest when that is closed. Tasks are begun in their order, each by the next free process; of a deque they are taken
    as they are begun, and whoever consumes this may change what is left. One that goes down (a crash in native code, no
    memory left) or gives no sign of life (`heartbeat.tick`) for `patience` seconds, upon which it is killed, is
    replaced,
    and its task is tried once more when the others are done, alone. Either time it comes with a `Down`. `memory`: bytes
    that a process may take beyond those it starts with. `start` is called first in each process, `check` here at least
    every TICK_SECONDS. An item that `is_last` ends its task: what its process does after that is no matter of it.
    Arrays in items travel through shared memory.

    Raises what `work` and `check` raise, and ExtractionError where processes cannot be started.
    """
    made = context(preload)

    def hire() -> _Worker[Task]:
        return _Worker(made, work, patience=patience, memory=memory, start=start, is_last=is_last)

    running = _run(tasks if isinstance(tasks, deque) else deque(tasks), hire, processes, check)
    next(running, None)  # to where they are started
    return running


def _run(
    todo: deque[Task], hire: Callable[[], _Worker[Task]], processes: int, check: Callable[[], None] | None
) -> Generator[Any]:
    """None when the first processes are started, then what comes of all tasks."""
    suspects: deque[Task] = deque()
    begun = False
    while todo or suspects:
        alone = not todo
        through = _through(deque([suspects.popleft()]) if alone else todo, hire, 1 if alone else processes, check)
        with contextlib.closing(through) as deliveries:
            next(deliveries)
            if not begun:
                begun = True
                yield None
            for task, item in deliveries:
                if isinstance(item, Down):
                    item = replace(item, final=alone)
                    if not alone:
                        suspects.append(task)
                yield task, item


def _through(
    todo: deque[Task],
    hire: Callable[[], _Worker[Task]],
    processes: int,
    check: Callable[[], None] | None,
) -> Generator[Any]:
    """None when a crew of at most `processes` is started, which is then kept complete, and every task once."""
    crew: list[_Worker[Task]] = []
    stillborn = 0
    try:
        while len(crew) < min(processes, len(todo)):
            crew.append(hire())
        _give(crew, todo)
        yield None
        while any(worker.tasks for worker in crew):
            if check is not None:
                check()
            ready = connection.wait([w for worker in crew for w in worker.waitables], TICK_SECONDS)
            for n, worker in enumerate(crew):
                if worker.connection in ready:
                    yield from worker.deliveries(AHEAD + 1)
                if (down := worker.down()) is None:
                    continue
                yield from worker.deliveries(None)
                guilty = worker.at_work()
                todo.extendleft(task for number, task in reversed(worker.tasks.items()) if number != guilty)
                crew[n] = hire()
                worker.end()
                stillborn = stillborn + 1 if guilty is None else 0
                if stillborn > STILLBORN:
                    raise ExtractionError(
                        f"worker processes cannot be started: {down.reason}; take fewer processes, or 0 (num_workers)"
                    )
                if guilty is not None:
                    yield worker.tasks[guilty], down
            _give(crew, todo)
    finally:
        for worker in crew:
            worker.end()


def _give(crew: list[_Worker[Task]], todo: deque[Task]) -> None:
    """Tasks to those that have room for them."""
    for worker in crew:
        # A second task spares the worker a wait; near the end it could be idle workers' work.
        room = 1 if len(todo) <= 2 * len(crew) else 2
        while todo and len(worker.tasks) < room:
            worker.give(todo.popleft())


class _Worker(Generic[Task]):
    """A process and what passes between it and this one: tasks and receipts to it, items and ends from it."""

    def __init__(
        self,
        make: BaseContext,
        work: Work[Task, Any],
        *,
        patience: float,
        memory: float,
        start: Callable[[], None] | None,
        is_last: Callable[[Any], bool],
    ) -> None:
        self._is_last = is_last
        self.tasks: dict[int, Task] = {}  # given and not ended, in order, by number
        self._given = 0
        self._patience = patience
        self._shared = _Shared.made()
        self.connection, theirs = make.Pipe()
        with without_main():
            arguments = (theirs, self._shared.for_child(), work, memory, start)
            self._process = make.Process(target=_serve, args=arguments, daemon=True)  # type: ignore[attr-defined]
            try:
                self._process.start()
            except (EOFError, ConnectionError) as error:
                raise ExtractionError(
                    f"worker processes cannot be started: {error!r}; take fewer processes, or 0 (num_workers)"
                ) from error
        # What multiprocessing sends to those that are left at the end is SIGTERM, and it waits for them to obey.
        self._kill_at_exit = Finalize(self, self._process.kill, exitpriority=0)
        theirs.close()
        self.waitables = [self.connection, self._process.sentinel]

    def give(self, task: Task) -> None:
        self.tasks[self._given] = task
        self._send((self._given, task))
        self._given += 1

    def deliveries(self, most: int | None) -> Iterator[tuple[Task, Any]]:
        """What has arrived, `most` messages of it, or all that a process which is down has sent (None)."""
        with contextlib.suppress(EOFError, OSError):  # it is down, which is seen elsewhere
            while most is None or (most > 0 and self.connection.poll()):
                number, parcel, error = self.connection.recv()
                most = None if most is None else most - 1
                item = None if parcel is None else self._shared.taken(parcel)
                if error is not None:
                    raise error
                if parcel is not None:
                    self._send(None)
                    if number in self.tasks:
                        yield self.tasks[number], item
                if parcel is None or self._is_last(item):
                    self.tasks.pop(number, None)

    def down(self) -> Down | None:
        """Why the process has ended, or had to be; None while it lives."""
        if self.tasks and heartbeat.age(self._shared.clock) > self._patience:
            self._process.kill()
            self._process.join()
            return Down(f"no frame for {self._patience:g} s", hung=True)
        if self._process.is_alive():
            return None
        code = self._process.exitcode or 0
        if code == -signal.SIGKILL:
            return Down("its process was killed, as by a system that is out of memory")
        signal_or_code = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return Down(f"decoder crashed ({signal_or_code})")

    def at_work(self) -> int | None:
        """The number of the task that the process has begun and not ended."""
        number = self._shared.number
        return number if number in self.tasks else None

    def end(self) -> None:
        self._kill_at_exit.cancel()
        self._process.kill()
        self._process.join()
        self._process.close()
        self.connection.close()
        self._shared.close()

    def _send(self, message: object) -> None:
        with contextlib.suppress(OSError):  # it is down, which is seen elsewhere
            self.connection.send(message)


@dataclass(frozen=True)
class _Parcel:
    """An item without its arrays, and where these are: their sizes in a slot, or themselves if too large for one."""

    item: bytes
    slot: int
    arrays: list[int] | list[bytes]


class _Shared:
    """Memory that a worker and this process share: the pulse, the number of the task at work, and AHEAD slots."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._memory = mmap.mmap(descriptor, _HEADER + AHEAD * SLOT_BYTES)
        self.clock = memoryview(self._memory)[:8]
        self._slot = 0

    @classmethod
    def made(cls) -> _Shared:
        """A new piece."""
        descriptor = anonymous_file("vfx")
        os.ftruncate(descriptor, _HEADER + AHEAD * SLOT_BYTES)
        shared = cls(descriptor)
        shared.number = -1
        heartbeat.use(shared.clock)
        heartbeat.pause()
        heartbeat.use(None)
        return shared

    def for_child(self) -> Any:
        """What a process that is being started receives, and makes its own by `detach()`."""
        return _Descriptor(self._descriptor)

    @property
    def number(self) -> int:
        return int(_NUMBER.unpack_from(self._memory)[0])

    @number.setter
    def number(self, value: int) -> None:
        struct.pack_into("q", self._memory, 8, value)

    def put(self, item: object) -> _Parcel:
        """Lay an item's arrays into the next slot, which must be free."""
        buffers: list[pickle.PickleBuffer] = []
        rest = pickle.dumps(item, protocol=5, buffer_callback=buffers.append)
        raw = [buffer.raw() for buffer in buffers]
        slot, self._slot = self._slot, (self._slot + 1) % AHEAD
        if sum(array.nbytes for array in raw) > SLOT_BYTES:
            return _Parcel(rest, slot, [bytes(array) for array in raw])
        at = _HEADER + slot * SLOT_BYTES
        for array in raw:
            self._memory[at : at + array.nbytes] = array
            at += array.nbytes
        return _Parcel(rest, slot, [array.nbytes for array in raw])

    def taken(self, parcel: _Parcel) -> Any:
        """The item of a parcel, whose slot can be used again."""
        arrays = []
        at = _HEADER + parcel.slot * SLOT_BYTES
        for array in parcel.arrays:
            if isinstance(array, bytes):
                arrays.append(bytearray(array))
            else:
                arrays.append(bytearray(memoryview(self._memory)[at : at + array]))
                at += array
        return pickle.loads(parcel.item, buffers=arrays)

    def close(self) -> None:
        self.clock.release()
        self._memory.close()
        os.close(self._descriptor)


class _Descriptor:
    """A file descriptor on its way to a process that is being started."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __reduce__(self) -> Any:
        return _Descriptor._received, (reduction.DupFd(self._descriptor),)

    @staticmethod
    def _received(duplicate: Any) -> int:
        return int(duplicate.detach())


def _serve(
    channel: Connection,
    descriptor: int,
    work: Work[Task, Any],
    memory: float,
    start: Callable[[], None] | None,
) -> None:
    """The life of a worker: tasks in order, for as long as the process that gives them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the main process decides what it means
    _follow_main()
    _limit(memory)
    shared = _Shared(descriptor)
    heartbeat.use(shared.clock)
    if start is not None:
        start()
    tasks: deque[tuple[int, Task]] = deque()
    free = AHEAD

    def receive() -> None:
        nonlocal free
        message = channel.recv()
        if message is None:
            free += 1
        else:
            tasks.append(message)

    with contextlib.suppress(EOFError, OSError):  # the main process is gone
        while True:
            heartbeat.pause()
            while not tasks:
                receive()
            shared.number, task = tasks.popleft()
            heartbeat.tick()
            error: Exception | None = None
            try:
                for item in work(task):
                    heartbeat.pause()
                    while not free:
                        receive()
                    free -= 1
                    channel.send((shared.number, shared.put(item), None))
                    heartbeat.tick()
            except (EOFError, BrokenPipeError):
                raise
            except Exception as raised:  # noqa: BLE001  (for the main process to raise)
                error = raised
            channel.send((shared.number, None, error))


def _follow_main() -> None:
    """Let this process end when the main one does, however that ends, even while a decoder hangs here."""
    main = multiprocessing.parent_process()
    assert main is not None

    def follow() -> None:
        main.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _limit(memory: float) -> None:
    """Let this process have `memory` bytes more than it has, where the system can say what that is (Linux), and let
    a crash leave no image of that memory on the disk."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    status = Path("/proc/self/status")
    if not status.exists():
        return
    (data,) = [line for line in status.read_text().splitlines() if line.startswith("VmData:")]
    allowed = int(data.split()[1]) * 1024 + memory
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = sys.maxsize if hard == resource.RLIM_INFINITY else hard
    resource.setrlimit(resource.RLIMIT_DATA, (int(allowed) if allowed < most else hard, hard))


def context(preload: Sequence[str] = PRELOAD) -> BaseContext:
    """How workers are started: by a server that has never had a thread or a decoder.

    A fork of a process with threads can hang, and decord hangs in a fork of a process that has opened a video;
    spawn is free of both too, but imports torch anew in each worker.
    """
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(list(preload))
    return made


def warm_up(preload: Sequence[str] = PRELOAD) -> None:
    """Let the server begin its imports while this process does its own."""
    context(preload)
    with without_main():
        forkserver.ensure_running()


def kill_server() -> None:
    """End the server, also while it imports: what it has of this process's standard output and error would hold up
    whoever reads these to their end. Workers that it started live on."""
    server: Any = forkserver._forkserver
    if server._forkserver_pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server._forkserver_pid, signal.SIGKILL)


def stop_server() -> None:
    """Kill the server and wait for its end, so that the next worker comes from a new one."""
    kill_server()
    forkserver._forkserver._stop()  # type: ignore[attr-defined]


def kill_server_at_exit() -> None:
    Finalize(None, kill_server, exitpriority=-1)  # after workers have ended


@contextmanager
def without_main() -> Iterator[None]:
    """Start workers inside: they will not import the user's script, of which they need nothing.

    A script that lacks `if __name__ == "__main__":` would run itself again in every worker. Nor do they hear Ctrl-C,
    or a SIGTERM that all are sent (by SLURM, by systemd), not even while their server imports what they need: what it
    means is for the main process to say. Nor do they take over how this process would start others: in a worker of
    joblib it is a way that they do not know.
    """
    resource_tracker.ensure_running()  # else it starts with the server, and has that hear Ctrl-C again
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])
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
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)
