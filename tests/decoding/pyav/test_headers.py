"""Headers say what a file says of itself, with the size and the turn that its first frame is shown with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clips import CLIPS, corrupt, silence
from tests.decoding.conftest import MakeClip
from vfx.decoding import AudioOnlyError, Headers, headers
from vfx.errors import VideoError

MP4 = "mov,mp4,m4a,3gp,3g2,mj2"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h264.mp4", Headers(MP4, "h264", "yuv420p", 8, 128, 96, 0, 25.0, 1.6, 40, "")),
        ("h264_10bit.mp4", Headers(MP4, "h264", "yuv420p10le", 10, 128, 96, 0, 25.0, 1.6, 40, "")),
        ("h264_rotated.mp4", Headers(MP4, "h264", "yuv420p", 8, 96, 128, 90, 25.0, 1.6, 40, "")),
        ("h264_upside_down.mp4", Headers(MP4, "h264", "yuv420p", 8, 128, 96, 180, 25.0, 1.6, 40, "")),
        ("h264_odd.mp4", Headers(MP4, "h264", "yuv444p", 8, 131, 99, 0, 25.0, 1.6, 40, "")),
        ("mpeg4.avi", Headers("avi", "mpeg4", "yuv420p", 8, 128, 96, 0, 25.0, 1.6, 40, "")),
        ("vp9.webm", Headers("matroska,webm", "vp9", "yuv420p", 8, 128, 96, 0, 25.0, 1.6, 0, "")),
        ("av1.mkv", Headers("matroska,webm", "av1", "yuv420p", 8, 128, 96, 0, 25.0, 1.6, 0, "")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_headers(clip: MakeClip, name: str, expected: Headers) -> None:
    assert headers(clip(name)) == expected


def test_a_rotation_is_not_known_where_no_frame_decodes(clip: MakeClip, tmp_path: Path) -> None:
    path = corrupt(clip("mpeg4.avi"), tmp_path / "broken.avi", packets=range(40), at=0.0)
    assert headers(path).rotation is None
    assert headers(path).width == 128


def test_sound_alone_is_told_from_what_is_not_a_video(tmp_path: Path) -> None:
    with pytest.raises(AudioOnlyError, match=r"sound\.mp4 has no video stream"):
        headers(silence(tmp_path / "sound.mp4"))
    (tmp_path / "text.mp4").write_text("not a video\n" * 50)
    with pytest.raises(VideoError, match=r"text\.mp4 cannot be read as a video") as error:
        headers(tmp_path / "text.mp4")
    assert not isinstance(error.value, AudioOnlyError)


def test_every_clip_has_headers(clip: MakeClip) -> None:
    for made in CLIPS.values():
        found = headers(clip(made.name))
        turned = made.rotation % 180 == 90
        assert (found.width, found.height) == ((made.height, made.width) if turned else (made.width, made.height))
        assert found.rotation == made.rotation % 360
