"""Reading in parallel: what workers deliver, and what one that goes down costs."""

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from tests.conftest import LIMITS
from tests.extraction.test_batching import SOURCES, WANTED, clip, clips_of, collect
from vfx.collection.source import Chunk, VideoSource
from vfx.errors import UsageError, VideoError
from vfx.extraction.batching import Batch, Batches
from vfx.extraction.clips import Clip
from vfx.extraction.parallel_reader import ParallelReader
from vfx.features.rows import Failure
from vfx.outputs.counters import RunCounters


def batches_of(
    sources: list[VideoSource],
    read: Callable[[VideoSource], Iterator[Clip]],
    num_workers: int,
    counters: RunCounters | None = None,
) -> Batches:
    reader = ParallelReader(
        sources,
        read,
        num_workers=num_workers,
        limits=replace(LIMITS, patience=5),
        counters=counters or RunCounters(),
        check=lambda: None,
    )
    return Batches(reader, batch_size=4)


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_any_number_of_workers_reads_each_source_once(num_workers: int) -> None:
    counters = RunCounters()
    batches = batches_of(SOURCES, clips_of, num_workers, counters)
    assert collect(iter(batches)) == WANTED
    assert counters.done_cost == sum(s.cost for s in SOURCES)
    assert counters.waiting > 0


def test_what_is_read_of_a_video_counts_before_it_ends() -> None:
    """For the time left, of which a single long video may be most."""

    def starting_over(source: VideoSource) -> Iterator[Clip]:
        for done, first in [(0.25, True), (0.5, False), (0.1, True), (0.9, False)]:
            yield replace(clip(source.id, 0, 3, first=first), share=done)
        yield clip(source.id, 3, 1, last=True)

    counters = RunCounters()
    reader = batches_of([VideoSource("a", "/a", 20), VideoSource("b", "/b", 10)], starting_over, 0, counters).clips
    assert [counters.done_cost for _ in reader] == [5, 10, 2, 18, 20, 22, 25, 21, 29, 30]


def test_what_was_begun_before_is_read_once() -> None:
    batches = batches_of(SOURCES, clips_of, 2)
    for _ in range(2):
        batches.clips.start()
        iter(batches)  # as Lightning does, which asks twice
        assert collect(iter(batches)) == WANTED
    batches.clips.start()
    batches.clips.close()
    assert collect(iter(batches)) == WANTED


def test_nothing_to_read_is_no_batch() -> None:
    assert list(batches_of([], clips_of, 2)) == []


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
    ends = {span.video: span for batch in batches for span in batch.spans if span.last}
    assert ends.keys() == {s.id for s in SOURCES}
    assert sorted(v for v, span in ends.items() if span.failures) == ["v03", "v04"]
    bad = ends["v03"]
    assert bad.first  # the rows that came before are void
    assert bad.failures[0].error.startswith("unexpected ArithmeticError: no sense (test_parallel_reader.py:")
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
    ends = {span.video: span for span in spans if span.last}
    assert ends.keys() == {s.id for s in SOURCES}
    reasons = {v: span.failures[0].error for v, span in ends.items() if span.failures}
    assert reasons == {
        "v03": "decoder crashed (SIGSEGV)",
        "v05": "decoder crashed (SIGSEGV)",
        "v06": "no frame for 5 s",
    }
    for video in reasons:
        assert ends[video].first  # the rows that came before are void
        assert [span.first for span in spans if span.video == video].count(True) == 4  # twice read, twice taken back
    assert counters.done_cost == sum(s.cost for s in SOURCES)


def test_a_request_that_cannot_be_met_ends_the_run() -> None:
    def refuse(source: VideoSource) -> Iterator[Clip]:
        raise UsageError("no such thing")

    with pytest.raises(UsageError, match="no such thing"):
        list(batches_of(SOURCES, refuse, 0))


class TrialError(VideoError):
    """For tests."""


def chunks_of(source: VideoSource) -> Iterator[Clip]:
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
            if span.first:
                reading[key] = []
            reading[key].extend(span.index.tolist())
            if span.last:
                assert key not in ended
                ended[key] = reading.pop(key)
                failures += span.failures
    whole = {video for video, chunk in ended if chunk is None}
    return {key: rows for key, rows in ended.items() if key[1] is None or key[0] not in whole}, failures


def in_chunks(*ids: str, total: int = 6) -> list[VideoSource]:
    sources = [VideoSource(id, "", 24) for id in ids]
    return [
        s._replace(cost=24 // total, chunk=Chunk(n, n + 1, total), counts=n == 0) for s in sources for n in range(total)
    ]


@pytest.mark.parametrize("num_workers", [0, 1, 2])
def test_a_chunk_that_fails_has_its_video_read_whole_and_once(num_workers: int) -> None:
    counters = RunCounters()
    sources = [*in_chunks("damaged", "misleading", "sound"), VideoSource("short", "", 24)]
    rows, failures = gathered(batches_of(sources, chunks_of, num_workers, counters))
    assert rows == {
        ("damaged", None): [*range(24)],
        ("misleading", None): [*range(24)],
        ("short", None): [*range(24)],
        **{("sound", Chunk(n, n + 1, 6)): [*range(4 * n, 4 * n + 4)] for n in range(6)},
    }
    assert failures == []
    assert counters.videos == 4
    assert counters.done_cost == 4 * 24


def test_after_a_failed_chunk_the_chunks_that_are_left_are_not_read() -> None:
    read: list[VideoSource] = []

    def noted(source: VideoSource) -> Iterator[Clip]:
        read.append(source)
        return chunks_of(source)

    list(batches_of([*in_chunks("damaged"), VideoSource("short", "", 24)], noted, 0))
    assert [(s.id, s.chunk and s.chunk.begin) for s in read] == [
        ("damaged", 0), ("damaged", 1), ("damaged", 2), ("damaged", None), ("short", None),
    ]  # fmt: skip
    assert read[3].cost == 4 * 4  # what is left to do, for who shows the time it takes


def test_a_video_whose_first_chunk_is_elsewhere_is_counted_there() -> None:
    counters = RunCounters()
    rows, _ = gathered(batches_of(in_chunks("damaged")[1:], chunks_of, 0, counters))
    assert list(rows) == [("damaged", None)]
    assert counters.videos == 0


def test_a_video_of_which_a_chunk_takes_its_process_down_is_given_up() -> None:
    counters = RunCounters()
    rows, failures = gathered(
        batches_of([*in_chunks("crashing"), VideoSource("short", "", 24)], chunks_of, 2, counters)
    )
    assert rows == {("crashing", None): [], ("short", None): [*range(24)]}
    assert failures == [Failure("crashing", "decode", "decoder crashed (SIGSEGV)")]
    assert counters.videos == 2
    assert counters.done_cost == 48
