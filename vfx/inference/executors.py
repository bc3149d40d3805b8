"""Runs networks beside the main process's other work: in threads of one core each, or on a GPU's own streams."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

Work = Callable[[], list[torch.Tensor]]
Arrays = list[NDArray[np.float32]]


class Pending(Protocol):
    """Features on their way."""

    def result(self) -> tuple[Arrays, float]:
        """Wait for them; the seconds are those that a thread was at them, 0 where that is not known.

        Raises what the work raised.
        """


class Background(Protocol):
    """`depth`: how many batches it should have at hand to be never idle."""

    depth: int

    def submit(self, work: Work) -> Pending: ...

    def close(self) -> None: ...


class Threads:
    """`count` batches at once, each in a thread that has one core to itself.

    Threads that share one batch wait for the slowest of them at each layer, and the cores belong to decoders as well.
    """

    def __init__(self, count: int) -> None:
        self.depth = 2 * count
        self._pool = ThreadPoolExecutor(count, "network", initializer=torch.set_num_threads, initargs=(1,))

    def submit(self, work: Work) -> Future[tuple[Arrays, float]]:
        return self._pool.submit(_timed, work)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


def _timed(work: Work) -> tuple[Arrays, float]:
    start = time.perf_counter()
    with torch.inference_mode():
        made = [features.numpy() for features in work()]
    return made, time.perf_counter() - start


class Cuda:
    """A GPU, which takes work in without finishing it: features are copied out behind it and waited for one by one."""

    depth = 3

    def submit(self, work: Work) -> Pending:
        return _Copies(work())

    def close(self) -> None:
        pass


class _Copies:
    def __init__(self, features: list[torch.Tensor]) -> None:
        self._host = [torch.empty(f.shape, dtype=f.dtype, pin_memory=True) for f in features]
        for host, device in zip(self._host, features, strict=True):
            host.copy_(device, non_blocking=True)
        self._end = torch.cuda.Event(blocking=True)  # else waiting keeps a core busy, which decoders need
        self._end.record()

    def result(self) -> tuple[Arrays, float]:
        self._end.synchronize()
        return [host.numpy() for host in self._host], 0.0


class Foreground:
    """A device of another kind: each batch is waited for."""

    depth = 0

    def submit(self, work: Work) -> Pending:
        return _Done([features.cpu().numpy() for features in work()])

    def close(self) -> None:
        pass


class _Done:
    def __init__(self, arrays: Arrays) -> None:
        self._arrays = arrays

    def result(self) -> tuple[Arrays, float]:
        return self._arrays, 0.0


@contextmanager
def without_helpers() -> Iterator[None]:
    """Have torch do what this thread asks of it in this thread alone: between two batches its helpers would be busy
    waiting, on cores that decoders and networks need."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def background(device: torch.device, threads: int) -> Background:
    """What fits a device; `threads` counts for a processor alone."""
    made: dict[str, Callable[[], Any]] = {"cpu": lambda: Threads(threads), "cuda": Cuda}
    return made.get(device.type, Foreground)()
