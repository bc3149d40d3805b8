"""All backends agree on real files, or hand over; damaged ones give what is sound, and say what is wrong.

The files are optional: the folder is named by VFX_TEST_VIDEOS, by default ../shared/videos beside the project.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.conftest import VIDEOS
from vfx.decoding import Frame, VideoReader, demux
from vfx.sampling import samplers
from vfx.sampling.timeline import Timeline

SUFFIXES = {".mp4", ".mov", ".avi", ".webm", ".mkv", ".gif"}


def videos(*folders: str) -> list[Path]:
    found = (p for folder in folders for p in (VIDEOS / folder).rglob("*") if p.suffix in SUFFIXES)
    return sorted(found)


pytestmark = pytest.mark.skipif(not VIDEOS.is_dir(), reason="no folder of real videos (VFX_TEST_VIDEOS)")

SOUND = videos("codecs", "lineage")
INTERPOLATED = {"h264_10bits", "testsrc2_odd_height_and_width_vp9"}


def some(timeline: Timeline) -> np.ndarray:
    """About ten frames, the first and last among them."""
    return np.unique(np.linspace(0, len(timeline) - 1, 10).astype(np.int64))


def reference(path: Path) -> tuple[list[int], list[tuple[int, ...]]]:
    """Sums and shapes of all frames by the plainest loop there is."""
    with av.open(str(path)) as container:
        stream = container.streams.best("video")
        pixels = [
            np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90) for frame in container.decode(stream)
        ]
    return [int(p.sum()) for p in pixels], [p.shape for p in pixels]


@pytest.mark.parametrize("path", SOUND, ids=lambda path: path.name)
def test_backends_agree_on_count_times_and_pixels(path: Path, decoder: str) -> None:
    def read(name: str) -> tuple[list[Frame], VideoReader]:
        reading = VideoReader(path, some, decoder=name)
        return list(reading), reading

    expected, _ = read("pyav")
    frames, reading = read(decoder)
    assert reading.problem == ""
    assert [f.index for f in frames] == [f.index for f in expected] == some(demux(path)).tolist()
    assert [f.seconds for f in frames] == [f.seconds for f in expected]
    for mine, theirs in zip(frames, expected, strict=True):
        assert mine.pixels.shape == theirs.pixels.shape
        off = np.abs(mine.pixels.astype(int) - theirs.pixels)
        # Alike bit for bit, but for 10 bits and odd sizes, where each swscale interpolates colour in its own way.
        assert off.mean() <= (4.0 if path.stem in INTERPOLATED else 0.0), (reading.decoder, off.max())


@pytest.mark.parametrize("path", SOUND, ids=lambda path: path.name)
def test_pyav_gives_every_frame(path: Path) -> None:
    sums, shapes = reference(path)
    frames = [(int(f.pixels.sum()), f.pixels.shape) for f in VideoReader(path, samplers.all_frames)]
    assert frames == list(zip(sums, shapes, strict=True))


def test_frames_before_the_damage_are_delivered(decoder: str) -> None:
    """The packet of frame 30 is destroyed, and 29, 31 and all later ones build on it: 29 of the 50 are sound."""
    path = VIDEOS / "damaged" / "corrupted.mp4"
    reading = VideoReader(path, samplers.all_frames, decoder=decoder)
    sound = {f.index: f.pixels for f in VideoReader(path, samplers.all_frames)}
    frames = list(reading)
    assert [f.index for f in frames] == list(range(29))
    assert all(np.array_equal(f.pixels, sound[f.index]) for f in frames)
    assert reading.stage == "decode"
    assert reading.problem == ("29 of 50 frames could be decoded: Invalid data found when processing input at 3.00 s")


def test_a_video_without_one_sound_frame_ends() -> None:
    """Each of its key frames is damaged: what decoders make of it is a green screen."""
    reading = VideoReader(VIDEOS / "damaged" / "no_timescale.mp4", samplers.half_second)
    assert list(reading) == []
    assert reading.stage == "decode"
    assert reading.problem.startswith("0 of 13 frames could be decoded: ")
