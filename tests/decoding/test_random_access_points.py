"""Random access points are packets after which decoding gives what decoding from the beginning gives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from tests.clips import CLIPS, Clip, read
from tests.decoding.conftest import MakeClip
from vfx.decoding import VideoReader, demux
from vfx.decoding.random_access_points import RandomAccessDetector

WITHOUT_RANDOM_ACCESS = {"gif.gif", "ffv1.mkv", "wmv2.wmv", "flv1.flv"}  # decoded from the very beginning
COUNTED = {"h264_b.avi", "mpeg4_b.avi", "mpeg2.mpg"}  # whose frames are known by their count
EVERY_FRAME = {"mjpeg.avi", "prores.mov"}


@pytest.mark.parametrize("name", CLIPS)
def test_random_access_points_are_the_key_frames_where_codecs_are_known(name: str, clip: MakeClip) -> None:
    """The clips' encoders make only key frames that are; in HEVC they have leading frames, which are not lost."""
    timeline = demux(clip(name))
    if name in COUNTED:
        assert timeline.random_access is None
    else:
        expected = timeline.keyframe if name not in WITHOUT_RANDOM_ACCESS else np.zeros(40, bool)
        assert timeline.random_access.tolist() == expected.tolist()
        assert timeline.keyframe.all() == (name in EVERY_FRAME)


def test_a_key_frame_behind_which_others_refer_to_what_is_before_is_no_random_access_point(tmp_path: Path) -> None:
    """MPEG-TS marks H.264's recovery points as key frames. They would do for most of what follows."""
    options = {"preset": "veryfast", "x264-params": "open-gop=1:keyint=12:min-keyint=12:bframes=3:log-level=error"}
    clip = Clip("open.ts", "libx264", options=options, gop=12, b_frames=3, num_frames=60)
    path = clip.write(tmp_path)
    timeline = demux(path)
    assert timeline.keyframe.sum() == 5
    assert np.flatnonzero(timeline.random_access).tolist() == [0]
    frames = VideoReader(path, lambda _: np.array([0, 23, 24, 50]))
    assert [read(frame.pixels)[0] for frame in frames] == [0, 23, 24, 50]


@pytest.mark.parametrize("name", sorted({*CLIPS} - WITHOUT_RANDOM_ACCESS - EVERY_FRAME))
def test_no_mark_makes_a_random_access_point_of_what_is_none(name: str, clip: MakeClip) -> None:
    with av.open(str(clip(name))) as container:
        stream = container.streams.video[0]
        is_random_access_point = RandomAccessDetector(
            stream.codec_context.codec.canonical_name, stream.codec_context.extradata
        )
        for n, packet in enumerate(p for p in container.demux(stream) if p.size):
            assert is_random_access_point(memoryview(packet), n, key=True, changed=False) == packet.is_keyframe


def test_what_is_shown_before_anything_that_came_earlier_is_no_random_access_point() -> None:
    is_random_access_point = RandomAccessDetector("vp8", None)
    key, other = memoryview(b"\0"), memoryview(b"\1")
    told = [(key, 0), (other, 1), (key, 2), (other, 9), (key, 8), (key, None), (key, 20)]
    assert [is_random_access_point(packet, pts, key=True, changed=False) for packet, pts in told] == [
        True, False, True, False, False, False, False,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["h264.ts", "hevc.ts", "mpeg2.ts"])
def test_headers_that_change_in_mid_stream_leave_no_random_access_point_behind_them(
    name: str, clip: MakeClip, tmp_path: Path
) -> None:
    """A second recording, of another size, follows: its frames are decoded from the last such point of the first."""
    larger = replace(CLIPS[name], name=f"larger_{name}", start=2, width=160, height=128)
    path = tmp_path / name
    path.write_bytes(clip(name).read_bytes() + larger.write(tmp_path).read_bytes())
    timeline = demux(path)
    assert timeline.keyframe.sum() == 8
    assert np.flatnonzero(timeline.random_access).tolist() == [0, 12, 24, 36]
    frames = list(VideoReader(path, lambda _: np.array([0, 20, 30, 60, 79])))
    assert [read(frame.pixels)[0] for frame in frames] == [0, 20, 30, 20, 39]
    assert [frame.pixels.shape[1] for frame in frames] == [128, 128, 128, 160, 160]
