"""What a search looks for: pictures as they are seen, and rows of the feature by their ids."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import LIMITS
from tests.feature_files import write_frames, write_rows
from tests.retrieval.conftest import written
from vfx.analysis.thumbnails import MIDDLE
from vfx.errors import UnknownIdError, UsageError
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Rows
from vfx.retrieval.query import open_image, query_by_id

ROWS = np.random.default_rng(0).normal(size=(7, 4)).astype("f4")


@pytest.fixture
def file(tmp_path: Path) -> FeatureFile:
    """Two videos, of four frames and of three, two a second."""
    return written(tmp_path / "features.h5", ROWS, [4, 3])


def test_a_picture_is_turned_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (40, 20), "red")
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise to see it
    image.save(tmp_path / "a.jpg", exif=exif)
    assert open_image(tmp_path / "a.jpg", LIMITS).size == (20, 40)


def test_a_frame_by_its_id_or_by_the_nearest_time(file: FeatureFile) -> None:
    by_id, by_time = query_by_id(file, "frame", "v0001_1"), query_by_id(file, "video", "v0001", seconds=0.7)
    for query in (by_id, by_time):
        np.testing.assert_array_equal(query.vector, ROWS[5])
        assert (query.name, query.own_rows, query.own_id, query.key) == (
            "frame v0001_1", (4, 7), "v0001", ("v0001", 1),
        )  # fmt: skip
        assert not query.whole_video


def test_a_whole_video_by_the_mean_of_its_frames(file: FeatureFile) -> None:
    query = query_by_id(file, "video", "v0000")
    np.testing.assert_allclose(query.vector, ROWS[:4].mean(axis=0), rtol=1e-6)
    assert (query.name, query.own_rows, query.key) == ("video v0000", (0, 4), ("v0000", MIDDLE))
    assert query.whole_video


def test_a_row_of_another_level_is_of_ten_crops_their_mean(tmp_path: Path) -> None:
    crops = np.random.default_rng(1).normal(size=(2, 10, 4)).astype("f4")
    with FeatureFile(write_rows(tmp_path / "f.h5", "ab", crops, level="segment")) as file:
        query = query_by_id(file, "segment", "b")
        with pytest.raises(UsageError, match="is of segment level: give segment=<id> or image="):
            query_by_id(file, "video", "a")
    np.testing.assert_array_equal(query.vector, crops[1].mean(axis=0))
    assert (query.own_id, query.key) == ("b", None)


def test_what_is_not_there_is_said(file: FeatureFile, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is of frame level: give frame=, video= or image="):
        query_by_id(file, "segment", "a")
    with pytest.raises(UsageError, match=r"frame \(v0000\) is a video; give video=v0000, or a frame of it"):
        query_by_id(file, "frame", "v0000")
    with pytest.raises(UnknownIdError):
        query_by_id(file, "video", "v0002", seconds=1)
    path = write_frames(tmp_path / "f.h5", {"a": Rows(ROWS[:2], np.arange(2), np.full(2, np.nan))})
    with (
        FeatureFile(path) as untimed,
        pytest.raises(UsageError, match=r"the times of the frames of a are not known; give frame=a_<index>"),
    ):
        query_by_id(untimed, "video", "a", seconds=1)
