"""How the reading of videos is shared out over ranks and workers."""

import heapq
import time

import numpy as np
import pytest

from tests.extraction.test_batching import SOURCES
from vfx.collection.source import Chunk, VideoSource
from vfx.extraction.work_sharing import MOST_UNITS, divide, share


@pytest.mark.parametrize("world_size", [1, 2, 3, 50])
def test_shares_are_whole_and_even(world_size: int) -> None:
    costs = np.random.default_rng(0).lognormal(3, 1, 500).astype(int)
    sources = [VideoSource(f"{n}", "", int(c)) for n, c in enumerate(costs)]
    shares = [share(sources, rank, world_size) for rank in range(world_size)]
    assert sorted(s for part in shares for s in part) == sorted(sources)
    loads = [sum(s.cost for s in part) for part in shares]
    assert max(loads) <= max(1.02 * sum(loads) / world_size, max(costs))


def test_more_ranks_than_sources_leaves_some_with_nothing() -> None:
    assert [len(share(SOURCES[:2], rank, 4)) for rank in range(4)].count(0) == 2


HOUR = VideoSource("hour", "", 3600)


SHORT = [VideoSource(f"s{n:03d}", "", 10) for n in range(200)]


def ends(sources: list[VideoSource], workers: int) -> list[int]:
    """When each worker has done, if each takes the next source as soon as it is free and costs are seconds."""
    clocks = [0] * workers
    for source in sources:
        heapq.heapreplace(clocks, clocks[0] + source.cost)
    return clocks


@pytest.mark.parametrize(("ranks", "workers"), [(1, 2), (2, 1), (2, 2), (4, 4), (3, 16)])
def test_ranks_and_workers_end_together(ranks: int, workers: int) -> None:
    ideal = 5600 / (ranks * workers)

    def efficiency(sources: list[VideoSource]) -> float:
        return ideal / max(max(ends(share(sources, rank, ranks), workers)) for rank in range(ranks))

    assert efficiency(divide([HOUR, *SHORT], ranks * workers, piece_cost=30)) >= 0.85
    assert efficiency([HOUR, *SHORT]) <= 0.78


def test_what_is_divided_is_long_and_its_chunks_are_all_of_it() -> None:
    divided = divide([HOUR, *SHORT], 2, piece_cost=30)
    assert divided[11:] == SHORT
    chunks = [s.chunk for s in divided[:11]]
    assert [n for p in chunks for n in range(p.begin, p.end)] == list(range(64))
    assert {p.end - p.begin for p in chunks[:-1]} == {6}
    assert sum(s.cost for s in divided[:11]) == pytest.approx(3600, abs=11)
    assert [s.counts for s in divided] == [True] + [False] * 10 + [True] * 200


@pytest.mark.parametrize("piece_cost", [1, 30, 100, 300, 1700])
def test_runs_differ_in_how_many_units_are_a_chunk_alone(piece_cost: int) -> None:
    total = min(MOST_UNITS, 3600 // piece_cost)
    for others in ([], SHORT, [HOUR._replace(id="other")] * 3):
        for consumers in (2, 5, 64):
            divided = divide([HOUR, *others], consumers, piece_cost=piece_cost)
            chunks = [s.chunk for s in divided if s.id == "hour" and s.chunk]
            assert [n for p in chunks for n in range(p.begin, p.end)] == list(range(total))
            assert {p.total for p in chunks} == {total}
            most = (3600 + sum(s.cost for s in others)) / (8 * consumers)
            assert max(p.end - p.begin for p in chunks) * 3600 / total <= max(most, 3600 / total)


def test_videos_alike_are_not_divided() -> None:
    sources = [VideoSource(f"{n}", "", 3600) for n in range(100)]
    assert divide(sources, 8, piece_cost=300) == sources
    assert divide([HOUR], 1, piece_cost=300) == [HOUR]
    assert divide([HOUR], 8, piece_cost=2000) == [HOUR]
    assert divide([], 8, piece_cost=1) == []


@pytest.mark.parametrize(
    ("consumers", "wanted"),
    [
        (1, [(1, 3), (5, 12)]),  # which alone would read the video whole
        (2, [(1, 2), (2, 3), *((n, n + 1) for n in range(5, 12))]),
    ],
)
def test_units_that_are_there_are_not_read_again_whoever_reads_on(
    consumers: int, wanted: list[tuple[int, int]]
) -> None:
    begun = {("hour", Chunk(n, n + 1, 12)) for n in (0, 3, 4)} | {("s000", Chunk(0, 1, 2))}
    divided = divide([HOUR, *SHORT], consumers, piece_cost=300, begun=begun)
    assert [s.chunk for s in divided if s.chunk] == [Chunk(begin, end, 12) for begin, end in wanted]
    assert divided[len(wanted) :] == SHORT
    assert sum(s.counts for s in divided) == 201


def test_chunks_are_shared_out_in_order_the_longest_video_first() -> None:
    sources = divide([*SHORT, HOUR, VideoSource("half", "", 1800)], 2, piece_cost=300)
    assert [(s.id, s.chunk.begin) for s in share(sources, 0, 1) if s.chunk] == [
        *(("hour", n) for n in range(12)),
        *(("half", n) for n in range(6)),
    ]
    assert share(sources, 0, 1)[18:] == SHORT
    shares = [share(sources, rank, 3) for rank in range(3)]
    assert sorted((s for part in shares for s in part), key=repr) == sorted(sources, key=repr)


@pytest.mark.dear
@pytest.mark.parametrize("sigma", [0.3, 1.0, 1.5])
def test_a_hundred_thousand_videos_on_64_ranks_are_within_two_percent_of_even(sigma: float) -> None:
    """Lengths as of web videos (lognormal, from nearly alike to a few that are a hundred times as long)."""
    costs = np.random.default_rng(1).lognormal(12, sigma, 100_000).astype(int)
    sources = [VideoSource(f"{n:06d}", "", int(c)) for n, c in enumerate(costs)]
    begin = time.perf_counter()
    loads = [sum(s.cost for s in share(sources, rank, 64)) for rank in (0, 1, 31, 63)]
    took = (time.perf_counter() - begin) / 4
    ideal = sum(costs) / 64
    least, most = min(loads) / ideal, max(loads) / ideal
    print(f"sigma {sigma}: a rank has {least:.6f} to {most:.6f} of its share, in {took:.2f} s")
    assert 0.98 * ideal < min(loads) <= max(loads) < 1.02 * ideal
