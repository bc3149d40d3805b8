"""Batches: clips regrouped to full batches, sources shared out, and read ahead by processes."""

import ctypes
import heapq
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.conftest import LIMITS
from vfx.collection.source import Chunk, VideoSource
from vfx.errors import UsageError, VideoError
from vfx.extraction.clips import Clip
from vfx.extraction.parallel_reader import (
    MOST_UNITS,
    Batch,
    Batches,
    Reader,
    divide,
    joined,
    one_ahead,
    regroup,
    share,
)
from vfx.features.rows import Failure
from vfx.outputs.counters import RunCounters
from vfx.promise import BrokenPromise


def clip(video: str, start: int, count: int, *, first: bool = False, last: bool = False) -> Clip:
    index = np.arange(start, start + count)
    frames = np.broadcast_to(index[:, None, None, None], (count, 2, 2, 3)).astype(np.uint8)
    return Clip(video, [frames, 2 * frames], index, index / 2, first=first, last=last, decoder="pyav" if last else "")


def clips_of(source: VideoSource) -> Iterator[Clip]:
    """`cost` frames in clips of three; none at all for cost 0, with a failure."""
    for start in range(0, source.cost, 3):
        last = start + 3 >= source.cost
        yield clip(source.id, start, min(3, source.cost - start), first=start == 0, last=last)
    if source.cost == 0:
        empty = clip(source.id, 0, 0, first=True, last=True)
        empty.failures = [Failure(source.id, "open", "empty file")]
        yield empty


def collect(batches: Iterator[Batch]) -> dict[str, list[int]]:
    """The indices of each video in the order in which they came, checking that each starts and ends once."""
    rows: dict[str, list[int]] = {}
    ended = set()
    for batch in batches:
        numbers = [[int(f[0, 0, 0]) for run in view for f in run] for view in batch.views]
        for view in numbers:
            assert len(view) == len(batch)
        assert len(batch) == 0 or numbers[1] == [2 * n % 256 for n in numbers[0]]
        at = 0
        for span in batch.spans:
            assert numbers[0][at : at + len(span.index)] == list(span.index) if len(span.index) else True
            at += len(span.index)
            assert span.start == (span.video not in rows)
            assert span.video not in ended
            rows.setdefault(span.video, []).extend(span.index.tolist())
            if span.end:
                ended.add(span.video)
    assert ended == rows.keys()
    return rows


def batches_of(
    sources: list[VideoSource],
    read: Callable[[VideoSource], Iterator[Clip]],
    num_workers: int,
    counters: RunCounters | None = None,
) -> Batches:
    reader = Reader(
        sources,
        read,
        num_workers=num_workers,
        limits=replace(LIMITS, patience=5),
        counters=counters or RunCounters(),
        check=lambda: None,
    )
    return Batches(reader, batch_size=4)


SOURCES = [VideoSource(f"v{n:02d}", f"/v{n:02d}", cost) for n, cost in enumerate([7, 0, 1, 12, 3, 3, 0, 20, 2])]
WANTED = {s.id: list(range(s.cost)) for s in SOURCES}


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 16, 1000])
def test_batches_are_full_and_lose_nothing(batch_size: int) -> None:
    batches = list(regroup((c for s in SOURCES for c in clips_of(s)), batch_size))
    assert collect(iter(batches)) == WANTED
    frames = [len(b) for b in batches]
    assert set(frames[:-1]) <= {batch_size}
    assert sum(frames) == sum(s.cost for s in SOURCES)


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_any_number_of_workers_reads_each_source_once(num_workers: int) -> None:
    counters = RunCounters()
    batches = batches_of(SOURCES, clips_of, num_workers, counters)
    assert collect(iter(batches)) == WANTED
    assert counters.done_cost == sum(s.cost for s in SOURCES)
    assert counters.waiting > 0


def test_batches_joined_one_ahead_are_the_same_in_order() -> None:
    batches = list(regroup((c for s in SOURCES for c in clips_of(s)), 4))
    begun = []

    def drawn() -> Iterator[Batch]:
        for n, batch in enumerate(batches):
            begun.append(n)
            yield batch

    ahead = one_ahead(drawn(), joined)
    first = next(ahead)
    assert begun == [0, 1]
    found = [first, *ahead]
    assert collect(iter(found)) == WANTED
    for batch, wanted in zip(found, map(joined, batches), strict=True):
        torch.testing.assert_close(batch.views, wanted.views)
        assert all(len(view) == 1 for view in batch.views)
    assert list(one_ahead(iter([]), joined)) == []


def test_what_fails_in_joining_ahead_is_raised() -> None:
    def fail(batch: Batch) -> Batch:
        raise MemoryError("pinned")

    with pytest.raises(MemoryError, match="pinned"):
        list(one_ahead(regroup(clips_of(SOURCES[0]), 4), fail))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("join")]


def test_what_is_read_of_a_video_counts_before_it_ends() -> None:
    """For the time left, of which a single long video may be most."""

    def starting_over(source: VideoSource) -> Iterator[Clip]:
        for done, first in [(0.25, True), (0.5, False), (0.1, True), (0.9, False)]:
            yield replace(clip(source.id, 0, 3, first=first), share=done)
        yield clip(source.id, 3, 1, last=True)

    counters = RunCounters()
    reader = batches_of([VideoSource("a", "/a", 20), VideoSource("b", "/b", 10)], starting_over, 0, counters).reader
    assert [counters.done_cost for _ in reader] == [5, 10, 2, 18, 20, 22, 25, 21, 29, 30]


def test_what_was_begun_before_is_read_once() -> None:
    batches = batches_of(SOURCES, clips_of, 2)
    for _ in range(2):
        batches.reader.begin()
        iter(batches)  # as Lightning does, which asks twice
        assert collect(iter(batches)) == WANTED
    batches.reader.begin()
    batches.reader.close()
    assert collect(iter(batches)) == WANTED


def broken(source: VideoSource) -> Iterator[Clip]:
    yield clip(source.id, 0, 1)
    raise BrokenPromise


def test_a_broken_promise_is_no_fault_of_a_video() -> None:
    with pytest.raises(BrokenPromise):
        list(batches_of(SOURCES, broken, 2))


def test_nothing_to_read_is_no_batch() -> None:
    assert list(batches_of([], clips_of, 2)) == []


def test_failures_travel_with_the_end_of_their_video() -> None:
    (batch,) = regroup(clips_of(VideoSource("bad", "/bad", 0)), 4)
    assert len(batch) == 0
    assert batch.spans[0].failures == [Failure("bad", "open", "empty file")]


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


def surprising(source: VideoSource) -> Iterator[Clip]:
    yield clip(source.id, 0, 3, first=True)
    if source.id == "v03":
        raise ArithmeticError("no sense")
    if source.id == "v04":
        raise MemoryError
    yield clip(source.id, 3, 2, last=True)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_librarys_surprise_costs_its_video_alone(num_workers: int) -> None:
    batches = batches_of(SOURCES, surprising, num_workers)
    ends = {span.video: span for batch in batches for span in batch.spans if span.end}
    assert ends.keys() == {s.id for s in SOURCES}
    assert sorted(v for v, span in ends.items() if span.failures) == ["v03", "v04"]
    bad = ends["v03"]
    assert bad.start  # the rows that came before are void
    assert bad.failures[0].error.startswith("unexpected ArithmeticError: no sense (test_batches.py:")
    assert ends["v04"].failures[0].error == "it takes more memory than limits.memory_gb allows"


def felling(source: VideoSource) -> Iterator[Clip]:
    """Two videos take their process down after three frames, one only the first time it is read."""
    yield clip(source.id, 0, 3, first=True)
    if source.id in ("v03", "v05"):
        ctypes.string_at(0)
    if source.id == "v06":
        ctypes.CDLL(None).sleep(1000)
    yield clip(source.id, 3, 2, last=True)


@pytest.mark.dear
def test_a_video_that_takes_its_process_down_costs_itself_alone() -> None:
    counters = RunCounters()
    spans = [span for batch in batches_of(SOURCES, felling, 2, counters) for span in batch.spans]
    ends = {span.video: span for span in spans if span.end}
    assert ends.keys() == {s.id for s in SOURCES}
    reasons = {v: span.failures[0].error for v, span in ends.items() if span.failures}
    assert reasons == {
        "v03": "decoder crashed (SIGSEGV)",
        "v05": "decoder crashed (SIGSEGV)",
        "v06": "no frame for 5 s",
    }
    for video in reasons:
        assert ends[video].start  # the rows that came before are void
        assert [span.start for span in spans if span.video == video].count(True) == 4  # twice read, twice taken back
    assert counters.done_cost == sum(s.cost for s in SOURCES)


def test_a_request_that_cannot_be_met_ends_the_run() -> None:
    def refuse(source: VideoSource) -> Iterator[Clip]:
        raise UsageError("no such thing")

    with pytest.raises(UsageError, match="no such thing"):
        list(batches_of(SOURCES, refuse, 0))


def test_videos_without_a_frame_do_not_wait_for_others() -> None:
    sources = [VideoSource(f"{n}", "", 0) for n in range(1000)]
    batches = list(regroup((c for s in sources for c in clips_of(s)), 4))
    assert [len(b.spans) for b in batches] == [256, 256, 256, 232]


# Videos that are read in pieces

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


def test_what_is_divided_is_long_and_its_pieces_are_all_of_it() -> None:
    divided = divide([HOUR, *SHORT], 2, piece_cost=30)
    assert divided[11:] == SHORT
    chunks = [s.chunk for s in divided[:11]]
    assert [n for p in chunks for n in range(p.begin, p.end)] == list(range(64))
    assert {p.end - p.begin for p in chunks[:-1]} == {6}
    assert sum(s.cost for s in divided[:11]) == pytest.approx(3600, abs=11)
    assert [s.counts for s in divided] == [True] + [False] * 10 + [True] * 200


@pytest.mark.parametrize("piece_cost", [1, 30, 100, 300, 1700])
def test_runs_differ_in_how_many_stretches_are_a_piece_alone(piece_cost: int) -> None:
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
def test_stretches_that_are_there_are_not_read_again_whoever_reads_on(
    consumers: int, wanted: list[tuple[int, int]]
) -> None:
    begun = {("hour", Chunk(n, n + 1, 12)) for n in (0, 3, 4)} | {("s000", Chunk(0, 1, 2))}
    divided = divide([HOUR, *SHORT], consumers, piece_cost=300, begun=begun)
    assert [s.chunk for s in divided if s.chunk] == [Chunk(begin, end, 12) for begin, end in wanted]
    assert divided[len(wanted) :] == SHORT
    assert sum(s.counts for s in divided) == 201


def test_pieces_are_shared_out_in_order_the_longest_video_first() -> None:
    sources = divide([*SHORT, HOUR, VideoSource("half", "", 1800)], 2, piece_cost=300)
    assert [(s.id, s.chunk.begin) for s in share(sources, 0, 1) if s.chunk] == [
        *(("hour", n) for n in range(12)),
        *(("half", n) for n in range(6)),
    ]
    assert share(sources, 0, 1)[18:] == SHORT
    shares = [share(sources, rank, 3) for rank in range(3)]
    assert sorted((s for part in shares for s in part), key=repr) == sorted(sources, key=repr)


class TrialError(VideoError):
    """For tests."""


def pieces_of(source: VideoSource) -> Iterator[Clip]:
    """A video of 24 frames, in clips of three; some have trouble, as their ids say."""
    begin, end = 0, 24
    if source.chunk is not None:
        begin, end, total = source.chunk
        begin, end = 24 * begin // total, 24 * end // total
        if (source.id in ("damaged", "crashing") and source.chunk.begin == 2) or source.id == "misleading":
            yield replace(clip(source.id, begin, 1, first=True), chunk=source.chunk)
            if source.id == "crashing":
                ctypes.string_at(0)
            raise TrialError("not sound")
    for at in range(begin, end, 3):
        made = clip(source.id, at, min(3, end - at), first=at == begin, last=at + 3 >= end)
        yield replace(made, chunk=source.chunk)


def gathered(batches: Iterator[Batch]) -> tuple[dict[tuple[str, Chunk | None], list[int]], list[Failure]]:
    """The finished rows of each video and piece, those that do not count left out; and failures."""
    reading: dict[tuple[str, Chunk | None], list[int]] = {}
    ended: dict[tuple[str, Chunk | None], list[int]] = {}
    failures = []
    for batch in batches:
        for span in batch.spans:
            key = (span.video, span.chunk)
            if span.start:
                reading[key] = []
            reading[key].extend(span.index.tolist())
            if span.end:
                assert key not in ended
                ended[key] = reading.pop(key)
                failures += span.failures
    whole = {video for video, chunk in ended if chunk is None}
    return {key: rows for key, rows in ended.items() if key[1] is None or key[0] not in whole}, failures


def in_pieces(*ids: str, total: int = 6) -> list[VideoSource]:
    sources = [VideoSource(id, "", 24) for id in ids]
    return [
        s._replace(cost=24 // total, chunk=Chunk(n, n + 1, total), counts=n == 0) for s in sources for n in range(total)
    ]


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_a_piece_in_trouble_has_its_video_read_whole_and_once(num_workers: int) -> None:
    counters = RunCounters()
    sources = [*in_pieces("damaged", "misleading", "sound"), VideoSource("short", "", 24)]
    rows, failures = gathered(batches_of(sources, pieces_of, num_workers, counters))
    assert rows == {
        ("damaged", None): [*range(24)],
        ("misleading", None): [*range(24)],
        ("short", None): [*range(24)],
        **{("sound", Chunk(n, n + 1, 6)): [*range(4 * n, 4 * n + 4)] for n in range(6)},
    }
    assert failures == []
    assert counters.videos == 4
    assert counters.done_cost == 4 * 24


def test_after_trouble_the_pieces_that_are_left_are_not_read() -> None:
    read: list[VideoSource] = []

    def noted(source: VideoSource) -> Iterator[Clip]:
        read.append(source)
        return pieces_of(source)

    list(batches_of([*in_pieces("damaged"), VideoSource("short", "", 24)], noted, 0))
    assert [(s.id, s.chunk and s.chunk.begin) for s in read] == [
        ("damaged", 0), ("damaged", 1), ("damaged", 2), ("damaged", None), ("short", None),
    ]  # fmt: skip
    assert read[3].cost == 4 * 4  # what is left to do, for who shows the time it takes


def test_a_video_whose_first_piece_is_elsewhere_is_counted_there() -> None:
    counters = RunCounters()
    rows, _ = gathered(batches_of(in_pieces("damaged")[1:], pieces_of, 0, counters))
    assert list(rows) == [("damaged", None)]
    assert counters.videos == 0


def test_a_video_of_which_a_piece_takes_its_process_down_is_given_up() -> None:
    counters = RunCounters()
    rows, failures = gathered(
        batches_of([*in_pieces("crashing"), VideoSource("short", "", 24)], pieces_of, 2, counters)
    )
    assert rows == {("crashing", None): [], ("short", None): [*range(24)]}
    assert failures == [Failure("crashing", "decode", "decoder crashed (SIGSEGV)")]
    assert counters.videos == 2
    assert counters.done_cost == 48


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
