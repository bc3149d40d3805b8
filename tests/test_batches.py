"""Batches: clips regrouped to full batches, sources shared out, and read ahead by processes."""

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from tests.conftest import LIMITS
from vfx.batches import Batch, Batches, regroup, share
from vfx.clips import Clip
from vfx.collection import Source
from vfx.errors import UsageError
from vfx.store import Failure
from vfx.tally import Tally


def clip(video: str, start: int, count: int, *, first: bool = False, last: bool = False) -> Clip:
    index = np.arange(start, start + count)
    frames = np.broadcast_to(index[:, None, None, None], (count, 2, 2, 3)).astype(np.uint8)
    return Clip(video, [frames, 2 * frames], index, index / 2, first=first, last=last, decoder="pyav" if last else "")


def clips_of(source: Source) -> Iterator[Clip]:
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
    sources: list[Source], read: Callable[[Source], Iterator[Clip]], num_workers: int, tally: Tally | None = None
) -> Batches:
    return Batches(
        sources,
        read,
        batch_size=4,
        num_workers=num_workers,
        limits=replace(LIMITS, patience=2),
        tally=tally or Tally(),
        check=lambda: None,
    )


SOURCES = [Source(f"v{n:02d}", f"/v{n:02d}", cost) for n, cost in enumerate([7, 0, 1, 12, 3, 3, 0, 20, 2])]
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
    tally = Tally()
    batches = batches_of(SOURCES, clips_of, num_workers, tally)
    assert collect(iter(batches)) == WANTED
    assert tally.done_cost == sum(s.cost for s in SOURCES)
    assert tally.waiting > 0


def test_nothing_to_read_is_no_batch() -> None:
    assert list(batches_of([], clips_of, 2)) == []


def test_failures_travel_with_the_end_of_their_video() -> None:
    (batch,) = regroup(clips_of(Source("bad", "/bad", 0)), 4)
    assert len(batch) == 0
    assert batch.spans[0].failures == [Failure("bad", "open", "empty file")]


@pytest.mark.parametrize("world_size", [1, 2, 3, 50])
def test_shares_are_whole_and_even(world_size: int) -> None:
    costs = np.random.default_rng(0).lognormal(3, 1, 500).astype(int)
    sources = [Source(f"{n}", "", int(c)) for n, c in enumerate(costs)]
    shares = [share(sources, rank, world_size) for rank in range(world_size)]
    assert sorted(s for part in shares for s in part) == sorted(sources)
    loads = [sum(s.cost for s in part) for part in shares]
    assert max(loads) <= max(1.02 * sum(loads) / world_size, max(costs))


def test_more_ranks_than_sources_leaves_some_with_nothing() -> None:
    assert [len(share(SOURCES[:2], rank, 4)) for rank in range(4)].count(0) == 2


def surprising(source: Source) -> Iterator[Clip]:
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


def felling(source: Source) -> Iterator[Clip]:
    """Two videos take their process down after three frames, one only the first time it is read."""
    yield clip(source.id, 0, 3, first=True)
    if source.id in ("v03", "v05"):
        ctypes.string_at(0)
    if source.id == "v06":
        ctypes.CDLL(None).sleep(1000)
    yield clip(source.id, 3, 2, last=True)


def test_a_video_that_takes_its_process_down_costs_itself_alone() -> None:
    tally = Tally()
    spans = [span for batch in batches_of(SOURCES, felling, 2, tally) for span in batch.spans]
    ends = {span.video: span for span in spans if span.end}
    assert ends.keys() == {s.id for s in SOURCES}
    reasons = {v: span.failures[0].error for v, span in ends.items() if span.failures}
    assert reasons == {
        "v03": "decoder crashed (SIGSEGV)",
        "v05": "decoder crashed (SIGSEGV)",
        "v06": "no frame for 2 s",
    }
    for video in reasons:
        assert ends[video].start  # the rows that came before are void
        assert [span.start for span in spans if span.video == video].count(True) == 4  # twice read, twice taken back
    assert tally.done_cost == sum(s.cost for s in SOURCES)


def test_a_request_that_cannot_be_met_ends_the_run() -> None:
    def refuse(source: Source) -> Iterator[Clip]:
        raise UsageError("no such thing")

    with pytest.raises(UsageError, match="no such thing"):
        list(batches_of(SOURCES, refuse, 0))


def test_videos_without_a_frame_do_not_wait_for_others() -> None:
    sources = [Source(f"{n}", "", 0) for n in range(1000)]
    batches = list(regroup((c for s in sources for c in clips_of(s)), 4))
    assert [len(b.spans) for b in batches] == [256, 256, 256, 232]
