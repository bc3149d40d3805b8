"""Damaged files, and files that lie, cost at most their own frames: each has rows or a reason, and no row is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import damage
from tests.clips import CLIPS
from tests.conftest import LIMITS, TOYDATA
from vfx import extract, sampling
from vfx.decoding import Reading
from vfx.store import FeatureFile


def test_what_asks_for_more_than_the_limits_is_refused_by_the_limits_name(tmp_path: Path) -> None:
    """All but `limits.frames` and `limits.memory_gb` are those of everybody."""
    videos = tmp_path / "c" / "VideoData"
    videos.mkdir(parents=True)
    for name in ("retina", "camera"):
        (videos / f"{name}.mp4").symlink_to(TOYDATA / "VideoData" / f"{name}.mp4")
    (videos / "huge.mov").write_bytes(damage.bomb(damage.HUGE))
    (videos / "large.mov").write_bytes(damage.bomb(damage.LARGE))
    (videos / "hungry.mov").write_bytes(damage.bomb(8_000))
    (videos / "long.mkv").write_bytes(damage.later(CLIPS["h264_vfr.mkv"].write(tmp_path), hours=100))
    options = ["limits.frames=158", "limits.memory_gb=0.3", "dataset.num_workers=2", "trainer=cpu"]
    file = FeatureFile(extract.main(f"collection={videos.parent}", f"output_dir={tmp_path / 'out'}", *options))
    assert list(file.videos) == ["retina"]
    assert {f.id: f.error for f in file.failures} == {
        "camera": "camera.mp4 has more frames than limits.frames (158) allows",
        "huge": "huge.mov is 20000x20000 pixels, more than limits.pixels (134217728) allows",
        "large": "large.mov is 16000x16000 pixels, more than limits.pixels (134217728) allows",
        "hungry": "it takes more memory than limits.memory_gb allows",
        "long": "long.mkv lasts 100.0 hours, more than limits.hours (48) allows",
    }


@pytest.mark.parametrize("decoder", ["auto", "decord"])
def test_pictures_that_grow_beyond_the_limit_end_the_reading(decoder: str, tmp_path: Path) -> None:
    path = tmp_path / "late.mov"
    path.write_bytes(damage.bomb(damage.LARGE, sound=5))
    reading = Reading(path, sampling.all_frames, decoder=decoder, limits=LIMITS)
    assert [frame.pixels.shape for frame in reading] == [(64, 64, 3)] * 5
    assert reading.problem == (
        "5 of 8 frames could be decoded: a frame is 16000x16000 pixels, more than limits.pixels (134217728) allows"
    )


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("picture.mp4", damage.a_picture(), "its content is of another format"),
        ("nothing.ts", (b"G\x1f\xff\x10" + b"\xff" * 184) * 500, "it ends before its first frame"),
    ],
)
def test_reasons_are_in_words(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    reading = Reading(tmp_path / name, sampling.all_frames)
    assert list(reading) == []
    assert reading.problem == f"{name} cannot be read as a video: {reason}"
