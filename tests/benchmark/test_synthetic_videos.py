"""The bench's own collection: made once, whole, and always the same."""

from pathlib import Path

import av
import pytest

from tests.conftest import LIMITS
from vfx.benchmark.synthetic_videos import Format, make_collection
from vfx.decoding import VideoReader, demux, headers
from vfx.sampling.samplers import all_frames

FORMATS = [Format("small", 2, 96, 64, 60_000), Format("large", 1, 128, 80, 90_000)]


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(tmp_path_factory.mktemp("bench"), formats=FORMATS, frames=70)


def test_clips_are_what_they_should_be(footage: Path) -> None:
    clips = sorted((footage / "VideoData").iterdir())
    assert [clip.name for clip in clips] == ["large_00.mp4", "small_00.mp4", "small_01.mp4"]
    for clip in clips:
        about = headers(clip)
        assert (about.codec, about.rate, about.width) == ("h264", 25, 128 if clip.name.startswith("l") else 96)
        timeline = demux(clip, LIMITS)
        assert len(timeline) == 70
        assert timeline.pts is not None
        reading = VideoReader(clip, all_frames)
        assert [frame.index for frame in reading] == list(range(70))
        assert reading.problem == ""
    assert clips[1].read_bytes() != clips[2].read_bytes()


def test_frames_are_decoded_in_another_order_than_they_are_shown(footage: Path) -> None:
    with av.open(str(footage / "VideoData" / "small_00.mp4")) as container:
        decoded = [(packet.dts, packet.pts) for packet in container.demux(video=0) if packet.size]
    assert [dts for dts, _ in decoded] == sorted(dts for dts, _ in decoded)
    assert [pts for _, pts in decoded] != sorted(pts for _, pts in decoded)


def test_it_is_made_once_and_the_same_whatever_the_number_of_jobs(footage: Path, tmp_path: Path) -> None:
    one = footage / "VideoData" / "small_00.mp4"
    before = one.stat().st_mtime_ns
    assert make_collection(footage.parent, formats=FORMATS, frames=70) == footage
    assert one.stat().st_mtime_ns == before
    again = make_collection(tmp_path, formats=FORMATS, frames=70, jobs=3)
    assert (again / "VideoData" / "small_00.mp4").read_bytes() == one.read_bytes()


def test_nothing_is_left_of_one_that_could_not_be_made(tmp_path: Path) -> None:
    with pytest.raises(av.error.FFmpegError):  # H.264 with half the colours has no odd sizes
        make_collection(tmp_path, formats=[FORMATS[0], Format("odd", 1, 97, 63, 0)], frames=3)
    assert list(tmp_path.iterdir()) == []
