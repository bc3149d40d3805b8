"""Poolings: equal to plain NumPy, however the rows come in blocks."""

import numpy as np
import pytest

from vfx.pooling import functions
from vfx.pooling.functions import Block, Pooling

RNG = np.random.default_rng(0)


def plain_gauss(rows: Block, centre: float) -> Block:
    weights = np.exp(-0.25 * np.abs(np.arange(len(rows)) - centre))
    return np.tensordot(weights / weights.sum(), rows, axes=1)


PLAIN = {
    functions.mean: lambda x: x.mean(0),
    functions.sum: lambda x: x.sum(0),
    functions.max: lambda x: x.max(0),
    functions.std: lambda x: x.std(0),
    functions.first: lambda x: x[0],
    functions.middle: lambda x: x[len(x) // 2],
    functions.gauss: lambda x: plain_gauss(x, len(x) / 2),
}


@pytest.mark.parametrize("pool", PLAIN, ids=lambda p: p.__name__)
@pytest.mark.parametrize("count", [1, 2, 7, 50])
@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize("shape", [(5,), (10, 5)])
def test_blocks_pool_as_numpy_does(pool: Pooling, count: int, size: int, shape: tuple[int, ...]) -> None:
    rows = RNG.normal(3, 2, (count, *shape)).astype(np.float32)
    pooled = pool((rows[i : i + size] for i in range(0, count, size)), count)
    assert pooled.dtype == np.float32
    assert pooled.shape == shape
    np.testing.assert_allclose(pooled, PLAIN[pool](rows.astype(np.float64)), rtol=1e-6, atol=1e-6)


def test_the_two_readings_of_the_centre_differ_for_odd_counts() -> None:
    rows = RNG.normal(size=(5, 3)).astype(np.float32)
    cut = functions.gauss([rows], 5, integer_centre=True)
    np.testing.assert_allclose(cut, plain_gauss(rows.astype(np.float64), 2), rtol=1e-6)
    assert not np.allclose(cut, functions.gauss([rows], 5))
    even = rows[:4]
    np.testing.assert_array_equal(functions.gauss([even], 4, integer_centre=True), functions.gauss([even], 4))


def test_float16_is_summed_in_float64() -> None:
    rows = np.full((4096, 2), 30000, np.float16)
    np.testing.assert_array_equal(functions.mean([rows], 4096), np.full(2, 30000, np.float32))


def test_a_pooled_row_does_not_keep_its_block() -> None:
    rows = RNG.normal(size=(1000, 3)).astype(np.float32)
    assert functions.first([rows], 1000).base is None
