"""Runs networks beside the main thread: in threads of one core each, or asynchronously on a GPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

Work = Callable[[], list[torch.Tensor]]
Arrays = list[NDArray[np.float32]]


class Pending(Protocol):
    """Features that are being computed."""

    def result(self) -> tuple[Arrays, float]:
        """Wait for the features.

        Returns:
            The features, and the seconds that a thread took for them, 0 where that is unknown.

        Raises:
            Exception: What the work raised.
        """


class Executor:
    """Runs work on a kind of device; `depth` is how many batches it needs in flight never to be idle."""

    depth: int

    def submit(self, work: Work) -> Pending:
        raise NotImplementedError

    def close(self) -> None:
        """End what runs the work; work that has not begun is dropped."""


class ThreadExecutor(Executor):
    """Runs `count` batches side by side on the CPU, each in a thread with one core.

    Threads that share one batch would wait for the slowest of them at each layer, and the decoding workers use the
    cores as well.
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


class CudaExecutor(Executor):
    """Queues work on a GPU without waiting, and copies the features to the host behind it."""

    depth = 3

    def submit(self, work: Work) -> Pending:
        return _HostCopies(work())


class _HostCopies:
    def __init__(self, features: list[torch.Tensor]) -> None:
        self._host = [torch.empty(f.shape, dtype=f.dtype, pin_memory=True) for f in features]
        for host, device in zip(self._host, features, strict=True):
            host.copy_(device, non_blocking=True)
        self._end = torch.cuda.Event(blocking=True)  # the default spins, on a core that decoding needs
        self._end.record()

    def result(self) -> tuple[Arrays, float]:
        self._end.synchronize()
        return [host.numpy() for host in self._host], 0.0


class SynchronousExecutor(Executor):
    """Runs each batch at once and waits for it; for devices of any other kind."""

    depth = 0

    def submit(self, work: Work) -> Pending:
        done: Future[tuple[Arrays, float]] = Future()
        done.set_result(([features.cpu().numpy() for features in work()], 0.0))
        return done


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Limit torch to the calling thread meanwhile.

    Between two batches, torch's helper threads would spin on cores that decoding and inference need.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def executor_for(device: torch.device, threads: int) -> Executor:
    """The executor of a kind of device; `threads` is the number of inference threads on a CPU."""
    if device.type == "cpu":
        return ThreadExecutor(threads)
    return CudaExecutor() if device.type == "cuda" else SynchronousExecutor()
