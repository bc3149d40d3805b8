"""The map of a feature, against numpy's own decomposition."""

from pathlib import Path

import numpy as np
import pytest

from vfx.analysis.pca_map import draw_map, drawn, plane, unit, unit_rows
from vfx.features.feature_file import FeatureFile
from vfx.features.writer import FeatureFileWriter


def principal(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two principal axes and their shares of the variance."""
    _, sizes, axes = np.linalg.svd(rows.astype("f8") - rows.mean(0, dtype="f8"), full_matrices=False)
    return axes[:2], sizes[:2] ** 2 / (sizes**2).sum()


@pytest.mark.parametrize("shape", [(40, 7), (7, 40), (30, 30)])
def test_a_plane_is_that_of_the_first_two_principal_components(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(1).normal(size=shape).astype("f4") * np.linspace(1, 3, shape[1], dtype="f4")
    found = plane(rows)
    axes, shares = principal(rows)
    np.testing.assert_allclose(np.abs(found.axes @ axes.T), np.eye(2), atol=1e-5)
    np.testing.assert_allclose(found.shares, shares, rtol=1e-5)
    assert (found.axes[[0, 1], np.abs(found.axes).argmax(axis=1)] > 0).all()
    np.testing.assert_allclose(found(rows), (rows - rows.mean(0)) @ found.axes.T, atol=1e-5)


@pytest.mark.parametrize(("rows", "ranks"), [(np.ones((1, 5)), 0), (np.ones((4, 5)), 0), (np.eye(2, 5), 1)])
def test_rows_that_hardly_differ_lie_on_a_line_or_a_point(rows: np.ndarray, ranks: int) -> None:
    found = plane(rows.astype("f4"))
    assert (found.shares > 0).sum() == ranks
    assert np.isfinite(found(rows.astype("f4"))).all()


def test_the_sample_is_bounded_and_the_same_each_time() -> None:
    assert drawn(5, 9).tolist() == [0, 1, 2, 3, 4]
    some = drawn(10**12, 100)
    assert len(set(some.tolist())) == 100
    assert (np.diff(some) > 0).all()
    np.testing.assert_array_equal(some, drawn(10**12, 100))
    assert some.tolist() != drawn(10**12, 100, seed=1).tolist()


def test_rows_without_a_direction_are_zeros() -> None:
    rows = np.array([[3, 4], [0, 0], [np.nan, 1], [np.inf, 1], [3e38, 0], [1e-38, 0]], "f4")
    np.testing.assert_allclose(unit(rows), [[0.6, 0.8], [0, 0], [0, 0], [0, 0], [1, 0], [1, 0]], rtol=1e-6)


def test_a_map_of_a_file_is_that_of_its_rows(toy_features: FeatureFile) -> None:
    found = draw_map(toy_features)
    rows = unit(toy_features.features[:])
    np.testing.assert_array_equal(found.rows, np.arange(len(rows)))
    np.testing.assert_allclose(found.plane.shares, principal(rows)[1], rtol=1e-4)
    np.testing.assert_allclose(found.points, found.plane(rows), atol=1e-6)
    few = draw_map(toy_features, size=10)
    np.testing.assert_array_equal(few.rows, drawn(len(rows), 10))
    np.testing.assert_array_equal(unit_rows(toy_features, few.rows), rows[few.rows])


def test_ten_crops_count_by_their_mean(tmp_path: Path) -> None:
    crops = np.random.default_rng(2).normal(size=(4, 10, 6)).astype("f4")
    attributes = {"feature": "f", "collection": "c", "config": "", "provenance": '{"recipe": {}}'}
    with FeatureFileWriter(tmp_path / "features.h5", level="video", shape=(10, 6), attributes=attributes) as writer:
        writer.add_rows(list("abcd"), crops)
    file = FeatureFile(tmp_path)
    np.testing.assert_allclose(unit_rows(file, np.arange(4)), unit(crops.mean(axis=1)), rtol=1e-5)
