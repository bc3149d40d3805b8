"""Small pictures of frames are those of the very frames that were asked for."""

import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import LIMITS, TOYDATA
from vfx.analysis.thumbnails import MIDDLE, Thumbnail, find_collection_of, make_thumbnails
from vfx.collection.collection import Collection
from vfx.decoding import VideoReader
from vfx.features.feature_file import FeatureFile


def pixels(picture: Thumbnail) -> np.ndarray:
    with Image.open(BytesIO(picture.jpeg)) as image:
        assert image.size == (picture.width, picture.height)
        return np.asarray(image, np.float32)


@pytest.fixture
def videos(tmp_path: Path) -> Collection:
    """Some of the toy collection's, without frames, and one that cannot be read."""
    folder = tmp_path / "c/VideoData"
    folder.mkdir(parents=True)
    for name in ("cat.mp4", "coffee_phone.mp4"):
        shutil.copy(TOYDATA / "VideoData" / name, folder)
    (folder / "bad.mp4").write_bytes(b"no video")
    return Collection("c", tmp_path / "c")


def test_pictures_are_of_the_frames_asked_for(videos: Collection) -> None:
    wanted = [("cat", 100), ("cat", 12), ("cat", MIDDLE), ("coffee_phone", 0), ("cat", 99999), ("bad", 0), ("gone", 1)]
    drawn = {(p.video, p.index): p for p in make_thumbnails(videos, wanted, limits=LIMITS, side=100, quality=90)}
    assert drawn.keys() == {("cat", 100), ("cat", 12), ("cat", MIDDLE), ("coffee_phone", 0)}
    assert (drawn["cat", 12].width, drawn["cat", 12].height) == (100, 75)
    assert (drawn["coffee_phone", 0].width, drawn["coffee_phone", 0].height) == (75, 100)
    for index, frame in [(12, 12), (100, 100), (MIDDLE, 63)]:
        (read,) = VideoReader(TOYDATA / "VideoData/cat.mp4", lambda _, frame=frame: np.array([frame]))
        reference = np.asarray(Image.fromarray(read.pixels).resize((100, 75), Image.Resampling.BICUBIC), np.float32)
        assert np.abs(pixels(drawn["cat", index]) - reference).mean() < 4


def test_frames_that_were_cut_are_taken_where_the_videos_are_gone(tmp_path: Path) -> None:
    shutil.copytree(TOYDATA / "ImageData/cat", tmp_path / "c/ImageData/cat")
    drawn = list(make_thumbnails(Collection("c", tmp_path / "c"), [("cat", 12), ("cat", 13)], limits=LIMITS))
    assert [(p.video, p.index) for p in drawn] == [("cat", 12)]
    assert (drawn[0].width, drawn[0].height) == (192, 144)


def test_the_videos_of_a_feature_are_found_by_name_or_by_its_recipe(toy_features: FeatureFile, tmp_path: Path) -> None:
    by_path = find_collection_of(toy_features, str(TOYDATA), tmp_path)
    assert by_path is not None
    assert by_path.root == TOYDATA
    by_recipe = find_collection_of(toy_features, "no such name", tmp_path)
    assert by_recipe is not None
    assert by_recipe.root == TOYDATA.resolve()
