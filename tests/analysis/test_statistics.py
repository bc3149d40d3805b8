"""What a feature looks like in numbers, against numpy on the whole of a known file."""

import numpy as np
import pytest

from tests.analysis.conftest import LENGTHS
from vfx.analysis.statistics import FAILURES, Histogram, Moments, gather
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure


def check_counts(found: Histogram, values: np.ndarray) -> None:
    """A value on an edge may have been rounded to either side."""
    below = np.searchsorted(np.sort(values), found.edges)
    assert np.abs(np.cumsum(found.counts) - below[1:]).max() <= 1
    assert found.counts.sum() == len(values)


@pytest.mark.parametrize("block", [1 << 20, 480])  # all at once, and ten rows at a time
def test_one_pass_finds_what_numpy_finds(known: FeatureFile, block: int) -> None:
    found = gather(known, block_bytes=block, column_rows=4)
    rows = known.features[:]
    sound = rows[np.isfinite(rows).all(axis=1)]
    norms = np.linalg.norm(sound.astype("f8"), axis=1)
    assert (found.rows, found.dims, found.not_finite, found.zero) == (277, 12, 1, 1)
    np.testing.assert_array_equal(found.low, sound.min(axis=0))
    np.testing.assert_array_equal(found.high, sound.max(axis=0))
    np.testing.assert_array_equal(found.used, (sound != 0).sum(axis=0))
    assert found.always_zero.tolist() == [2]
    assert found.constant.tolist() == []  # but for the row of zeros it would be 5
    assert found.norm_moments.mean == pytest.approx(norms.mean())
    assert found.norm_moments.deviation == pytest.approx(norms.std())
    assert (found.norm_moments.least, found.norm_moments.most) == (norms.min(), norms.max())
    check_counts(found.norms, norms)
    assert found.videos == len(LENGTHS)
    np.testing.assert_array_equal(found.lengths.counts, np.histogram(LENGTHS, found.lengths.edges)[0])
    assert (found.seconds, found.timed) == (sum((n - 1) / 2 for n in LENGTHS[1:]), 5)
    assert found.failed == {"open": 466, "decode": 234}
    assert found.failures[1] == Failure("x0001", "open", "why\\0")
    assert len(found.failures) == FAILURES


def test_a_dimension_of_one_value_is_constant(known: FeatureFile) -> None:
    found = gather(known)
    found.low[5] = 7
    assert found.constant.tolist() == [5]


def test_a_histogram_widens_and_loses_nothing() -> None:
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(10, 1, 500), rng.normal(-300, 5, 50), rng.normal(4000, 1, 50)])
    found = Histogram()
    for block in np.array_split(values, 30):
        found.add(block)
    assert found.counts.sum() == 600
    assert found.edges[0] <= values.min()
    assert found.edges[-1] > values.max()
    check_counts(found, values)
    same = Histogram()
    same.add(np.full(9, 3.0))
    assert same.counts.max() == 9


def test_moments_of_blocks_are_those_of_the_whole() -> None:
    values = np.random.default_rng(0).normal(1e6, 1, 1000)
    found = Moments()
    for block in np.array_split(values, 7):
        found.add(block)
    assert (found.count, found.mean) == (1000, pytest.approx(values.mean(), rel=1e-12))
    assert found.deviation == pytest.approx(values.std(), rel=1e-6)
