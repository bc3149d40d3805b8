"""Batches: full, in order, and nothing lost between clips and batches."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest
import torch

from vfx.collection.source import VideoSource
from vfx.extraction.batching import Batch, join_runs, one_ahead, regroup
from vfx.extraction.clips import Clip
from vfx.features.rows import Failure


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
            assert span.first == (span.video not in rows)
            assert span.video not in ended
            rows.setdefault(span.video, []).extend(span.index.tolist())
            if span.last:
                ended.add(span.video)
    assert ended == rows.keys()
    return rows


SOURCES = [VideoSource(f"v{n:02d}", f"/v{n:02d}", cost) for n, cost in enumerate([7, 0, 1, 12, 3, 3, 0, 20, 2])]


WANTED = {s.id: list(range(s.cost)) for s in SOURCES}


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 16, 1000])
def test_batches_are_full_and_lose_nothing(batch_size: int) -> None:
    batches = list(regroup((c for s in SOURCES for c in clips_of(s)), batch_size))
    assert collect(iter(batches)) == WANTED
    frames = [len(b) for b in batches]
    assert set(frames[:-1]) <= {batch_size}
    assert sum(frames) == sum(s.cost for s in SOURCES)


def test_batches_joined_one_ahead_are_the_same_in_order() -> None:
    batches = list(regroup((c for s in SOURCES for c in clips_of(s)), 4))
    begun = []

    def drawn() -> Iterator[Batch]:
        for n, batch in enumerate(batches):
            begun.append(n)
            yield batch

    ahead = one_ahead(drawn(), join_runs)
    first = next(ahead)
    assert begun == [0, 1]
    found = [first, *ahead]
    assert collect(iter(found)) == WANTED
    for batch, wanted in zip(found, map(join_runs, batches), strict=True):
        torch.testing.assert_close(batch.views, wanted.views)
        assert all(len(view) == 1 for view in batch.views)
    assert list(one_ahead(iter([]), join_runs)) == []


def test_what_fails_in_joining_ahead_is_raised() -> None:
    def fail(batch: Batch) -> Batch:
        raise MemoryError("pinned")

    with pytest.raises(MemoryError, match="pinned"):
        list(one_ahead(regroup(clips_of(SOURCES[0]), 4), fail))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("join")]


def test_failures_travel_with_the_end_of_their_video() -> None:
    (batch,) = regroup(clips_of(VideoSource("bad", "/bad", 0)), 4)
    assert len(batch) == 0
    assert batch.spans[0].failures == [Failure("bad", "open", "empty file")]


def test_videos_without_a_frame_do_not_wait_for_others() -> None:
    sources = [VideoSource(f"{n}", "", 0) for n in range(1000)]
    batches = list(regroup((c for s in sources for c in clips_of(s)), 4))
    assert [len(b.spans) for b in batches] == [256, 256, 256, 232]
