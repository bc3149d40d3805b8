"""The map of a feature, against numpy's own decomposition."""

import numpy as np
import pytest

from vfx.analysis.pca_map import draw_map, fit_plane
from vfx.analysis.rows import normalize, read_normalized, sample
from vfx.features.feature_file import FeatureFile


def principal(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two principal axes and their shares of the variance."""
    _, sizes, axes = np.linalg.svd(rows.astype("f8") - rows.mean(0, dtype="f8"), full_matrices=False)
    return axes[:2], sizes[:2] ** 2 / (sizes**2).sum()


@pytest.mark.parametrize("shape", [(40, 7), (7, 40), (30, 30)])
def test_a_plane_is_that_of_the_first_two_principal_components(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(1).normal(size=shape).astype("f4") * np.linspace(1, 3, shape[1], dtype="f4")
    found = fit_plane(rows)
    axes, shares = principal(rows)
    np.testing.assert_allclose(np.abs(found.axes @ axes.T), np.eye(2), atol=1e-5)
    np.testing.assert_allclose(found.shares, shares, rtol=1e-5)
    assert (found.axes[[0, 1], np.abs(found.axes).argmax(axis=1)] > 0).all()
    np.testing.assert_allclose(found.project(rows), (rows - rows.mean(0)) @ found.axes.T, atol=1e-5)


@pytest.mark.parametrize(("rows", "ranks"), [(np.ones((1, 5)), 0), (np.ones((4, 5)), 0), (np.eye(2, 5), 1)])
def test_rows_that_hardly_differ_lie_on_a_line_or_a_point(rows: np.ndarray, ranks: int) -> None:
    found = fit_plane(rows.astype("f4"))
    assert (found.shares > 0).sum() == ranks
    assert np.isfinite(found.project(rows.astype("f4"))).all()


def test_a_map_of_a_file_is_that_of_its_rows(toy_features: FeatureFile) -> None:
    found = draw_map(toy_features, size=2000)
    rows = normalize(toy_features.features[:])
    np.testing.assert_array_equal(found.rows, np.arange(len(rows)))
    np.testing.assert_allclose(found.plane.shares, principal(rows)[1], rtol=1e-4)
    np.testing.assert_allclose(found.points, found.plane.project(rows), atol=1e-6)
    few = draw_map(toy_features, size=10)
    np.testing.assert_array_equal(few.rows, sample(len(rows), 10))
    np.testing.assert_array_equal(read_normalized(toy_features, few.rows), rows[few.rows])
