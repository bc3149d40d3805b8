"""Workers are given a value when their process has long begun."""

from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from vfx.promise import BrokenPromise, Promise
from vfx.system.worker_pool import run

DESCRIPTORS = Path("/proc/self/fd")


def telling(task: int, promise: Promise[str]) -> Iterator[object]:
    yield promise.is_kept()
    yield promise.value() * task


def test_workers_wait_for_it_and_those_that_come_later_have_it_at_once() -> None:
    said: dict[int, list[object]] = {1: [], 2: [], 3: [], 4: []}
    with closing(Promise[str]()) as promise:
        work = partial(telling, promise=promise)
        running = run(list(said), work, processes=2, patience=60, memory=1 << 30, preload=["vfx.promise"])
        for _ in range(2):
            task, item = next(running)
            said[task].append(item)
        assert not promise.is_kept()
        promise.keep("yes")
        assert promise.is_kept()
        assert promise.value() == "yes"
        for task, item in running:
            said[task].append(item)
    assert [word for _, word in said.values()] == ["yes", "yesyes", "yesyesyes", "yesyesyesyes"]
    assert sorted(kept for kept, _ in said.values()) == [False, False, True, True]


def breaking(task: int, promise: Promise[str]) -> Iterator[str]:
    yield "waits"
    try:
        yield promise.value()
    except BrokenPromise:
        yield "broken"


def test_one_that_is_broken_is_waited_for_no_more() -> None:
    promise: Promise[str] = Promise()
    work = partial(breaking, promise=promise)
    with closing(run([1], work, processes=1, patience=60, memory=1 << 30, preload=["vfx.promise"])) as running:
        assert next(running) == (1, "waits")
        promise.close()
        assert list(running) == [(1, "broken")]
    promise.close()


@pytest.mark.skipif(not DESCRIPTORS.exists(), reason="needs /proc")
def test_it_holds_no_descriptors_when_it_is_closed() -> None:
    before = len(list(DESCRIPTORS.iterdir()))
    for kept in (False, True):
        promise: Promise[int] = Promise()
        if kept:
            promise.keep(1)
        assert len(list(DESCRIPTORS.iterdir())) > before
        promise.close()
    assert len(list(DESCRIPTORS.iterdir())) == before
