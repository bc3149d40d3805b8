"""Every decoder gives exactly the frames asked for, or hands over to one that does: read off painted clips."""

from __future__ import annotations

from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.clips import CLIPS, Clip, cut, read
from tests.decoding.conftest import MakeClip
from vfx.decoding import Frame, VideoReader
from vfx.sampling import samplers
from vfx.sampling.timeline import Timeline

SAMPLERS = {
    "half_second": samplers.half_second,
    "fps": partial(samplers.fps, fps=10),
    "stride": partial(samplers.stride, stride=7),
    "uniform": partial(samplers.uniform, num_frames=5),
    "keyframes": samplers.keyframes,
    "all": samplers.all_frames,
    "last": lambda timeline: np.array([len(timeline) - 1]),
}
MS = 1.01e-3  # a tick of the coarsest container, Matroska, and of the painted time


def check(frame: Frame, clip: Clip, timeline: Timeline) -> None:
    """The frame shows the number that is its index, and the time that is its seconds since the first."""
    times = clip.times()
    number, ms = read(np.rot90(frame.pixels, -clip.rotation // 90))
    assert number == frame.index
    assert ms == round(times[frame.index] * 1000) & (1 << 20) - 1
    assert frame.seconds == timeline.seconds[frame.index]
    assert frame.seconds - timeline.seconds[0] == pytest.approx(float(times[frame.index] - times[0]), abs=MS)
    assert frame.pixels.flags.c_contiguous
    upright = (clip.height, clip.width) if clip.rotation % 180 == 0 else (clip.width, clip.height)
    assert frame.pixels.shape == (*upright, 3)


@pytest.mark.parametrize("name", CLIPS)
def test_every_decoder_and_sampler_gives_the_frames_that_carry_these_numbers(
    name: str, decoder: str, clip: MakeClip
) -> None:
    path = clip(name)
    for sample in SAMPLERS.values():
        reading = VideoReader(path, sample, decoder=decoder)
        frames = list(reading)
        assert (reading.stage, reading.problem) == ("", "")
        assert [frame.index for frame in frames] == sample(reading.timeline).tolist()
        assert [frame.first for frame in frames] == [True] + [False] * (len(frames) - 1)
        for frame in frames:
            check(frame, CLIPS[name], reading.timeline)


@pytest.mark.parametrize("name", ["h264.mp4", "h264_vfr.mp4", "hevc.mp4", "mpeg4_b.mp4"])
def test_cut_by_stream_copy_begins_where_it_was_cut(name: str, decoder: str, clip: MakeClip, tmp_path: Path) -> None:
    """An edit list hides the frames between the key frame and the cut: times count from the cut."""
    path = cut(clip(name), tmp_path / "cut.mp4", seconds=0.68)
    reading = VideoReader(path, samplers.all_frames, decoder=decoder)
    frames = list(reading)
    assert reading.problem == ""
    begin = next(i for i, t in enumerate(CLIPS[name].times()) if t >= Fraction("0.68"))
    assert [read(frame.pixels)[0] for frame in frames] == list(range(begin, 40))
    assert [frame.index for frame in frames] == list(range(40 - begin))
    assert frames[0].seconds == 0
    first = read(frames[0].pixels)[1]
    for frame in frames:
        assert frame.seconds == pytest.approx((read(frame.pixels)[1] - first) / 1000, abs=MS)
