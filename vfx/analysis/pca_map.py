"""A map of a feature: rows laid out in two dimensions by principal components, so that like rows lie near each other.

However large a collection, a map is made of a bounded sample of its rows, always the same one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfx.features import schema
from vfx.features.feature_file import FeatureFile

POINTS = 2000
SAMPLE_BYTES = 64 << 20  # of the sampled rows, as float32: rows of very many values are fewer


@dataclass(frozen=True)
class Plane:
    """The plane in the space of a feature on which rows lie apart the most.

    `origin` (D,); `axes` (2,D), orthonormal, each with its value of largest size positive, so that a map is never
    mirrored; `shares` (2,): of the variance of the rows that it was laid through, along each axis.
    """

    origin: NDArray[np.float32]
    axes: NDArray[np.float32]
    shares: NDArray[np.float64]

    def __call__(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where rows (n,D) lie on the plane, (n,2)."""
        return np.asarray((rows - self.origin) @ self.axes.T, np.float32)


def plane(rows: NDArray[np.float32]) -> Plane:
    """The first two principal components of rows (n,D), n at least 1; exact, by the smaller of the Gram matrices.

    Rows that do not differ in as many as two directions have a share of 0 along the others.
    """
    origin = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = (rows - origin).astype(np.float64)
    n, dims = centred.shape
    gram = centred @ centred.T if n <= dims else centred.T @ centred
    values, vectors = np.linalg.eigh(gram)  # ascending
    total = max(float(np.trace(gram)), float(np.finfo(np.float64).tiny))
    axes, shares = np.zeros((2, dims)), np.zeros(2)
    for k, (value, vector) in enumerate(zip(values[::-1][:2], vectors.T[::-1][:2], strict=True)):
        if value > 1e-9 * total:  # the rest is rounding
            axis = centred.T @ vector / np.sqrt(value) if n <= dims else vector
            axes[k] = axis * np.sign(axis[np.argmax(np.abs(axis))])
            shares[k] = value / total
    return Plane(origin, axes.astype(np.float32), shares)


@dataclass(frozen=True)
class Map:
    """Some rows of a feature, by position: `rows` (n,) int64, ascending; and where they lie: `points` (n,2)."""

    rows: NDArray[np.int64]
    points: NDArray[np.float32]
    plane: Plane


def draw_map(file: FeatureFile, *, size: int = POINTS, seed: int = 0) -> Map:
    """A map of at most `size` rows of a file, drawn by `seed`. Raises OutputError for a damaged file."""
    rows = drawn_rows(file, size=size, seed=seed)
    vectors = unit_rows(file, rows)
    laid = plane(vectors)
    return Map(rows, laid(vectors), laid)


def drawn_rows(file: FeatureFile, *, size: int = POINTS, seed: int = 0) -> NDArray[np.int64]:
    """The positions of at most `size` rows of a file, fewer where they would take more than SAMPLE_BYTES."""
    most = SAMPLE_BYTES // (4 * int(file.features.shape[-1]))
    return drawn(file.features.shape[0], min(size, max(2, most)), seed=seed)


def drawn(total: int, size: int, *, seed: int = 0) -> NDArray[np.int64]:
    """`size` of the positions 0 .. total-1, ascending, each as likely as any other; all where there are no more."""
    if total <= size:
        return np.arange(total)
    return np.sort(np.random.default_rng(seed).choice(total, size, replace=False, shuffle=False))


def unit_rows(file: FeatureFile, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Rows of a file at ascending positions (n,), of length 1: (n,D). Of ten crops kept apart, their mean.

    Their dot products are cosines. Rows of zeros, or that hold NaN or infinity, are zeros.
    """
    found = np.empty((len(rows), file.features.shape[-1]), np.float32)
    with schema.reading(file.path):
        for run in np.split(np.arange(len(rows)), np.flatnonzero(np.diff(rows) != 1) + 1):
            if len(run):
                found[run] = merged(file.features[rows[run[0]] : rows[run[-1]] + 1])
    return unit(found)


def merged(block: NDArray[np.floating]) -> NDArray[np.float32]:
    """Rows (n,D) as float32; (n,10,D) with the mean over their crops."""
    block = block.astype(np.float32, copy=False)
    return block.mean(axis=1) if block.ndim == 3 else block


def unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows (n,D) brought to length 1; those that have no direction become zeros."""
    scale = np.abs(rows).max(axis=1, keepdims=True, initial=0)  # squares of large values would overflow
    sound = np.isfinite(scale) & (scale > 0)
    rows = np.divide(rows, scale, where=sound, out=np.zeros_like(rows))
    norm = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, norm, where=norm > 0, out=rows)
