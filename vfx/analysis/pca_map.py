"""A map of a feature: PCA of a sample of its L2-normalised rows, so that similar rows lie close together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfx.analysis.rows import read_normalized, sample
from vfx.features.reader import FeatureReader

SAMPLE_BYTES = 64 << 20  # of the sampled rows, as float32


@dataclass(frozen=True)
class Plane:
    """The plane of the first two principal components of some rows.

    Args:
        origin: (D,), the mean of the rows.
        axes: (2, D), orthonormal. The value of largest size of each is positive, so that no map is mirrored.
        shares: (2,), the share of the variance along each axis.
    """

    origin: NDArray[np.float32]
    axes: NDArray[np.float32]
    shares: NDArray[np.float64]

    def project(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Project rows (n, D) onto the plane: (n, 2)."""
        return np.asarray((rows - self.origin) @ self.axes.T, np.float32)


def fit_plane(rows: NDArray[np.float32]) -> Plane:
    """The first two principal components of rows (n, D), n at least 1.

    They are exact: the eigenvectors of the smaller of the Gram matrices. Where rows vary in fewer than two directions,
    the remaining axes and shares are 0.
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
    """Sampled rows of a file on a plane.

    Args:
        rows: (n,) int64, their positions in the file, ascending.
        points: (n, 2), where they lie on the plane.
        plane: The plane.
    """

    rows: NDArray[np.int64]
    points: NDArray[np.float32]
    plane: Plane


def draw_map(file: FeatureReader, *, size: int = 2000, seed: int = 0) -> Map:
    """Make a map of at most `size` rows of a file, drawn by `seed`; of fewer where they would take more than
    SAMPLE_BYTES.

    Raises:
        OutputError: The file is damaged.
    """
    total, dims = int(file.features.shape[0]), int(file.features.shape[-1])
    rows = sample(total, min(size, max(2, SAMPLE_BYTES // (4 * dims))), seed=seed)
    vectors = read_normalized(file, rows)
    plane = fit_plane(vectors)
    return Map(rows, plane.project(vectors), plane)
