"""Cosine and difference of rows."""

import numpy as np
import pytest

from tests.comparison.inputs import INF, NAN, RANDOM
from vfx.comparison.row_measures import measure_rows


@pytest.mark.parametrize(
    ("a", "b", "cosine", "difference"),
    [
        ([3.0, 4.0], [3.0, 4.0], 1, 0),
        ([3.0, 4.0], [6.0, 8.0], 1, 4),
        ([1.0, 0.0], [0.0, 2.0], 0, 2),
        ([1.0, 1.0], [-1.0, -1.0], -1, 2),
        ([1.0, 0.0], [1.0, 1.0], 0.5**0.5, 1),
        ([0.0, 0.0], [0.0, 0.0], 1, 0),
        ([0.0, 0.0], [0.0, 5.0], 0, 5),
        ([1e-30, 0.0], [1e-30, 0.0], 1, 0),
        ([1.0, NAN], [1.0, NAN], NAN, NAN),
        ([1.0, INF], [1.0, INF], NAN, NAN),
        ([1.0, 2.0], [-INF, 2.0], NAN, NAN),
    ],
)
def test_numbers_of_a_row(a: list[float], b: list[float], cosine: float, difference: float) -> None:
    for x, y in [(a, b), (b, a)]:
        found = measure_rows(np.array([x], np.float32), np.array([y], np.float32))
        np.testing.assert_allclose([found.cosine[0], found.difference[0]], [cosine, difference], rtol=1e-12)


def test_ten_crops_are_one_row() -> None:
    crops = RANDOM.random((3, 10, 4), np.float32)
    other = crops.copy()
    other[1, 7, 2] += 0.5
    found = measure_rows(crops, other)
    np.testing.assert_allclose(found.difference, [0, 0.5, 0], rtol=1e-6)
    x, y = crops[1].ravel().astype("f8"), other[1].ravel().astype("f8")
    assert found.cosine[1] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-12)
    assert found.cosine[0] == 1
