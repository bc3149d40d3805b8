"""Poolings: functions that reduce the rows of a video's or a segment's frames to one row.

A pooling takes the rows in blocks, which together are (T, D) or (T, K, D), so that no video is too long for memory, and
`count`, which is T. It sums in float64 and returns float32, (D,) or (K, D).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Block = NDArray[Any]
Pooling = Callable[[Iterable[Block], int], Block]


def mean(blocks: Iterable[Block], count: int) -> Block:
    """The mean of the rows."""
    return _float32(_weighted(blocks, np.full(count, 1 / count)))


def sum(blocks: Iterable[Block], count: int) -> Block:
    """The sum of the rows."""
    return _float32(_weighted(blocks, np.ones(count)))


def max(blocks: Iterable[Block], count: int) -> Block:
    """The largest of each value."""
    result: Block | None = None
    for block in blocks:
        top = block.max(axis=0)
        result = top if result is None else np.maximum(result, top)
    return _float32(result)


def std(blocks: Iterable[Block], count: int) -> Block:
    """The population standard deviation, by Welford's update for blocks (Chan, Golub and LeVeque 1979)."""
    seen, average, squares = 0, np.float64(0), np.float64(0)
    for block in blocks:
        rows = block.astype(np.float64)
        n, centre = len(rows), rows.mean(axis=0)
        step = centre - average
        squares = squares + ((rows - centre) ** 2).sum(axis=0) + step**2 * (seen * n / (seen + n))
        average = average + step * (n / (seen + n))
        seen += n
    return _float32(np.sqrt(squares / seen))


def gauss(blocks: Iterable[Block], count: int, *, integer_centre: bool = False) -> Block:
    """The mean with the weights exp(-0.25 |i - n/2|) of video-cnn-feat.

    Args:
        blocks: The rows.
        count: Their number n.
        integer_centre: Round n/2 down to a whole number, as the Python 2 tool does. The Python 3 port does not.
    """
    centre = count // 2 if integer_centre else count / 2
    weights = np.exp(-0.25 * np.abs(np.arange(count) - centre))
    return _float32(_weighted(blocks, weights / weights.sum()))


def first(blocks: Iterable[Block], count: int) -> Block:
    """The first row."""
    return _row(blocks, 0)


def middle(blocks: Iterable[Block], count: int) -> Block:
    """The row at count // 2."""
    return _row(blocks, count // 2)


def _weighted(blocks: Iterable[Block], weights: NDArray[np.float64]) -> Block:
    total: NDArray[np.float64] = np.zeros(())
    at = 0
    for block in blocks:
        total = total + np.tensordot(weights[at : at + len(block)], block.astype(np.float64), axes=1)
        at += len(block)
    return np.asarray(total)


def _row(blocks: Iterable[Block], wanted: int) -> Block:
    at = 0
    for block in blocks:
        if wanted < at + len(block):
            return _float32(block[wanted - at])
        at += len(block)
    raise IndexError(f"row {wanted} of {at}")


def _float32(values: Any) -> Block:
    return np.array(values, dtype=np.float32)  # a copy: a row must not keep its block in memory
