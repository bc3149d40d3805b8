"""Clips: frames cut before are read as pictures and as nothing else, and a reading may start over."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import LIMITS, TOYDATA
from vfx.collection.source import VideoSource
from vfx.decoding import Frame
from vfx.extraction.clips import read_frames, read_video
from vfx.extraction.frame_folder import FrameFolder
from vfx.models.transforms import Preprocess, Transform
from vfx.sampling.samplers import all_frames

PREPARE = Preprocess(
    Transform(resize=8, crop=8, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1)), ten_crop=False
)


def test_a_frame_is_a_picture_whatever_its_name_and_runs_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = tmp_path / "proof"
    (tmp_path / "bin").mkdir()
    for name in ["gs", "gswin64c"]:
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\ntouch {proof}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    folder = tmp_path / "a"
    folder.mkdir()
    for i, format in enumerate(["JPEG", "PNG", "WEBP", "BMP", "GIF"]):
        Image.new("RGB", (10, 10), (200, 0, 0)).save(folder / f"a_{i}.jpg", format)
    postscript = io.BytesIO()
    Image.new("RGB", (10, 10)).save(postscript, "EPS")
    (folder / "a_9.jpg").write_bytes(postscript.getvalue())
    clips = list(
        read_frames(VideoSource("a", str(folder), 6), sample=all_frames, preprocessors=[PREPARE], limits=LIMITS)
    )
    assert [i for clip in clips for i in clip.index] == [0, 1, 2, 3, 4]
    assert np.concatenate([clip.views[0] for clip in clips if clip.views])[..., 0].min() > 190
    (failure,) = clips[-1].failures
    assert failure.error.startswith("1 of 6 frames cannot be read, the first being a_9.jpg: cannot identify image file")
    assert not proof.exists()
    with Image.open(folder / "a_9.jpg") as image, pytest.raises(OSError):
        image.load()
    assert proof.exists(), "Pillow alone would run it"


def test_clips_say_how_much_of_their_video_has_come(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for i in range(40):
        Image.new("RGB", (10, 10)).save(folder / f"a_{i}.jpg")
    clips = list(
        read_frames(VideoSource("a", str(folder), 40), sample=all_frames, preprocessors=[PREPARE], limits=LIMITS)
    )
    assert [len(clip) for clip in clips] == [16, 16, 8]
    assert [clip.share for clip in clips[:2]] == [16 / 40, 32 / 40]
    cat = VideoSource("cat", str(TOYDATA / "VideoData/cat.mp4"), 1)
    clips = list(read_video(cat, sample=all_frames, decoder="auto", preprocessors=[PREPARE]))
    total = sum(map(len, clips))
    assert total > 32
    # the frame that begins the next clip has come too
    assert [clip.share for clip in clips[:-1]] == [(16 * n + 1) / total for n in range(1, len(clips))]


@pytest.mark.parametrize("before", [1, 16, 20])
def test_a_reading_that_starts_over_leaves_none_of_its_first_frames(
    before: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it does: within the first clip, behind it, or when a clip has gone out."""

    class Restarting(FrameFolder):
        def __init__(self, *_: object, **__: object) -> None:
            self.failures, self.share = [], 0.0

        def __iter__(self) -> Iterator[Frame]:
            for value, count in ((1, before), (2, 3)):
                for n in range(count):
                    yield Frame(n, n / 2, np.full((10, 10, 3), value, np.uint8), first=n == 0)

    monkeypatch.setattr("vfx.extraction.clips.FrameFolder", Restarting)
    source = VideoSource("a", "/a", 1)
    clips = list(read_frames(source, sample=all_frames, preprocessors=[PREPARE], limits=LIMITS))
    counted = clips[max(n for n, clip in enumerate(clips) if clip.first) :]
    assert [i for clip in counted for i in clip.index] == [0, 1, 2]
    assert {int(pixel) for clip in counted for pixel in clip.views[0].flat} == {2}
    assert sum(map(len, clips[: -len(counted)])) == before // 17 * 16
