"""Worker processes that may crash or hang: each is watched, replaced when it ends, and costs only its current task."""

from __future__ import annotations

import contextlib
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import connection
from multiprocessing.context import BaseContext
from multiprocessing.util import Finalize
from typing import Any, Generic, TypeVar

from vfx.errors import ExtractionError
from vfx.system import fork_server, heartbeat, worker_process
from vfx.system.shared_memory import SLOTS, SharedMemory

Task = TypeVar("Task")
Item = TypeVar("Item")
Work = Callable[[Task], Iterator[Item]]

POLL_SECONDS = 0.5
MAX_SPAWN_FAILURES = 5  # workers in turn that may end before they begin a task


@dataclass(frozen=True)
class WorkerFailure:
    """The worker ended at this task; the items that came of it before are void.

    `hung`: it gave no heartbeat and was killed. `final`: it is the second failure of this task, which ran alone.
    """

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
    preload: Sequence[str],
    initializer: Callable[[], None] | None = None,
    is_last: Callable[[Item], bool] = lambda item: False,
    check: Callable[[], None] | None = None,
) -> Generator[tuple[Task, Item | WorkerFailure]]:
    """Run `work` on each task in worker processes.

    The processes start, with their first tasks, before this returns. They end when the generator does, at the latest
    when it is closed. Each free process begins the next task. Arrays in items travel through shared memory.

    A process that crashes, or gives no heartbeat for `patience` seconds and is killed, is replaced. Its task yields a
    WorkerFailure, and is tried once more, alone, when the others are done.

    Args:
        tasks: in their order. A deque gives its tasks away as they begin; the consumer may change what is left in it.
        work: makes the items of a task; calls `heartbeat.tick` as it makes progress.
        processes: at most so many.
        patience: seconds.
        memory: bytes that a process may take beyond those it starts with.
        preload: modules that the server of processes imports once for all of them, if it does not run yet.
        initializer: is called first in each process.
        is_last: whether an item ends its task; what the process does after that does not matter.
        check: is called here at least every POLL_SECONDS.

    Returns:
        (task, item) as items arrive: those of one task in order, those of several mixed.

    Raises:
        ExtractionError: processes cannot be started.
        Exception: whatever `work` and `check` raise.
    """
    spawn = partial(
        _Worker,
        fork_server.context(preload),
        work,
        patience=patience,
        memory=memory,
        initializer=initializer,
        is_last=is_last,
    )
    results = _run(tasks if isinstance(tasks, deque) else deque(tasks), spawn, processes, check)
    next(results, None)  # to where the first processes are started
    return results


def _run(
    todo: deque[Task], spawn: Callable[[], _Worker[Task]], processes: int, check: Callable[[], None] | None
) -> Generator[Any]:
    """None when the first processes are started, then the results of all tasks."""
    suspects: deque[Task] = deque()
    started = False
    while todo or suspects:
        alone = not todo
        pool = _Pool(deque([suspects.popleft()]) if alone else todo, spawn, 1 if alone else processes)
        with contextlib.closing(pool):
            pool.start()
            if not started:
                started = True
                yield None
            for task, item in pool.results(check):
                if isinstance(item, WorkerFailure):
                    item = replace(item, final=alone)
                    if not alone:
                        suspects.append(task)
                yield task, item


class _Pool(Generic[Task]):
    """At most `processes` workers that do each task of `todo` once; call `close()` in the end."""

    def __init__(self, todo: deque[Task], spawn: Callable[[], _Worker[Task]], processes: int) -> None:
        self._todo = todo
        self._spawn = spawn
        self._processes = processes
        self._workers: list[_Worker[Task]] = []
        self._spawn_failures = 0

    def start(self) -> None:
        while len(self._workers) < min(self._processes, len(self._todo)):
            self._workers.append(self._spawn())
        self._assign()

    def results(self, check: Callable[[], None] | None) -> Iterator[tuple[Task, Any]]:
        while any(worker.tasks for worker in self._workers):
            if check is not None:
                check()
            ready = connection.wait([w for worker in self._workers for w in worker.waitables], POLL_SECONDS)
            for n, worker in enumerate(self._workers):
                if worker.connection in ready:
                    yield from worker.receive(SLOTS + 1)
                if (failure := worker.failure()) is not None:
                    yield from worker.receive(None)
                    yield from self._replace(n, failure)
            self._assign()

    def close(self) -> None:
        for worker in self._workers:
            worker.close()

    def _assign(self) -> None:
        """Give tasks to those that have room for them."""
        for worker in self._workers:
            # A second task spares the worker a wait; near the end it could be idle workers' work.
            room = 1 if len(self._todo) <= 2 * len(self._workers) else 2
            while self._todo and len(worker.tasks) < room:
                worker.give(self._todo.popleft())

    def _replace(self, n: int, failure: WorkerFailure) -> list[tuple[Task, WorkerFailure]]:
        """Put a new worker in place of one that has ended; returns the task that it was at, if any."""
        worker = self._workers[n]
        current = worker.current_task()
        self._todo.extendleft(task for number, task in reversed(worker.tasks.items()) if number != current)
        self._workers[n] = self._spawn()
        worker.close()
        if current is not None:
            self._spawn_failures = 0
            return [(worker.tasks[current], failure)]
        self._spawn_failures += 1
        if self._spawn_failures > MAX_SPAWN_FAILURES:
            raise _cannot_start(failure.reason)
        return []


class _Worker(Generic[Task]):
    """A worker process as the main process sees it."""

    def __init__(
        self,
        context: BaseContext,
        work: Work[Task, Any],
        *,
        patience: float,
        memory: float,
        initializer: Callable[[], None] | None,
        is_last: Callable[[Any], bool],
    ) -> None:
        self._is_last = is_last
        self.tasks: dict[int, Task] = {}  # given and not ended, in order, by number
        self._given = 0
        self._patience = patience
        self._shared = SharedMemory.create()
        self.connection, theirs = context.Pipe()
        arguments = (theirs, self._shared, work, memory, initializer)
        with fork_server.without_main():
            self._process = context.Process(  # type: ignore[attr-defined]
                target=worker_process.serve, args=arguments, daemon=True
            )
            try:
                self._process.start()
            except (EOFError, ConnectionError) as error:
                raise _cannot_start(repr(error)) from error
        # multiprocessing would send SIGTERM to those that are left at the end, and wait for them to obey.
        self._kill_at_exit = Finalize(self, self._process.kill, exitpriority=0)
        theirs.close()
        self.waitables = [self.connection, self._process.sentinel]

    def give(self, task: Task) -> None:
        self.tasks[self._given] = task
        self._send((self._given, task))
        self._given += 1

    def receive(self, most: int | None) -> Iterator[tuple[Task, Any]]:
        """The items of `most` messages that have arrived; None: of all that a process sent which has ended."""
        with contextlib.suppress(EOFError, OSError):  # it has ended, which `failure` tells
            while most is None or (most > 0 and self.connection.poll()):
                number, packed, error = self.connection.recv()
                most = None if most is None else most - 1
                item = None if packed is None else self._shared.unpack(packed)
                if error is not None:
                    raise error
                if packed is not None:
                    self._send(None)
                    if number in self.tasks:
                        yield self.tasks[number], item
                if packed is None or self._is_last(item):
                    self.tasks.pop(number, None)

    def failure(self) -> WorkerFailure | None:
        """Why the process has ended, or was killed here because it hung; None while it lives."""
        if self.tasks and heartbeat.age(self._shared.clock) > self._patience:
            self._process.kill()
            self._process.join()
            return WorkerFailure(f"no frame for {self._patience:g} s", hung=True)
        if self._process.is_alive():
            return None
        code = self._process.exitcode or 0
        if code == -signal.SIGKILL:
            return WorkerFailure("its process was killed, as by a system that is out of memory")
        signal_or_code = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return WorkerFailure(f"decoder crashed ({signal_or_code})")

    def current_task(self) -> int | None:
        """The number of the task that the process has begun and not ended."""
        number = self._shared.task_number
        return number if number in self.tasks else None

    def close(self) -> None:
        self._kill_at_exit.cancel()
        self._process.kill()
        self._process.join()
        self._process.close()
        self.connection.close()
        self._shared.close()

    def _send(self, message: object) -> None:
        with contextlib.suppress(OSError):  # it has ended, which `failure` tells
            self.connection.send(message)


def _cannot_start(reason: str) -> ExtractionError:
    return ExtractionError(f"worker processes cannot be started: {reason}; take fewer processes, or 0 (num_workers)")
