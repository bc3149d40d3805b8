"""What does not lead to the frames asked for is not decoded, and they are those that decoding everything gives."""

from __future__ import annotations

import re
from pathlib import Path

import av
import numpy as np
import pytest

from tests.clips import CLIPS, Clip, read
from tests.damage import later
from tests.decoding.conftest import MakeClip
from tests.feature_files import bytes_read
from vfx.decoding import VideoReader, demux
from vfx.decoding import pyav as backend
from vfx.sampling import samplers


def destroyed(source: Path, target: Path, *, but: list[int]) -> Path:
    """`source` with zeros in the place of all packets but those of these frames."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packets = [p for p in container.demux(container.streams.video[0]) if p.size]
    for i, packet in enumerate(sorted(packets, key=lambda packet: packet.pts)):
        if i not in but:
            data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    target.write_bytes(data)
    return target


linux = pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="what a process reads is counted by Linux")


# The same frames


@pytest.mark.parametrize("name", CLIPS)
def test_any_choice_of_frames_has_the_pixels_that_decoding_all_gives(name: str, clip: MakeClip) -> None:
    path = clip(name)
    timeline = demux(path)
    every = [frame.pixels for frame in VideoReader(path, samplers.all_frames)]
    random = np.random.default_rng(len(name))
    for count in (1, 1, 2, 2, 3, 5, 8, 20):
        indices = np.sort(random.choice(len(every), count, replace=False))
        frames = list(backend.frames(path, timeline, indices))
        assert [frame.index for frame in frames] == indices.tolist()
        assert all(np.array_equal(frame.pixels, every[frame.index]) for frame in frames)


def test_frames_that_come_out_in_another_order_than_that_of_their_times_start_the_reading_over(
    clip: MakeClip, tmp_path: Path
) -> None:
    """Times jump in the middle of a group, between frames that are sent in another order than shown."""
    path = tmp_path / "jumps.ts"
    path.write_bytes(later(clip("mpeg2.ts"), hours=100))
    frames = list(VideoReader(path, lambda _: np.array([0, 19, 20, 21])))
    assert [frame.first for frame in frames].count(True) == 2
    assert [(frame.index, read(frame.pixels)[0]) for frame in frames[-4:]] == [(0, 0), (19, 19), (20, 20), (21, 21)]


# Less work


@pytest.mark.parametrize("name", ["h264_vfr.mp4", "h264.mov", "hevc.mp4", "mpeg4_b.mp4", "mpeg4.avi", "mjpeg.avi"])
def test_what_leads_to_no_wanted_frame_is_not_decoded(name: str, clip: MakeClip, tmp_path: Path) -> None:
    """But for the beginning, which tells whether times are right, two groups of four are not there, nor is missed."""
    path = destroyed(clip(name), tmp_path / name, but=[*range(16), *range(24, 36)])
    timeline = demux(clip(name))
    indices = [0, 24, 29, 31]
    frames = list(backend.frames(path, timeline, np.array(indices)))
    assert [read(frame.pixels)[0] for frame in frames] == indices


def test_of_key_frames_nothing_else_is_decoded(clip: MakeClip, tmp_path: Path) -> None:
    path = destroyed(clip("h264.mp4"), tmp_path / "keys.mp4", but=[*range(16), 24, 36])
    frames = list(backend.frames(path, demux(clip("h264.mp4")), np.array([0, 12, 24, 36])))
    assert [read(frame.pixels)[0] for frame in frames] == [0, 12, 24, 36]


def test_damage_in_a_group_of_which_nothing_is_wanted_is_no_problem(clip: MakeClip, tmp_path: Path) -> None:
    path = destroyed(clip("h264.mp4"), tmp_path / "bad.mp4", but=[*range(18), *range(20, 40)])
    reading = VideoReader(path, lambda _: np.array([0, 13, 30]))
    assert [read(frame.pixels)[0] for frame in reading] == [0, 13, 30]
    assert (reading.stage, reading.problem) == ("", "")
    reading = VideoReader(path, lambda _: np.array([0, 22, 30]))
    assert [read(frame.pixels)[0] for frame in reading] == [0, 30]
    assert reading.problem.startswith("2 of 3 frames could be decoded: ")


# Less reading


@linux
@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4", "av1.mkv", "vp9.webm", "mpeg4_b.avi"])
def test_a_small_file_is_read_once(name: str, clip: MakeClip) -> None:
    """But for MPEG-TS, where the counter in each 188 bytes is looked at, too."""
    path = clip(name)
    size = path.stat().st_size
    list(VideoReader(path, samplers.all_frames))
    before = bytes_read()
    assert len(list(VideoReader(path, samplers.all_frames))) == 40
    assert size <= bytes_read() - before < 1.7 * size


LONG = {"preset": "ultrafast", "x264-params": "keyint=10:min-keyint=10:scenecut=0:qp=1:log-level=error"}


@linux
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
def test_a_chunk_of_a_long_file_costs_its_own_reading(suffix: str, tmp_path: Path) -> None:
    """6 MB; only MPEG-TS, which has no index, is read up to the chunk."""
    path = Clip(f"long.{suffix}", "libx264", options=LONG, num_frames=1000, width=192, height=144).write(tmp_path)
    timeline = demux(path)
    indices = np.arange(605, 640, 12)
    before = bytes_read()
    frames = list(backend.frames(path, timeline, indices))
    share = (bytes_read() - before) / path.stat().st_size
    assert [read(frame.pixels)[0] for frame in frames] == indices.tolist()
    assert share < 0.2 if suffix != "ts" else 0.6 < share < 0.8


def test_frames_are_found_though_the_index_leads_elsewhere(tmp_path: Path) -> None:
    """Cues of a Matroska file (RFC 9559, 5.1.5) give times, and then all the place of the last."""
    path = Clip("long.mkv", "libx264", options=LONG, num_frames=1000, width=192, height=144).write(tmp_path)
    timeline = demux(path)
    data = bytearray(path.read_bytes())
    cues = list(re.finditer(rb"\xbb.\xb3\x82..\xb7.\xf7\x81\x01\xf1\x83(...)", data, re.DOTALL))
    assert len(cues) > 50
    for cue in cues:
        data[slice(*cue.span(1))] = cues[-1][1]
    path.write_bytes(data)
    indices = [0, 400, 405, 700]
    frames = list(backend.frames(path, timeline, np.array(indices)))
    assert [read(frame.pixels)[0] for frame in frames] == indices
