"""Cuts many videos in worker processes, one video a process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from vfx.collection.source import VideoSource
from vfx.cutting import cutter
from vfx.cutting.record import Cut
from vfx.decoding.limits import Limits
from vfx.errors import VfxError
from vfx.system import worker_pool


def cut_all(
    sources: Iterable[VideoSource], cut: Callable[[VideoSource], Cut], *, num_workers: int, limits: Limits
) -> Iterator[Cut]:
    """Cut videos, and yield what became of each as it is finished.

    A video that brings its worker down, or holds it up beyond the limits, is tried once more, alone, and given up.

    Args:
        sources: the videos, in the order in which they are begun.
        cut: cuts one; any error that it does not raise on purpose is that video's failure.
        num_workers: processes; 0 cuts in this one.
        limits: what a worker may take.

    Raises:
        VfxError: What `cut` raises on purpose.
    """
    work = partial(_cut_one, cut=cut)
    if not num_workers:
        for source in sources:
            yield from work(source)
        return
    cuts = worker_pool.run(
        list(sources),
        work,
        processes=num_workers,
        patience=limits.patience,
        memory=limits.memory,
        is_last=lambda _: True,
        preload=[__name__, cutter.__name__],  # neither needs torch, which takes seconds to import
    )
    with contextlib.closing(cuts):
        for source, item in cuts:
            if isinstance(item, Cut):
                yield item
            elif item.final:
                yield Cut(source.id, stage="decode", problem=item.reason)


def _cut_one(source: VideoSource, *, cut: Callable[[VideoSource], Cut]) -> Iterator[Cut]:
    """The one result of a video, whatever goes wrong with it."""
    try:
        yield cut(source)
    except VfxError:
        raise
    except MemoryError:
        yield Cut(source.id, stage="decode", problem="it takes more memory than limits.memory_gb allows")
    except Exception as error:  # noqa: BLE001  (a library's surprise costs its video, not the run)
        yield Cut(source.id, stage="decode", problem=repr(error))
