"""The toy collection is what its README says."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import ModuleType

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from PIL import Image

TOYDATA = Path(__file__).resolve().parents[1] / "toydata"
H264 = ("astronaut", "camera", "cat", "coffee_phone", "retina")


def table() -> dict[str, list[str]]:
    """The README's table of clips, by id: file, codec, size, fps, frames, seconds, what is special."""
    rows = {}
    for line in (TOYDATA / "README.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip().strip("`") for cell in line.strip("|").split(" | ")]
        if len(cells) == 8 and cells[1].startswith("VideoData/"):
            rows[cells[0]] = cells[1:]
    return rows


def video(video_id: str) -> Path:
    return TOYDATA / table()[video_id][0]


@cache
def frames(video_id: str) -> list[av.VideoFrame]:
    with av.open(str(video(video_id))) as container:
        return list(container.decode(video=0))


def upright(frame: av.VideoFrame) -> np.ndarray:
    return np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90)


def gaps(video_id: str) -> np.ndarray:
    return np.diff([frame.time for frame in frames(video_id)])


@pytest.fixture(scope="module")
def make() -> Iterator[ModuleType]:
    """`toydata/make.py` as a module."""
    pytest.importorskip("skimage")
    spec = importlib.util.spec_from_file_location("toydata_make", TOYDATA / "make.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses looks for it
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def difference(make: ModuleType, video_id: str, index: int) -> float:
    """Mean absolute difference between a decoded frame and the photograph under the camera, of 255."""
    clip = next(clip for clip in make.CLIPS if clip.id == video_id)
    seen = np.asarray(make.picture(clip, index), np.float64)
    return np.abs(seen - upright(frames(video_id)[index])).mean()


def test_the_collection_is_small():
    kept = [path for path in TOYDATA.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in kept) < 3_000_000


def test_the_readme_names_every_video_and_no_other():
    files = [p.relative_to(TOYDATA).as_posix() for p in (TOYDATA / "VideoData").rglob("*") if p.is_file()]
    assert sorted(files) == sorted(row[0] for row in table().values())
    assert all(Path(row[0]).stem == video_id for video_id, row in table().items())


@pytest.mark.parametrize("video_id", table())
def test_the_readme_states_codec_size_rate_and_length(video_id):
    path, codec, size, fps, count, seconds, _ = table()[video_id]
    with av.open(str(TOYDATA / path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == codec
        if fps != "variable":
            assert stream.average_rate == Fraction(fps)
        assert container.duration / av.time_base == pytest.approx(float(seconds), abs=0.0015)
    height, width = upright(frames(video_id)[0]).shape[:2]
    assert f"{width}x{height}" == size
    assert len(frames(video_id)) == int(count)


def test_containers_folders_and_extensions_vary():
    assert {video(i).suffix for i in table()} == {".mp4", ".AVI", ".webm", ".gif"}
    assert [i for i in table() if video(i).parent != TOYDATA / "VideoData"] == ["astronaut"]


@pytest.mark.parametrize("video_id", H264)
def test_h264_clips_have_b_frames_and_packets_out_of_display_order(video_id):
    assert PictureType.B in {PictureType(frame.pict_type) for frame in frames(video_id)}
    with av.open(str(video(video_id))) as container:
        order = [packet.pts for packet in container.demux(video=0) if packet.size]
    assert order != sorted(order)
    assert sorted(order) == [frame.pts for frame in frames(video_id)]


@pytest.mark.parametrize("video_id", table())
def test_times_start_at_zero_and_only_camera_has_a_variable_rate(video_id):
    assert frames(video_id)[0].time == 0
    assert gaps(video_id).min() > 0
    # WebM and AVI round times to their ticks, so a millisecond is no variation.
    assert (np.ptp(gaps(video_id)) > 0.0011) == (video_id == "camera")


def test_the_variable_rate_changes_twice():
    np.testing.assert_allclose(gaps("camera")[[0, 74, 75, 98, 99, 157]], [0.04, 0.04, 0.125, 0.125, 0.033, 0.033])


def test_coffee_phone_is_stored_lying_and_shown_upright(make):
    first = frames("coffee_phone")[0]
    assert (first.width, first.height, first.rotation) == (320, 240, -90)
    assert difference(make, "coffee_phone", 0) < 6
    assert {frame.rotation for i in table() if i != "coffee_phone" for frame in frames(i)} == {0}


def test_astronaut_is_portrait_and_retina_shorter_than_half_a_second():
    assert frames("astronaut")[0].height > frames("astronaut")[0].width
    assert len(frames("retina")) / 25 < 0.5


def test_launch_has_one_hard_cut_before_frame_60():
    pictures = np.array([frame.to_ndarray(format="gray") for frame in frames("launch")], np.int16)
    steps = np.abs(np.diff(pictures, axis=0)).mean(axis=(1, 2))
    assert steps.argmax() + 1 == 60
    assert steps[59] > 3 * np.delete(steps, 59).max()


@pytest.mark.parametrize("video_id", table())
def test_frames_look_like_the_photograph_under_the_camera(make, video_id):
    for index in (0, len(frames(video_id)) // 2, len(frames(video_id)) - 1):
        assert difference(make, video_id, index) < 6


def test_the_cat_moves(make):
    """Else the test above would hold for a still picture too."""
    clip = next(clip for clip in make.CLIPS if clip.id == "cat")
    first = np.asarray(make.picture(clip, 0), np.float64)
    assert np.abs(first - upright(frames("cat")[60])).mean() > 15


def test_the_list_of_frames_is_that_of_image_data():
    lines = (TOYDATA / "id.imagepath.txt").read_text(encoding="utf-8").splitlines()
    listed = dict(line.split() for line in lines)
    assert len(listed) == len(lines)
    assert all(Path(path).stem == frame_id for frame_id, path in listed.items())
    found = {p.relative_to(TOYDATA).as_posix() for p in (TOYDATA / "ImageData").rglob("*") if p.is_file()}
    assert set(listed.values()) == found


@pytest.mark.parametrize(
    ("video_id", "indices"),
    [("cat", [0, 12, 25, 37, 50, 62, 75, 87, 100, 112, 125]), ("astronaut", [0, 11, 23, 34, 46, 57, 69])],
)
def test_cut_frames_are_those_of_the_lineage(video_id, indices):
    """Two a whole-numbered second, 0-based in display order; each the frame that it is named after."""
    folder = TOYDATA / "ImageData" / video_id
    found = {int(re.fullmatch(rf"{video_id}_(\d+)", p.stem)[1]): p for p in folder.iterdir()}
    assert sorted(found) == indices
    for index, path in found.items():
        jpeg = np.asarray(Image.open(path), np.float64)
        near = {
            i: np.abs(jpeg - upright(frames(video_id)[i])).mean()
            for i in range(max(index - 1, 0), min(index + 2, len(frames(video_id))))
        }
        assert min(near, key=near.get) == index
        assert near[index] < 3


def test_the_script_makes_a_clip_that_can_be_read(make, tmp_path):
    """Its bytes may differ from the committed ones, as encoders do; its frames and times may not."""
    clip = next(clip for clip in make.CLIPS if clip.id == "retina")
    assert make.main(tmp_path, clips=(clip,)) == tmp_path
    with av.open(str(tmp_path / "VideoData" / "retina.mp4")) as container:
        again = list(container.decode(video=0))
    assert [frame.time for frame in again] == [frame.time for frame in frames("retina")]
    assert np.abs(upright(again[4]).astype(int) - upright(frames("retina")[4])).mean() < 3
