"""The chunks of a video give the frames of the whole, or raise; they never give others."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.clips import CLIPS, corrupt, read, remux, truncate, without_first_group
from tests.conftest import LIMITS
from tests.decoding.conftest import MakeClip
from vfx.collection.source import Chunk
from vfx.decoding import ChunkReader, Frame, VideoReader, cached_timeline
from vfx.decoding.chunk_reader import unit_bounds
from vfx.errors import LimitError, SamplerError, VideoError
from vfx.sampling import samplers
from vfx.sampling.timeline import Sampler, Timeline


def chunks_of(path: Path, total: int, sample: Sampler = samplers.all_frames) -> list[list[Frame]]:
    return [list(ChunkReader(path, sample, Chunk(n, n + 1, total))) for n in range(total)]


@pytest.mark.parametrize("name", CLIPS)
def test_chunks_are_the_whole(name: str, clip: MakeClip) -> None:
    for sample in (samplers.all_frames, samplers.half_second, partial(samplers.uniform, num_frames=7)):
        whole = list(VideoReader(clip(name), sample))
        chunks = chunks_of(clip(name), 3, sample)
        frames = [frame for chunk in chunks for frame in chunk]
        assert [(f.index, f.seconds) for f in frames] == [(f.index, f.seconds) for f in whole]
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(frames, whole, strict=True))
        for chunk in filter(None, chunks):
            assert [f.first for f in chunk] == [True] + [False] * (len(chunk) - 1)


def a_timeline(count: int, keys: list[int], *, known: bool = True) -> Timeline:
    entry = np.zeros(count, bool)
    entry[keys] = True
    return Timeline(np.arange(count) / 25, entry, np.arange(count), random_access=entry if known else None)


@pytest.mark.parametrize(
    ("timeline", "total", "wanted"),
    [
        (a_timeline(100, [*range(0, 100, 10)]), 2, [0, 50, 100]),
        (a_timeline(100, [*range(0, 100, 12)]), 4, [0, 36, 60, 84, 100]),
        (a_timeline(100, [*range(100)]), 3, [0, 33, 66, 100]),
        (a_timeline(100, [0]), 3, [0, 100, 100, 100]),
        (a_timeline(100, [0, 90]), 4, [0, 90, 90, 90, 100]),
        (a_timeline(100, [5, 20]), 4, [0, 100, 100, 100, 100]),
        (a_timeline(3, [0, 1, 2]), 5, [0, 0, 1, 1, 2, 3]),
        (a_timeline(100, []), 2, [0, 100, 100]),
        (a_timeline(100, [*range(100)], known=False), 3, [0, 100, 100, 100]),
    ],
)
def test_a_unit_begins_where_decoding_can(timeline: Timeline, total: int, wanted: list[int]) -> None:
    assert unit_bounds(timeline, total) == wanted


def test_a_chunk_is_a_part_of_what_the_sampler_takes_of_all(clip: MakeClip) -> None:
    """Not what it would take of the chunk."""
    chunks = chunks_of(clip("h264.mp4"), 3, partial(samplers.uniform, num_frames=2))
    assert [[f.index for f in chunk] for chunk in chunks] == [[10], [30], []]


def test_a_chunk_may_be_several_units(clip: MakeClip) -> None:
    path = clip("h264.mp4")
    assert [len(chunk) for chunk in chunks_of(path, 4)] == [12, 12, 12, 4]
    for begin, end, wanted in [(0, 2, range(24)), (1, 3, range(12, 36)), (2, 4, range(24, 40)), (0, 4, range(40))]:
        frames = list(ChunkReader(path, samplers.all_frames, Chunk(begin, end, 4)))
        assert [read(f.pixels)[0] for f in frames] == [f.index for f in frames] == list(wanted)


def test_damage_is_an_error_in_its_own_chunk(clip: MakeClip, tmp_path: Path) -> None:
    path = corrupt(clip("h264.mp4"), tmp_path / "bad.mp4", packets=[26], at=0.0)
    sound = [ChunkReader(path, samplers.all_frames, Chunk(n, n + 1, 3)) for n in (0, 2)]
    assert [read(f.pixels)[0] for f in sound[0]] == [*range(24)]
    assert [read(f.pixels)[0] for f in sound[1]] == [*range(36, 40)]
    assert [(r.stage, r.problem, r.decoder, r.discarded) for r in sound] == [("", "", "pyav", False)] * 2
    with pytest.raises(VideoError):
        list(ChunkReader(path, samplers.all_frames, Chunk(1, 2, 3)))


def test_packets_that_mislead_raise(clip: MakeClip, tmp_path: Path) -> None:
    path = without_first_group(clip("hevc.ts"), tmp_path / "late.ts")
    whole = VideoReader(path, samplers.all_frames)
    assert [f.index for f in whole] == [*range(whole.decoded)]
    assert len(cached_timeline(path)) > whole.decoded
    with pytest.raises(VideoError):
        list(ChunkReader(path, samplers.all_frames, Chunk(0, 1, 2)))


def test_a_file_cut_short_says_what_it_lacks_in_its_first_chunk(clip: MakeClip, tmp_path: Path) -> None:
    path = truncate(clip("mpeg4.avi"), tmp_path / "short.avi", keep=0.8)
    whole = VideoReader(path, samplers.half_second)
    assert list(whole)
    assert "frames that its header promises" in whole.problem
    for n in range(2):
        chunk = ChunkReader(path, samplers.half_second, Chunk(n, n + 1, 2))
        assert list(chunk)
        assert (chunk.stage, chunk.problem) == ((whole.stage, whole.problem) if n == 0 else ("", ""))


def test_pictures_that_grow_beyond_the_limit_raise(tmp_path: Path) -> None:
    small = replace(CLIPS["vp8.webm"], name="small.mkv", num_frames=20).write(tmp_path)
    large = replace(CLIPS["vp8.webm"], name="large.mkv", num_frames=20, start=0.8, width=160, height=128)
    path = remux(small, large.write(tmp_path), target=tmp_path / "both.webm")
    limits = replace(LIMITS, pixels=130 * 100)
    assert len(list(ChunkReader(path, samplers.all_frames, Chunk(0, 1, 2), limits=limits))) == 20
    with pytest.raises(LimitError, match=r"a frame is 160x128 pixels, more than limits\.pixels"):
        list(ChunkReader(path, samplers.all_frames, Chunk(1, 2, 2), limits=limits))


def test_what_is_no_video_raises(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="No such file"):
        list(ChunkReader(tmp_path / "none.mp4", samplers.all_frames, Chunk(0, 1, 2)))
    (tmp_path / "text.mp4").write_text("no video\n")
    with pytest.raises(VideoError, match=r"text\.mp4 cannot be read"):
        list(ChunkReader(tmp_path / "text.mp4", samplers.all_frames, Chunk(1, 2, 2)))


def test_a_wrong_option_is_raised_as_it_is(clip: MakeClip) -> None:
    with pytest.raises(SamplerError):
        list(ChunkReader(clip("h264.mp4"), partial(samplers.fps, fps=0), Chunk(0, 1, 2)))


def test_a_timeline_is_cached_until_another_is_asked_for_or_the_file_changes(clip: MakeClip, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(clip("h264.mp4").read_bytes())
    first = cached_timeline(path)
    assert cached_timeline(path) is first
    os.utime(path, ns=(0, 0))
    assert (second := cached_timeline(path)) is not first
    cached_timeline(clip("vp9.webm"))
    assert cached_timeline(path) is not second
