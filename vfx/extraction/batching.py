"""Batches: the clips of several videos, regrouped to full batches of frames for the network."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import torch

from vfx.extraction.clips import Clip

MOST_SPANS = 256  # in a batch: videos without a frame must not wait for frames of others


@dataclass
class Batch:
    """Frames for the network, and the videos that they belong to.

    Args:
        views: for each preprocessor the frames, as runs (t,h,w,3) uint8 of one size. There are several runs only where
            ten crops are to be made of them.
        spans: the clips, or parts of clips, that the rows are of, in their order; without views.
    """

    views: list[list[torch.Tensor]]
    spans: list[Clip]

    def __len__(self) -> int:
        return sum(map(len, self.spans))

    def to(self, device: torch.device) -> Batch:
        """This batch on a device; a GPU copies pinned memory while this process goes on."""
        return replace(self, views=[[run.to(device, non_blocking=run.is_pinned()) for run in v] for v in self.views])


@dataclass(frozen=True)
class Batches:
    """The clips as batches of exactly `batch_size` frames, the last one excepted.

    Args:
        clips: those of one video in order, those of several mixed.
        batch_size: frames.
        pinned: join the runs in pinned memory, one batch ahead, for a GPU.
    """

    clips: Iterable[Clip]
    batch_size: int
    pinned: bool = False

    def __iter__(self) -> Iterator[Batch]:
        batches = regroup(self.clips, self.batch_size)
        if self.pinned:
            return one_ahead(batches, partial(join_runs, pinned=True))
        return (join_runs(batch) for batch in batches)


def regroup(clips: Iterable[Clip], batch_size: int) -> Iterator[Batch]:
    """Cut clips and put them together to batches of exactly `batch_size` frames, the last one excepted."""
    cuts: list[list[torch.Tensor]] = []  # of clips, each in all views
    spans: list[Clip] = []
    count = 0
    for clip in clips:
        start = 0
        while True:
            stop = min(start + batch_size - count, len(clip))
            if stop > start:
                cuts.append([torch.from_numpy(view[start:stop]) for view in clip.views])
            spans.append(
                replace(
                    clip,
                    views=[],
                    index=clip.index[start:stop],
                    seconds=clip.seconds[start:stop],
                    first=clip.first and start == 0,
                    last=clip.last and stop == len(clip),
                )
            )
            count += stop - start
            start = stop
            if count == batch_size or len(spans) == MOST_SPANS:
                yield Batch(_by_view(cuts), spans)
                cuts, spans, count = [], [], 0
            if start == len(clip):
                break
    if spans:
        yield Batch(_by_view(cuts), spans)


def _by_view(cuts: list[list[torch.Tensor]]) -> list[list[torch.Tensor]]:
    return [list(view) for view in zip(*cuts, strict=True)]


def join_runs(batch: Batch, *, pinned: bool = False) -> Batch:
    """Make neighbouring runs of one size one run, in pinned memory if asked for."""
    views = [
        [_concatenate(list(run), pinned) for _, run in itertools.groupby(view, key=lambda part: part.shape[1:])]
        for view in batch.views
    ]
    return replace(batch, views=views)


def _concatenate(run: list[torch.Tensor], pinned: bool) -> torch.Tensor:
    size = (sum(map(len, run)), *run[0].shape[1:])
    return torch.cat(run, out=torch.empty(size, dtype=run[0].dtype, pin_memory=True) if pinned else None)


def one_ahead(batches: Iterator[Batch], join: Callable[[Batch], Batch]) -> Iterator[Batch]:
    """Join each batch in a thread while the one before is in use.

    To join a batch takes about as long as a fast GPU takes to run it. A batch comes when the next one is there; an
    error of `batches` costs the one that waits.
    """
    with ThreadPoolExecutor(1, "join", initializer=torch.set_num_threads, initargs=(1,)) as thread:
        ahead: Future[Batch] | None = None
        for batch in batches:
            joining = thread.submit(join, batch)
            if ahead is not None:
                yield ahead.result()
            ahead = joining
        if ahead is not None:
            yield ahead.result()
