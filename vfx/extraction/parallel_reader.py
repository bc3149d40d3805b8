"""Batches: clips of several videos, decoded ahead by worker processes and regrouped to full batches of frames."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import traceback
from collections import Counter, deque
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from operator import attrgetter
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vfx.collection.source import Chunk, VideoSource
from vfx.decoding.limits import Limits
from vfx.errors import UsageError, VideoError
from vfx.extraction import WORKER_PRELOAD
from vfx.extraction.clips import Clip
from vfx.features.rows import Failure
from vfx.outputs.counters import RunCounters
from vfx.promise import BrokenPromise
from vfx.system import worker_pool

log = logging.getLogger(__name__)
MOST_SPANS = 256  # in a batch: videos without a frame must not wait for frames of others
SHARES = 8  # a video is divided that costs more than one of so many equal parts of what each worker has to read
MOST_UNITS = 64  # of a video


@dataclass
class Span:
    """Whose rows they are: consecutive rows of a batch that belong to one video.

    `start`: rows of this video that came before are void. `end`: the video has no more rows. `chunk`: the piece of
    the video of which all this is said, None for the whole.
    """

    video: str
    index: NDArray[np.int64]
    seconds: NDArray[np.float64]
    start: bool = False
    end: bool = False
    failures: list[Failure] = field(default_factory=list)
    decoder: str = ""
    chunk: Chunk | None = None


@dataclass
class Batch:
    """`views`: the frames in each way in which they are prepared, as runs (t,h,w,3) uint8 of one size, of which there
    are several only where ten crops are to be made of them; `spans`: whose they are, in their order."""

    views: list[list[torch.Tensor]]
    spans: list[Span]

    def __len__(self) -> int:
        return sum(len(s.index) for s in self.spans)

    def to(self, device: torch.device) -> Batch:
        """This batch on a device; a GPU takes what lies in pinned memory while this process goes on."""
        return replace(self, views=[[run.to(device, non_blocking=run.is_pinned()) for run in v] for v in self.views])


class Reader:
    """Reads sources with `num_workers` processes (0: in this one) and yields their clips.

    Workers take the next source when they are free, in the order given, so the order of videos in the batches
    depends on their speed; that of the rows of one video does not. A source that takes its worker down or holds it
    up comes again, and is then given up (`workers.run`); where there are no workers it takes the run down.
    A video is read whole, next, where a piece of it is in trouble, and given up where a piece is; what other pieces of
    it give does not count then. `check` is called while waiting for clips and between them, and may raise.
    Who began it and may not come to its end must close it.
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
        self._reading: Generator[tuple[VideoSource, Clip | worker_pool.WorkerFailure]] | None = None

    @property
    def placed(self) -> str:
        """Where sources are read, in words."""
        words = {0: "the main process reads", 1: "1 process reads"}
        return words.get(self._num_workers, f"{self._num_workers} processes read")

    def begin(self) -> None:
        """Start the processes, which read ahead a little, before anyone asks for clips."""
        if self._reading is None:
            self._todo = deque(self._sources)
            self._counted = {}
            self._reading = self._read_all(self._todo)

    def close(self) -> None:
        """End the processes."""
        if self._reading is not None:
            self._reading.close()
            self._reading = None

    def __iter__(self) -> Iterator[Clip]:
        self.begin()
        assert self._reading is not None
        whole: set[str] = set()  # videos whose pieces do not count any more
        deliveries = self._reading
        with closing(self):
            while True:
                with self._counters.time("waiting"):
                    delivery = next(deliveries, None)
                self._check()
                if delivery is None:
                    return
                source, clip = delivery
                if isinstance(clip, worker_pool.WorkerFailure):
                    log.warning("%s: %s; %s", source.id, clip.reason, "given up" if clip.final else "tried again later")
                    clip = given_up(source, clip.reason) if clip.final else discarded(source)
                self._counters.decode += clip.decode_seconds
                valid = source.chunk is None or source.id not in whole
                if valid and clip.chunk != source.chunk:
                    whole.add(source.id)
                    self._supersede(source, clip.error)
                elif clip.last:
                    self._end(source)
                else:
                    self._count(source, int(source.cost * clip.share))
                if valid and not clip.error:
                    yield clip

    def _supersede(self, source: VideoSource, error: str) -> None:
        """Take the pieces of a video from what is left to do; if one was in `error`, do the whole video instead."""
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
        """Say that so much of a source is done by now."""
        key = source.id, source.chunk
        self._counters.done_cost += cost - self._counted.get(key, 0)
        self._counted[key] = cost

    def _read_all(self, todo: deque[VideoSource]) -> Generator[tuple[VideoSource, Clip | worker_pool.WorkerFailure]]:
        read = partial(_guarded, read=self._read)
        if not self._num_workers:
            return _in_turn(todo, read)
        return worker_pool.run(
            todo,
            read,
            processes=self._num_workers,
            patience=self._limits.patience,
            memory=self._limits.memory,
            preload=WORKER_PRELOAD,
            initializer=_one_thread,
            is_last=attrgetter("last"),
            check=self._check,
        )


@dataclass(frozen=True)
class Batches:
    """The clips of a reader as batches of `batch_size` frames, the last one excepted; `pinned`: for a GPU."""

    reader: Reader
    batch_size: int
    pinned: bool = False

    def __iter__(self) -> Iterator[Batch]:
        batches = regroup(iter(self.reader), self.batch_size)
        if self.pinned:
            return one_ahead(batches, partial(joined, pinned=True))
        return (joined(batch) for batch in batches)


def _in_turn(
    todo: deque[VideoSource], read: Callable[[VideoSource], Iterator[Clip]]
) -> Generator[tuple[VideoSource, Clip | worker_pool.WorkerFailure]]:
    while todo:
        source = todo.popleft()
        for clip in read(source):
            yield source, clip


def _guarded(source: VideoSource, *, read: Callable[[VideoSource], Iterator[Clip]]) -> Iterator[Clip]:
    """The clips of a source, or one that says why there are none."""
    try:
        yield from read(source)
    except (UsageError, BrokenPromise):
        raise  # not this video's fault
    except VideoError as error:
        yield given_up(source, str(error)) if source.chunk is None else failed_chunk(source, str(error))
    except MemoryError:
        yield given_up(source, "it takes more memory than limits.memory_gb allows")
    except Exception as error:  # noqa: BLE001  (a library's surprise costs its video, not the run)
        yield given_up(source, f"unexpected {type(error).__name__}: {error} ({_place(error)})")


def _one_thread() -> None:
    """Let a worker's resize run in one thread: all cores have workers, or the network, of their own."""
    torch.set_num_threads(1)


def discarded(source: VideoSource) -> Clip:
    """A clip that takes back what came of a source before."""
    return Clip(source.id, [], np.empty(0, np.int64), np.empty(0), first=True, chunk=source.chunk)


def given_up(source: VideoSource, why: str) -> Clip:
    """The one and last clip of a video whose reading broke off: what came of it before is void."""
    return replace(discarded(source), chunk=None, last=True, failures=[Failure(source.id, "decode", why)])


def failed_chunk(source: VideoSource, why: str) -> Clip:
    """The last clip of a piece that cannot be had by itself."""
    return replace(discarded(source), chunk=None, last=True, error=why)


def _place(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno}"


def regroup(clips: Iterator[Clip], batch_size: int) -> Iterator[Batch]:
    """Cut clips and lay them side by side to batches of exactly `batch_size` frames, the last one excepted."""
    chunks: list[list[torch.Tensor]] = []  # of clips, each in all views
    spans: list[Span] = []
    count = 0
    for clip in clips:
        at = 0
        while True:
            stop = min(at + batch_size - count, len(clip))
            end = clip.last and stop == len(clip)
            if stop > at:
                chunks.append([torch.from_numpy(view[at:stop]) for view in clip.views])
            spans.append(
                Span(
                    clip.video,
                    clip.index[at:stop],
                    clip.seconds[at:stop],
                    start=clip.first and at == 0,
                    end=end,
                    failures=clip.failures if end else [],
                    decoder=clip.decoder if end else "",
                    chunk=clip.chunk,
                )
            )
            count += stop - at
            at = stop
            if count == batch_size or len(spans) == MOST_SPANS:
                yield Batch(_by_view(chunks), spans)
                chunks, spans, count = [], [], 0
            if at == len(clip):
                break
    if spans:
        yield Batch(_by_view(chunks), spans)


def _by_view(chunks: list[list[torch.Tensor]]) -> list[list[torch.Tensor]]:
    return [list(view) for view in zip(*chunks, strict=True)]


def joined(batch: Batch, *, pinned: bool = False) -> Batch:
    """The batch with runs that are neighbours and of one size made one; `pinned` says in which memory."""
    views = [
        [_cat(list(run), pinned) for _, run in itertools.groupby(view, key=lambda chunk: chunk.shape[1:])]
        for view in batch.views
    ]
    return replace(batch, views=views)


def one_ahead(batches: Iterator[Batch], join: Callable[[Batch], Batch]) -> Iterator[Batch]:
    """The batches joined, each by a thread while the one before is in use: to join a batch takes about as long as a
    fast GPU takes to run it. A batch comes when the next is there; an error of `batches` costs the one that waits."""
    with ThreadPoolExecutor(1, "join", initializer=torch.set_num_threads, initargs=(1,)) as thread:
        ahead: Future[Batch] | None = None
        for batch in batches:
            joining = thread.submit(join, batch)
            if ahead is not None:
                yield ahead.result()
            ahead = joining
        if ahead is not None:
            yield ahead.result()


def _cat(run: list[torch.Tensor], pinned: bool) -> torch.Tensor:
    if not pinned:
        return torch.cat(run)
    made = torch.empty(sum(map(len, run)), *run[0].shape[1:], dtype=run[0].dtype, pin_memory=True)
    return torch.cat(run, out=made)


def divide(
    sources: Sequence[VideoSource],
    consumers: int,
    *,
    piece_cost: int,
    begun: Collection[tuple[str, Chunk]] = frozenset(),
) -> list[VideoSource]:
    """The sources, those in pieces that would have one of `consumers` still at work when the others have done.

    `piece_cost`: what a piece costs at least. By it and the cost of a video alone this is cut into stretches, one or
    more of which are a piece, so that another run can go on with its pieces. `begun`: stretches that are there already,
    each as a piece, by id. Videos are divided of which there are some, or which cost more than 1 / SHARES of what each
    consumer has to read.
    """
    most = sum(source.cost for source in sources) / (SHARES * consumers) if consumers > 1 else math.inf
    begun_ids = {id for id, _ in begun}
    divided = []
    for source in sources:
        total = min(MOST_UNITS, source.cost // piece_cost)
        if total < 2 or (source.cost <= most and source.id not in begun_ids):
            divided.append(source)
            continue
        count = math.ceil(total / max(1, int(min(1, most / source.cost) * total)))
        missing = [n for n in range(total) if (source.id, Chunk(n, n + 1, total)) not in begun]
        for n, chunk in enumerate(_runs(missing, math.ceil(total / count), total)):
            cost = source.cost * (chunk.end - chunk.begin) // total
            divided.append(source._replace(cost=cost, chunk=chunk, counts=n == 0))
    return divided


def _runs(units: list[int], longest: int, total: int) -> Iterator[Chunk]:
    """Ascending stretches as pieces, each of at most `longest` that follow each other."""
    begin = 0
    for end in range(1, len(units) + 1):
        if end == len(units) or units[end] > units[end - 1] + 1 or end - begin == longest:
            yield Chunk(units[begin], units[end - 1] + 1, total)
            begin = end


def share(sources: Sequence[VideoSource], rank: int, world_size: int) -> list[VideoSource]:
    """One rank's share, the costliest videos first, the pieces of each together, since all may have to be read again:
    each source goes to the rank that has the least to do so far.

    The same on every rank, and no rank has more to do than the average and one source (Graham 1966).
    """
    costs: Counter[str] = Counter()
    for source in sources:
        costs[source.id] += source.cost
    loads = [(0, r) for r in range(world_size)]
    mine = []
    for source in sorted(sources, key=lambda s: (-costs[s.id], s.id, s.chunk or ())):
        load, r = heapq.heappop(loads)
        heapq.heappush(loads, (load + max(1, source.cost), r))
        if r == rank:
            mine.append(source)
    return mine
