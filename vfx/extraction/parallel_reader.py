"""Reads videos with worker processes, and yields their clips as they come."""

from __future__ import annotations

import logging
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch

from vfx.collection.source import Chunk, VideoSource
from vfx.decoding.limits import Limits
from vfx.errors import UsageError, VideoError
from vfx.extraction import WORKER_PRELOAD
from vfx.extraction.clips import Clip
from vfx.features.rows import Failure
from vfx.outputs.counters import RunCounters
from vfx.system import worker_pool
from vfx.system.worker_pool import WorkerFailure

log = logging.getLogger(__name__)


class ParallelReader:
    """Reads sources with worker processes and yields their clips.

    A free worker takes the next source, so the order of videos depends on the workers' speed; the rows of one video
    come in order. A source that crashes or blocks its worker is tried once more, and is then given up
    (`worker_pool.run`). Without workers it takes the run down. A video is read whole, next, where a chunk of it cannot
    be read by itself, and is given up where a chunk is; its other chunks do not count then.

    Call `close()` if you may stop iterating early.

    Args:
        sources: in the order in which they are read.
        read: yields the clips of one source; is pickled to the workers.
        num_workers: processes; 0 reads in this process.
        limits: how long a worker may be silent, and how much memory it may take.
        counters: gains what has been read.
        check: is called while waiting for clips and between them; ends the iteration by raising.
    """

    def __init__(
        self,
        sources: Sequence[VideoSource],
        read: Callable[[VideoSource], Iterator[Clip]],
        *,
        num_workers: int,
        limits: Limits,
        counters: RunCounters,
        check: Callable[[], None],
    ) -> None:
        self._sources = sources
        self._read = read
        self._num_workers = num_workers
        self._limits = limits
        self._counters = counters
        self._check = check
        self._todo: deque[VideoSource] = deque()
        self._counted: dict[tuple[str, Chunk | None], int] = {}  # of the cost of what is being read
        self._deliveries: Generator[tuple[VideoSource, Clip | WorkerFailure]] | None = None

    @property
    def placed(self) -> str:
        """Where sources are read, in words."""
        words = {0: "the main process reads", 1: "1 process reads"}
        return words.get(self._num_workers, f"{self._num_workers} processes read")

    def start(self) -> None:
        """Start the processes, which read ahead a little before anyone asks for clips."""
        if self._deliveries is None:
            self._todo = deque(self._sources)
            self._deliveries = self._start_reading()

    def close(self) -> None:
        """End the processes."""
        if self._deliveries is not None:
            self._deliveries.close()
            self._deliveries = None

    def __iter__(self) -> Iterator[Clip]:
        self.start()
        assert self._deliveries is not None
        superseded: set[str] = set()  # videos whose chunks do not count any more
        for source, clip in self._timed(self._deliveries):
            self._counters.decode += clip.decode_seconds
            counts = source.chunk is None or source.id not in superseded
            if counts and clip.chunk != source.chunk:
                superseded.add(source.id)
                self._supersede(source, clip.error)
            elif clip.last:
                self._end(source)
            else:
                self._count(source, int(source.cost * clip.share))
            if counts and not clip.error:
                yield clip
        self._deliveries = None

    def _timed(
        self, deliveries: Iterator[tuple[VideoSource, Clip | WorkerFailure]]
    ) -> Iterator[tuple[VideoSource, Clip]]:
        """The deliveries, a clip in place of a worker's failure; counts the time spent waiting."""
        while True:
            with self._counters.time("waiting"):
                delivery = next(deliveries, None)
            self._check()
            if delivery is None:
                return
            source, clip = delivery
            if isinstance(clip, WorkerFailure):
                log.warning("%s: %s; %s", source.id, clip.reason, "given up" if clip.final else "tried again later")
                clip = given_up(source, clip.reason) if clip.final else discarded(source)
            yield source, clip

    def _supersede(self, source: VideoSource, error: str) -> None:
        """Take the chunks of a video from what is left to do; if one had an `error`, do the whole video instead."""
        chunks = [source, *(other for other in self._todo if other.id == source.id)]
        for chunk in chunks[1:]:
            self._todo.remove(chunk)
        if not error:
            for chunk in chunks:
                self._end(chunk)
            return
        log.info("%s: read whole, since its piece %s is not sound: %s", source.id, source.chunk, error)
        cost, counts = sum(chunk.cost for chunk in chunks), any(chunk.counts for chunk in chunks)
        self._todo.appendleft(source._replace(chunk=None, cost=cost, counts=counts))

    def _end(self, source: VideoSource) -> None:
        self._count(source, source.cost)
        del self._counted[source.id, source.chunk]
        self._counters.videos += source.counts

    def _count(self, source: VideoSource, cost: int) -> None:
        """Say how much of the cost of a source is done by now."""
        key = source.id, source.chunk
        self._counters.done_cost += cost - self._counted.get(key, 0)
        self._counted[key] = cost

    def _start_reading(self) -> Generator[tuple[VideoSource, Clip | WorkerFailure]]:
        read = partial(_read_guarded, read=self._read)
        if not self._num_workers:
            return _read_here(self._todo, read)
        return worker_pool.run(
            self._todo,
            read,
            processes=self._num_workers,
            patience=self._limits.patience,
            memory=self._limits.memory,
            preload=WORKER_PRELOAD,
            initializer=partial(torch.set_num_threads, 1),  # all cores have workers, or the network, of their own
            is_last=attrgetter("last"),
            check=self._check,
        )


def _read_here(
    todo: deque[VideoSource], read: Callable[[VideoSource], Iterator[Clip]]
) -> Generator[tuple[VideoSource, Clip | WorkerFailure]]:
    while todo:
        source = todo.popleft()
        for clip in read(source):
            yield source, clip


def _read_guarded(source: VideoSource, *, read: Callable[[VideoSource], Iterator[Clip]]) -> Iterator[Clip]:
    """The clips of a source, or one that says why there are none."""
    try:
        yield from read(source)
    except UsageError:
        raise  # not this video's fault
    except VideoError as error:
        yield given_up(source, str(error)) if source.chunk is None else failed_chunk(source, str(error))
    except MemoryError:
        yield given_up(source, "it takes more memory than limits.memory_gb allows")
    except Exception as error:  # noqa: BLE001  (a library's surprise costs its video, not the run)
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        yield given_up(source, f"unexpected {type(error).__name__}: {error} ({place})")


def discarded(source: VideoSource) -> Clip:
    """A clip that discards what came of a source before."""
    return Clip(source.id, [], np.empty(0, np.int64), np.empty(0), first=True, chunk=source.chunk)


def given_up(source: VideoSource, why: str) -> Clip:
    """The only and last clip of a video whose reading broke off; discards what came of it before."""
    return replace(discarded(source), chunk=None, last=True, failures=[Failure(source.id, "decode", why)])


def failed_chunk(source: VideoSource, why: str) -> Clip:
    """The last clip of a chunk that cannot be read by itself."""
    return replace(discarded(source), chunk=None, last=True, error=why)
