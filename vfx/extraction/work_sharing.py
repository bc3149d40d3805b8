"""Shares the reading of videos out over ranks and workers by estimated cost; long videos are cut into chunks."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from vfx.collection.source import Chunk, VideoSource

SHARES = 8  # a video is divided that costs more than one of so many equal parts of what each worker has to read
MOST_UNITS = 64  # of a video


def divide(
    sources: Sequence[VideoSource],
    consumers: int,
    *,
    piece_cost: int,
    begun: Collection[tuple[str, Chunk]] = frozenset(),
) -> list[VideoSource]:
    """Cut the sources into chunks that would keep one consumer busy when the others are done.

    A video is divided that costs more than 1 / SHARES of what each consumer has to read, or of which there are chunks
    already. It is cut into units by `piece_cost` and its own cost alone, one or more of which are a chunk, so that
    another run, with other consumers, can go on with its chunks.

    Args:
        sources: whole videos.
        consumers: workers of all ranks together.
        piece_cost: the least cost of a unit, in the unit of `VideoSource.cost`.
        begun: units that have been read before, each as a chunk, by video id.

    Returns:
        The sources, in their order, each whole or as its chunks; of those begun the missing chunks.
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
    """Join ascending units that follow each other to chunks of at most `longest` units."""
    begin = 0
    for end in range(1, len(units) + 1):
        if end == len(units) or units[end] > units[end - 1] + 1 or end - begin == longest:
            yield Chunk(units[begin], units[end - 1] + 1, total)
            begin = end


def share(sources: Sequence[VideoSource], rank: int, world_size: int) -> list[VideoSource]:
    """The share of one rank, the most expensive videos first, the chunks of each video together.

    Each source goes to the rank that has the least to do so far; the list is the same on every rank. No rank has more
    to do than the average and one source (Graham 1966).
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
