"""Worker processes that crash or hang cost the task they were at, and no other."""

import ctypes
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from vfx.errors import ExtractionError, UsageError
from vfx.system import heartbeat
from vfx.system.shared_memory import SLOT_BYTES
from vfx.system.worker_pool import WorkerFailure, run

ROOM = 1 << 30
LIBC = ctypes.CDLL(None)


def serve(tasks: list[int], work: object, **options: object) -> dict[int, list[object]]:
    """What came of each task, in order."""
    got: dict[int, list[object]] = {task: [] for task in tasks}
    settings = {"processes": 2, "patience": 5.0, "memory": ROOM, "preload": ["numpy"]} | options
    for task, item in run(tasks, work, **settings):  # type: ignore[arg-type]
        got[task].append(item)
    return got


def squares(n: int) -> Iterator[int]:
    yield from (n, n * n)


@pytest.mark.parametrize("processes", [1, 3])
def test_every_task_is_done_once_and_its_items_are_in_order(processes: int) -> None:
    tasks = list(range(50))
    assert serve(tasks, squares, processes=processes) == {n: [n, n * n] for n in tasks}


def touching(path: Path) -> Iterator[int]:
    path.touch()
    yield 1


def test_work_begins_before_anyone_asks_for_it(tmp_path: Path) -> None:
    tasks = [tmp_path / "a", tmp_path / "b"]
    with closing(run(tasks, touching, processes=1, patience=9, memory=ROOM, preload=["numpy"])) as running:
        deadline = time.monotonic() + 30
        while not tasks[0].exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert list(running) == [(task, 1) for task in tasks]


def test_no_task_needs_no_process() -> None:
    assert serve([], squares) == {}


def test_what_is_left_to_do_may_change() -> None:
    """Also when nothing is left but a task that has felled its worker, which comes last and alone."""
    todo = deque([1, 2, 4, 6, 8, 9, 10])
    got: dict[int, list[object]] = {}
    for task, item in run(todo, fells, processes=1, patience=5.0, memory=ROOM, preload=["numpy"]):
        got.setdefault(task, []).append(item)
        if item == 2:
            todo.remove(6)
            todo.remove(8)
            todo.appendleft(20)
        if isinstance(item, WorkerFailure) and item.final and task == 9:
            todo.append(21)
    assert list(got).index(20) <= 3  # at most one more was with the worker
    assert got.keys() == {1, 2, 4, 9, 10, 20, 21}
    assert got[20] == [20, -20]
    failure = WorkerFailure("decoder crashed (exit code 3)")
    assert got[9] == [9, failure, 9, replace(failure, final=True)]
    assert got[21] == [21, -21]


def arrays(n: int) -> Iterator[dict[str, np.ndarray]]:
    for size in (0, 1, 1000, SLOT_BYTES // 8, SLOT_BYTES // 8 + 1):  # the last does not fit into the shared memory
        yield {"a": np.full(size, n, np.int64), "b": np.arange(3, dtype=np.float32)}


@pytest.mark.dear
def test_arrays_come_whole_whatever_their_size() -> None:
    for n, items in serve([1, 2, 3], arrays).items():
        assert [len(item["a"]) for item in items] == [0, 1, 1000, SLOT_BYTES // 8, SLOT_BYTES // 8 + 1]
        for item in items:
            assert (item["a"] == n).all()
            assert item["b"].tolist() == [0, 1, 2]
            item["a"] += 1  # it is ours


def fells(n: int) -> Iterator[int]:
    yield n
    if n == 3:
        ctypes.string_at(0)
    if n == 5:
        os.abort()
    if n == 7:
        LIBC.sleep(1000)
    if n == 9:
        os._exit(3)
    yield -n


@pytest.mark.dear
def test_a_task_that_fells_its_worker_is_tried_twice_and_given_up() -> None:
    got = serve(list(range(12)), fells)
    reasons = {3: "decoder crashed (SIGSEGV)", 5: "decoder crashed (SIGABRT)", 7: "no frame for 5 s"}
    reasons[9] = "decoder crashed (exit code 3)"
    for n, items in got.items():
        failure = WorkerFailure(reasons.get(n, ""), hung=n == 7)
        assert items == ([n, failure, n, replace(failure, final=True)] if n in reasons else [n, -n])


def falls_after(n: int) -> Iterator[int]:
    yield n
    yield -n
    if n % 2:
        ctypes.string_at(0)


def test_what_a_worker_does_after_the_last_item_costs_nothing() -> None:
    assert serve([1, 2, 3, 4], falls_after, is_last=lambda item: item < 0) == {n: [n, -n] for n in [1, 2, 3, 4]}


def busy(n: int) -> Iterator[int]:
    for _ in range(8):
        time.sleep(0.5)
        heartbeat.tick()
    yield n


@pytest.mark.dear
def test_work_that_gives_signs_of_life_may_take_long() -> None:
    assert serve([1, 2], busy) == {1: [1], 2: [2]}


def five_times(n: int) -> Iterator[int]:
    yield from [n] * 5


@pytest.mark.dear
def test_a_worker_that_waits_for_us_is_not_taken_to_hang() -> None:
    got = []
    for task, item in run([1, 2], five_times, processes=2, patience=1, memory=ROOM, preload=["numpy"]):
        time.sleep(0.4)
        got.append(task)
        assert not isinstance(item, WorkerFailure)
    assert sorted(got) == [1] * 5 + [2] * 5


def once(n: int, folder: Path) -> Iterator[int]:
    """Its process is killed the first time that it comes to the task 2."""
    if n == 2 and not (folder / "seen").exists():
        (folder / "seen").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    yield n


def test_a_worker_killed_from_outside_loses_nothing(tmp_path: Path) -> None:
    got = serve([1, 2, 3, 4], functools.partial(once, folder=tmp_path))
    failure = WorkerFailure("its process was killed, as by a system that is out of memory")
    assert got == {1: [1], 2: [failure, 2], 3: [3], 4: [4]}


def told(n: int) -> Iterator[int]:
    """Its process is sent what the main process is to answer, and so is the one that starts it."""
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(os.getpid(), number)
        os.kill(os.getppid(), number)
    yield n


def test_workers_and_their_server_leave_signals_to_the_main_process() -> None:
    """SLURM and systemd tell all processes to end: none may go before what is finished has been committed."""
    for _ in range(2):
        assert serve([1, 2, 3], told) == {1: [1], 2: [2], 3: [3]}


def sleeps(n: int) -> Iterator[int]:
    yield n
    time.sleep(3600)


def left_at_work() -> None:
    stream = run([1, 2], sleeps, processes=2, patience=9, memory=ROOM, preload=["numpy"])
    next(stream)
    threading.main_thread().stream = stream  # type: ignore[attr-defined]  # kept, as by a traceback
    sys.exit(3)


def test_workers_that_are_left_at_work_do_not_hold_up_the_end() -> None:
    command = [sys.executable, "-c", "from tests.system import test_worker_pool; test_worker_pool.left_at_work()"]
    assert subprocess.run(command, cwd=ROOT, timeout=120).returncode == 3


def hungry(n: int) -> Iterator[int]:
    yield len(np.ones(n, np.uint8))


def test_memory_has_a_limit() -> None:
    with pytest.raises(MemoryError):
        serve([100 << 20, 2 << 30], hungry, memory=1 << 30)
    assert serve([100 << 20], hungry, memory=1 << 30) == {100 << 20: [100 << 20]}


def refuses(n: int) -> Iterator[int]:
    yield n
    raise UsageError(f"task ({n}) must not be")


def test_what_work_raises_ends_the_run() -> None:
    with pytest.raises(UsageError, match=r"task \(4\) must not be"):
        serve([4], refuses)


def test_check_can_end_the_run_while_nothing_arrives() -> None:
    start = time.monotonic()

    def late() -> None:
        if time.monotonic() - start > 1:
            raise UsageError("enough")

    with pytest.raises(UsageError, match="enough"):
        serve([7], fells, patience=600, check=late)
    assert time.monotonic() - start < 10


def ends_at_once() -> None:
    os._exit(1)


def test_workers_that_cannot_start_are_an_error_not_a_loop() -> None:
    with pytest.raises(ExtractionError, match=r"worker processes cannot be started: decoder crashed \(exit code 1\)"):
        serve([1, 2], squares, initializer=ends_at_once)


def descriptors_open() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.dear
def test_nothing_is_left_behind() -> None:
    serve([1], squares)  # the fork server stays
    descriptors = descriptors_open()
    threads = threading.active_count()
    for _ in range(3):
        serve([3, 1, 2], fells)
        stream = run([1, 2, 3], squares, processes=2, patience=9, memory=ROOM, preload=["numpy"])
        next(stream)
        stream.close()
        run([1, 2, 3], squares, processes=2, patience=9, memory=ROOM, preload=["numpy"]).close()
    assert descriptors_open() == descriptors
    assert threading.active_count() == threads
