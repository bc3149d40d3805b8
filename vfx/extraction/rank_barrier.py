"""How ranks wait for each other at the end of a run, and notice one whose process or host is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import torch.distributed as dist
from torch import tensor

from vfx.errors import ExtractionError

HEARTBEAT_SECONDS = 1
POLL_SECONDS = 0.05
MEETINGS = 2

T = TypeVar("T")


class RankBarrier:
    """A barrier at which all ranks meet MEETINGS times, hours apart if they must. All ranks must make one.

    Meanwhile they tell each other, in a thread, how often each has come, so that a rank which is lost is noticed. At a
    barrier of torch's nothing would move: were a host to lose its power while the others wait, none would ever hear of
    it. NCCL gives up on a barrier after 30 minutes, and Lightning has none at the end of predict.

    Args:
        silence: seconds without a heartbeat before a rank counts as lost. A rank whose process ends is noticed at
            once; this is for a host without power or network, and must be longer than a disk keeps all waiting.
        check: is called while this rank waits; ends that by raising.
    """

    def __init__(self, *, silence: float, check: Callable[[], None] = lambda: None) -> None:
        self._check = check
        self._exchanging, self._gathering = _group(silence), _group(silence)
        self._times = 0
        self._times_of_all = 0
        self._arrival = threading.Event()
        self._loss: RuntimeError | None = None
        threading.Thread(target=self._exchange, name="vfx rank barrier", daemon=True).start()

    def wait(self) -> None:
        """Return once every rank has called this as often. Raises ExtractionError where a rank is lost."""
        self._times += 1
        self._arrival.set()
        while self._times_of_all < self._times:
            self._check()
            if self._loss is not None:
                raise _gone(self._loss) from self._loss
            time.sleep(POLL_SECONDS)

    def gather(self, thing: T) -> list[T]:
        """Collect what each rank brings, by rank, once all have come. Raises as `wait` does."""
        things = [thing for _ in range(dist.get_world_size())]
        try:
            dist.all_gather_object(things, thing, group=self._gathering)
        except RuntimeError as loss:
            raise _gone(loss) from loss
        return things

    def _exchange(self) -> None:
        try:
            while self._times_of_all < MEETINGS:
                times = tensor(self._times)
                round = dist.all_reduce(times, dist.ReduceOp.MIN, group=self._exchanging, async_op=True)
                assert round is not None  # this rank is in the group
                while not round.is_completed():  # in Python, where a process that ends may leave a thread
                    time.sleep(POLL_SECONDS)
                round.wait()
                self._times_of_all = int(times)
                if self._arrival.wait(HEARTBEAT_SECONDS):
                    time.sleep(POLL_SECONDS)
        except RuntimeError as loss:
            self._loss = loss


@contextmanager
def distributed_errors() -> Iterator[None]:
    """Translate torch's errors about ranks that do not reach each other to an ExtractionError that says what to do."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error).lower():
            raise
        raise ExtractionError(
            "the ranks do not reach each other, or one is gone: all must be started, and GLOO_SOCKET_IFNAME must name"
            " the network interface by which their hosts reach each other (docs/cluster.md); what was finished is kept:"
            f" the same command goes on from there ({_reason(error)})"
        ) from error


def _group(silence: float) -> dist.ProcessGroup:
    group = dist.new_group(backend="gloo", timeout=timedelta(seconds=silence))
    assert isinstance(group, dist.ProcessGroup)  # this rank is a member
    return group


def _gone(loss: RuntimeError) -> ExtractionError:
    return ExtractionError(
        "a rank is gone before all have done their work; what was finished is kept: the same command goes on from there"
        f" ({_reason(loss)})"
    )


def _reason(loss: RuntimeError) -> str:
    """The middle of what gloo says: `[<file>:<line>] Connection closed by peer [10.0.0.2]:29500. <advice>`."""
    return str(loss).splitlines()[0].partition("] ")[2].partition(". ")[0] or str(loss)
