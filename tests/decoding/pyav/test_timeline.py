"""Timelines have the time of every frame, from packets or from decoded frames."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.clips import CLIPS
from tests.decoding.conftest import MakeClip
from vfx.decoding import demux
from vfx.decoding.pyav import decoded_timeline
from vfx.decoding.pyav.timeline import _longest_ascent


@pytest.mark.parametrize("name", CLIPS)
def test_the_timeline_has_every_frame(name: str, clip: MakeClip) -> None:
    timeline = demux(clip(name))
    assert len(timeline) == timeline.promised == CLIPS[name].num_frames
    assert timeline.keyframe[0]
    assert np.all(np.diff(timeline.seconds) > 0)


def test_start_time_is_kept(clip: MakeClip) -> None:
    assert demux(clip("h264_late.mkv")).seconds[0] == 30000
    assert demux(clip("h264_late.ts")).seconds[0] == 30000


def test_avi_with_reordering_has_even_times_and_no_pts(clip: MakeClip) -> None:
    timeline = demux(clip("mpeg4_b.avi"))
    assert timeline.pts is None
    assert timeline.seconds.tolist() == [i / 25 for i in range(40)]


@pytest.mark.parametrize("name", ["h264.mp4", "hevc.mp4", "h264_vfr.mkv", "vp9.webm", "mpeg2.ts", "gif.gif"])
def test_the_packets_times_are_those_that_decoding_gives(name: str, clip: MakeClip) -> None:
    packets, decoded = demux(clip(name)), decoded_timeline(clip(name))
    assert packets.seconds.tolist() == decoded.seconds.tolist()
    assert packets.pts.tolist() == decoded.pts.tolist()
    assert packets.keyframe.tolist() == decoded.keyframe.tolist()


def test_the_longest_ascent() -> None:
    assert _longest_ascent([0, 1, 9, 2, 3, 3, None, 4]) == [0, 1, 3, 5, 7]
    assert _longest_ascent([]) == []
    rng = np.random.default_rng(0)
    for _ in range(50):
        ticks = rng.integers(0, 8, 8).tolist()
        kept = _longest_ascent(ticks)
        assert all(a < b and ticks[a] < ticks[b] for a, b in pairwise(kept))
        best = [1] * 8
        for i in range(8):
            best[i] = 1 + max((best[j] for j in range(i) if ticks[j] < ticks[i]), default=0)
        assert len(kept) == max(best)
