"""Feature files as arrays of xarray."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.feature_files import bytes_read, timed, write_frames, write_rows
from vfx.features.feature_file import FeatureFile


@pytest.fixture
def file(tmp_path: Path) -> FeatureFile:
    a, b = np.random.default_rng(0).random((2, 500, 1024), "f4")
    videos = {"a": timed(a, rate=25), "b": timed(b, step=2, rate=10)}
    return FeatureFile(write_frames(tmp_path / "f.h5", videos))


def test_rows_carry_video_index_and_seconds(file: FeatureFile) -> None:
    array = file.to_xarray()
    assert array.dims == ("frame", "dim")
    assert array.dtype == np.float32
    assert (array.name, array.attrs["feature"], array.attrs["level"]) == ("features", "f,avgpool", "frame")
    assert set(array.coords) == {"frame", "video", "index", "seconds"}
    one = array.sel(frame="b_20")
    assert (one.video.item(), one.index.item(), one.seconds.item()) == ("b", 20, 2.0)
    np.testing.assert_array_equal(one, file["b_20"])
    np.testing.assert_array_equal(array[array.video == "b"], file["b"])
    np.testing.assert_allclose(array.groupby("video").mean().sel(video="a"), file["a"].mean(0), rtol=1e-5)


@pytest.mark.parametrize(
    "key",
    [
        np.s_[3], np.s_[-1], np.s_[5:2:-1], np.s_[::7], np.s_[[5, 1, 1]], np.s_[2:4, ::300], np.s_[..., [9, 3]],
        np.s_[10:10],
    ],
    ids=str,
)  # fmt: skip
def test_every_way_to_index_gives_what_numpy_gives(file: FeatureFile, key: object) -> None:
    np.testing.assert_array_equal(file.to_xarray()[key].values, file.features[:][key])


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has read stands in /proc")
@pytest.mark.parametrize("of", ["features", "to_xarray"])
def test_slices_are_read_when_they_are_asked_for(file: FeatureFile, of: str) -> None:
    array = file.features if of == "features" else file.to_xarray()
    _ = np.asarray(array[500])  # where the chunks lie is read with it
    before = bytes_read()
    ten = np.asarray(array[700:710])
    assert 10 * 4096 <= bytes_read() - before < 12 * 4096
    np.testing.assert_array_equal(ten, file["b"][200:210])


def test_it_crosses_to_another_process(file: FeatureFile) -> None:
    array = file.to_xarray()[10:20]
    crossed = pickle.dumps(array)
    assert len(crossed) < 50_000  # the file's name, not its rows
    np.testing.assert_array_equal(pickle.loads(crossed), file.features[10:20])


def test_other_levels_and_ten_crops_have_their_own_dimensions(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "f.h5", "xy", np.arange(60).reshape(2, 10, 3))
    array = FeatureFile(path).to_xarray()
    assert array.dims == ("video", "crop", "dim")
    np.testing.assert_array_equal(array.sel(video="y")[9], [57, 58, 59])


def test_where_xarray_is_missing_the_command_that_installs_it_is_named(file: FeatureFile) -> None:
    code = f"import sys, vfx; sys.modules['xarray'] = None; vfx.FeatureFile({str(file.path)!r}).to_xarray()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "UsageError: to_xarray needs xarray: pip install 'vfx[xarray]'" in done.stderr
