"""Rows of a feature file as analyses read them."""

from pathlib import Path

import numpy as np

from tests.feature_files import write_rows
from vfx.analysis.rows import normalize, read_normalized, read_rows, sample
from vfx.features.feature_file import FeatureFile


def test_the_sample_is_bounded_and_the_same_each_time() -> None:
    assert sample(5, 9).tolist() == [0, 1, 2, 3, 4]
    some = sample(10**12, 100)
    assert len(set(some.tolist())) == 100
    assert (np.diff(some) > 0).all()
    np.testing.assert_array_equal(some, sample(10**12, 100))
    assert some.tolist() != sample(10**12, 100, seed=1).tolist()


def test_rows_without_a_direction_are_zeros() -> None:
    rows = np.array([[3, 4], [0, 0], [np.nan, 1], [np.inf, 1], [3e38, 0], [1e-38, 0]], "f4")
    np.testing.assert_allclose(normalize(rows), [[0.6, 0.8], [0, 0], [0, 0], [0, 0], [1, 0], [1, 0]], rtol=1e-6)


def test_ten_crops_count_by_their_mean(tmp_path: Path) -> None:
    crops = np.random.default_rng(2).normal(size=(4, 10, 6)).astype("f4")
    file = FeatureFile(write_rows(tmp_path / "features.h5", "abcd", crops))
    np.testing.assert_allclose(read_normalized(file, np.arange(4)), normalize(crops.mean(axis=1)), rtol=1e-5)


def test_values_at_positions_are_those_of_the_column(known: FeatureFile) -> None:
    rows = np.array([0, 1, 5, 199, 276])
    np.testing.assert_array_equal(read_rows(known, "index", rows), known.index[rows])
    assert read_rows(known, "ids", rows[:1]).tolist() == [b"v0_0"]
