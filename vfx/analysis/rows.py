"""Reads rows of a feature file for analysis: a sample of them, L2-normalised, or single values of a column."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vfx.features import schema
from vfx.features.reader import FeatureReader

COLUMN_ROWS = 1 << 16  # of a column that is read at once
GAP = 64  # rows between two wanted ones that are read with them rather than skipped


def sample(total: int, size: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Draw `size` of the positions [0, total) with equal probability, without replacement; all where there are fewer.

    Returns:
        The positions, ascending; the same ones for the same seed.
    """
    if total <= size:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, size, replace=False, shuffle=False))


def read_normalized(file: FeatureReader, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Read feature rows, L2-normalised, so that their dot products are cosines.

    Args:
        file: The file. Of ten crops kept apart, the mean is taken.
        rows: (n,), ascending positions.

    Returns:
        (n, D). Rows that are zero, or that hold NaN or infinity, are zero.

    Raises:
        OutputError: The file is damaged.
    """
    found = np.empty((len(rows), file.features.shape[-1]), np.float32)
    with schema.reading(file.path):
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
            if len(run):
                found[run] = average_crops(file.features[rows[run[0]] : rows[run[-1]] + 1])
    return normalize(found)


def average_crops(block: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows (n, D) as float32; of ten crops kept apart, (n, 10, D), their mean, (n, D)."""
    block = block.astype(np.float32, copy=False)
    return block.mean(axis=1) if block.ndim == 3 else block


def normalize(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """L2-normalise rows (n, D). Rows that are zero, or that hold NaN or infinity, become zero."""
    scale = np.abs(rows).max(axis=1, keepdims=True, initial=0)  # squares of large values would overflow
    sound = np.isfinite(scale) & (scale > 0)
    rows = np.divide(rows, scale, where=sound, out=np.zeros_like(rows))
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norm, where=norm > 0, out=rows)


def read_blocks(file: FeatureReader, column: str, *, size: int = COLUMN_ROWS) -> Iterator[NDArray[Any]]:
    """Read a column of a file, `size` rows at a time. Texts are bytes.

    Raises:
        OutputError: The file is damaged.
    """
    with schema.reading(file.path):
        data = file.column(column)
        for start in range(0, len(data), size):
            yield data[start : start + size]


def read_rows(file: FeatureReader, column: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    """Read a column of a file at ascending positions, (n,). Texts are bytes.

    Raises:
        OutputError: The file is damaged.
    """
    found = []
    with schema.reading(file.path):
        data = file.column(column)
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > GAP) + 1):
            if len(run):
                found.append(data[run[0] : run[-1] + 1][run - run[0]])
    return np.concatenate(found) if found else np.empty(0, data.dtype)
