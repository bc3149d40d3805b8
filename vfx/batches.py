"""Batches: clips of several videos, decoded ahead by worker processes and regrouped to full batches of frames."""

from __future__ import annotations

import heapq
import itertools
import logging
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vfx import workers
from vfx.clips import Clip
from vfx.collection import Source
from vfx.errors import UsageError, VideoError
from vfx.limits import Limits
from vfx.store import Failure
from vfx.tally import Tally

log = logging.getLogger(__name__)
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
    """`views`: the frames in each way in which they are prepared, as runs (t,h,w,3) uint8 of one size, of which there
    are several only where ten crops are to be made of them; `spans`: whose they are, in their order."""

    views: list[list[torch.Tensor]]
    spans: list[Span]

    def __len__(self) -> int:
        return sum(len(s.index) for s in self.spans)

    def to(self, device: torch.device) -> Batch:
        """This batch on a device; a GPU takes it while this process goes on."""

        def moved(run: torch.Tensor) -> torch.Tensor:
            return run.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else run.to(device)

        return replace(self, views=[[moved(run) for run in view] for view in self.views])


class Batches:
    """Reads sources with `num_workers` processes (0: in this one) and yields batches of `batch_size` frames.

    Workers take the next source when they are free, in the order given, so the order of videos in the batches
    depends on their speed; that of the rows of one video does not. A source that takes its worker down or holds it
    up comes again, and is then given up (`workers.run`); where there are no workers it takes the run down.
    `check` is called while waiting for clips and between them, and may raise.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        read: Callable[[Source], Iterator[Clip]],
        *,
        batch_size: int,
        num_workers: int,
        limits: Limits,
        tally: Tally,
        check: Callable[[], None],
    ) -> None:
        self._sources = sources
        self._read = read
        self._batch_size = batch_size
        self._num_workers = num_workers
        self._limits = limits
        self._tally = tally
        self._check = check

    def __iter__(self) -> Iterator[Batch]:
        return regroup(self._clips(), self._batch_size)

    def _clips(self) -> Iterator[Clip]:
        with closing(self._read_all()) as deliveries:
            while True:
                with self._tally.time("waiting"):
                    delivery = next(deliveries, None)
                self._check()
                if delivery is None:
                    return
                source, clip = delivery
                if isinstance(clip, workers.Down):
                    log.warning("%s: %s; %s", source.id, clip.reason, "given up" if clip.final else "tried again later")
                    clip = given_up(source, clip.reason) if clip.final else void(source)
                self._tally.decode += clip.busy
                if clip.last:
                    self._tally.done_cost += source.cost
                yield clip

    def _read_all(self) -> Generator[tuple[Source, Clip | workers.Down]]:
        read = partial(_read_whole, read=self._read)
        if not self._num_workers:
            return ((source, clip) for source in self._sources for clip in read(source))
        return workers.run(
            self._sources,
            read,
            processes=self._num_workers,
            patience=self._limits.patience,
            memory=self._limits.memory,
            start=_one_thread,
            is_last=attrgetter("last"),
            check=self._check,
        )


def _read_whole(source: Source, *, read: Callable[[Source], Iterator[Clip]]) -> Iterator[Clip]:
    """The clips of a source, or one that says why there are none."""
    try:
        yield from read(source)
    except UsageError:
        raise  # not this video's fault
    except VideoError as error:
        yield given_up(source, str(error))
    except MemoryError:
        yield given_up(source, "it takes more memory than limits.memory_gb allows")
    except Exception as error:  # noqa: BLE001  (a library's surprise costs its video, not the run)
        yield given_up(source, f"unexpected {type(error).__name__}: {error} ({_place(error)})")


def _one_thread() -> None:
    """Let a worker's resize run in one thread: all cores have workers, or the network, of their own."""
    torch.set_num_threads(1)


def void(source: Source) -> Clip:
    """A clip that takes back what came of a video before."""
    return Clip(source.id, [], np.empty(0, np.int64), np.empty(0), first=True)


def given_up(source: Source, why: str) -> Clip:
    """The one and last clip of a video whose reading broke off: what came of it before is void."""
    return replace(void(source), last=True, failures=[Failure(source.id, "decode", why)])


def _place(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def regroup(clips: Iterator[Clip], batch_size: int) -> Iterator[Batch]:
    """Cut and join clips to batches of exactly `batch_size` frames, the last one excepted."""
    pieces: list[list[torch.Tensor]] = []  # of clips, each in all views
    spans: list[Span] = []
    count = 0
    for clip in clips:
        at = 0
        while True:
            stop = min(at + batch_size - count, len(clip))
            end = clip.last and stop == len(clip)
            if stop > at:
                pieces.append([torch.from_numpy(view[at:stop]) for view in clip.views])
            spans.append(
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
            count += stop - at
            at = stop
            if count == batch_size or len(spans) == MOST_SPANS:
                yield Batch(_joined(pieces), spans)
                pieces, spans, count = [], [], 0
            if at == len(clip):
                break
    if spans:
        yield Batch(_joined(pieces), spans)


def _joined(pieces: list[list[torch.Tensor]]) -> list[list[torch.Tensor]]:
    """By view, the pieces in order, neighbours of one size made one."""
    return [
        [torch.cat(list(run)) for _, run in itertools.groupby(view, key=lambda piece: piece.shape[1:])]
        for view in zip(*pieces, strict=True)
    ]


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
