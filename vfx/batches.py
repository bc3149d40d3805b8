"""Batches: clips of several videos, decoded ahead by worker processes and regrouped to full batches of frames."""

from __future__ import annotations

import heapq
import queue
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset

from vfx import workers
from vfx.clips import Clip
from vfx.collection import Source
from vfx.errors import UsageError, VideoError
from vfx.store import Failure
from vfx.tally import Tally

AHEAD = 2  # clips that each worker may have ready; more only costs memory
MOST_SPANS = 256  # in a batch: videos without a frame must not wait for frames of others


@dataclass
class Span:
    """Whose rows they are: consecutive rows of a batch that belong to one video.

    `start`: rows of this video that came before are void. `end`: the video has no more rows.
    """

    video: str
    index: NDArray[np.int64]
    seconds: NDArray[np.float64]
    start: bool = False
    end: bool = False
    failures: list[Failure] = field(default_factory=list)
    decoder: str = ""


@dataclass
class Batch:
    """`frames`: pieces of (t,h,w,3) uint8, of different sizes where ten crops are to be made of them;
    `spans`: one for each piece and in their order."""

    frames: list[torch.Tensor]
    spans: list[Span]

    def __len__(self) -> int:
        return sum(len(s.index) for s in self.spans)

    def to(self, device: torch.device, **options: Any) -> Batch:
        """By this Lightning moves a batch to its device."""
        return replace(self, frames=[f.to(device, **options) for f in self.frames])


class Batches:
    """Reads sources with `num_workers` processes (0: in this one) and yields batches of `batch_size` frames.

    Workers take the next source when they are free, in the order given, so the order of videos in the batches
    depends on their speed; that of the rows of one video does not. Nothing is held of sources not yet begun.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        read: Callable[[Source], Iterator[Clip]],
        *,
        batch_size: int,
        num_workers: int,
        tally: Tally,
    ) -> None:
        self._sources = sources
        self._read = read
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._tally = tally

    def __iter__(self) -> Iterator[Batch]:
        return regroup(self._clips(), self._batch_size)

    def _clips(self) -> Iterator[Clip]:
        if not self._sources:
            return
        context = workers.context() if self._num_workers else None
        tasks: Any = context.Queue() if context else queue.SimpleQueue()
        costs = {}
        pending = iter(self._sources)

        def hand_out() -> None:
            source = next(pending, None)
            if source is not None:
                costs[source.id] = source.cost
            tasks.put(source)

        for _ in range(AHEAD * max(1, self._num_workers)):
            hand_out()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create .* worker processes")  # it was asked to
            loader = DataLoader(
                _Worker(tasks, self._read),
                batch_size=1,
                collate_fn=_only,
                num_workers=self._num_workers,
                prefetch_factor=AHEAD if self._num_workers else None,
                multiprocessing_context=context,
                in_order=False,
            )
            with self._tally.time("waiting"), workers.without_main():
                clips = iter(loader)
        while True:
            with self._tally.time("waiting"):
                clip = next(clips, None)
            if clip is None:
                return
            clip.frames = clip.frames.clone()  # lets go of the shared memory, and of a file descriptor each
            self._tally.decode += clip.busy
            if clip.last:
                self._tally.done_cost += costs.pop(clip.video)
                hand_out()
            yield clip


class _Worker(IterableDataset[Clip]):
    """Reads the sources that it finds in the queue, until it finds None."""

    def __init__(self, tasks: Any, read: Callable[[Source], Iterator[Clip]]) -> None:
        self._tasks = tasks
        self._read = read

    def __iter__(self) -> Iterator[Clip]:
        while (source := self._tasks.get()) is not None:
            try:
                yield from self._read(source)
            except UsageError:
                raise  # not this video's fault
            except VideoError as error:
                yield _failed(source, str(error))
            except Exception as error:  # noqa: BLE001  (a library's surprise costs its video, not the run)
                yield _failed(source, f"unexpected {type(error).__name__}: {error} ({_place(error)})")


def _failed(source: Source, why: str) -> Clip:
    """The one and last clip of a video whose reading broke off: what came of it before is void."""
    clip = Clip(source.id, torch.empty(0, 1, 1, 3, dtype=torch.uint8), np.empty(0, np.int64), np.empty(0))
    clip.first = clip.last = True
    clip.failures = [Failure(source.id, "decode", why)]
    return clip


def _place(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def _only(items: list[Clip]) -> Clip:
    return items[0]


def regroup(clips: Iterator[Clip], batch_size: int) -> Iterator[Batch]:
    """Cut and join clips to batches of exactly `batch_size` frames, the last one excepted."""
    batch = Batch([], [])
    for clip in clips:
        at = 0
        while True:
            stop = min(at + batch_size - len(batch), len(clip))
            end = clip.last and stop == len(clip)
            batch.frames.append(clip.frames[at:stop])
            batch.spans.append(
                Span(
                    clip.video,
                    clip.index[at:stop],
                    clip.seconds[at:stop],
                    start=clip.first and at == 0,
                    end=end,
                    failures=clip.failures if end else [],
                    decoder=clip.decoder if end else "",
                )
            )
            at = stop
            if len(batch) == batch_size or len(batch.spans) == MOST_SPANS:
                yield batch
                batch = Batch([], [])
            if at == len(clip):
                break
    if batch.spans:
        yield batch


def share(sources: Sequence[Source], rank: int, world_size: int) -> list[Source]:
    """One rank's share, the costliest first: each source goes to the rank that has the least to do so far.

    The same on every rank, and within a third of the best possible sharing (Graham 1969, longest first).
    """
    loads = [(0, r) for r in range(world_size)]
    mine = []
    for source in sorted(sources, key=lambda s: (-s.cost, s.id)):
        load, r = heapq.heappop(loads)
        heapq.heappush(loads, (load + max(1, source.cost), r))
        if r == rank:
            mine.append(source)
    return mine
