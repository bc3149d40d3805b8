"""Exact nearest neighbours by cosine, in one pass over the rows of a feature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfx.analysis.rows import average_crops, normalize
from vfx.features.feature_file import FeatureFile
from vfx.pooling import functions
from vfx.pooling.pool_rows import pool_videos

BLOCK_ROWS = 8192  # that are compared at once
Span = tuple[int, int]  # rows [start, stop)
NO_ROWS: Span = (0, 0)


@dataclass(frozen=True)
class Hit:
    """A row that was found, by its position in the file, and its cosine to the query."""

    row: int
    cosine: float


class TopK:
    """Keeps the best `k` of the rows that are added. Of equal cosines, the first row counts as better.

    Args:
        k: How many to keep.
        offsets: (V+1,), those of a feature file, to keep only the best row of each video.
    """

    def __init__(self, k: int, offsets: NDArray[np.int64] | None = None) -> None:
        self._k = k
        self._offsets = offsets
        self._rows = np.empty(0, np.int64)
        self._cosines = np.empty(0, np.float32)

    def add(self, rows: NDArray[np.int64], cosines: NDArray[np.float32]) -> None:
        """Add rows, (n,), ascending, each at most once, and their cosines; -inf for rows that must not be found."""
        least = self._cosines[-1] if len(self._rows) == self._k else -np.inf
        better = cosines > least
        rows = np.concatenate([self._rows, rows[better]])
        cosines = np.concatenate([self._cosines, cosines[better]])
        order = np.lexsort((rows, -cosines))
        if self._offsets is not None:
            videos = np.searchsorted(self._offsets, rows[order], "right")
            order = order[np.sort(np.unique(videos, return_index=True)[1])]
        self._rows, self._cosines = rows[order[: self._k]], cosines[order[: self._k]]

    @property
    def hits(self) -> list[Hit]:
        """The best rows of those added so far, the nearest first."""
        cosines = np.clip(self._cosines, -1, 1).tolist()
        return [Hit(row, cosine) for row, cosine in zip(self._rows.tolist(), cosines, strict=True)]


def cosines(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The cosines between L2-normalised queries (Q, D) and rows (n, D): (Q, n), -inf for rows that are zero."""
    found = queries @ rows.T
    found[:, ~rows.any(axis=1)] = -np.inf
    return found


def nearest(
    file: FeatureFile,
    queries: NDArray[np.floating],
    *,
    k: int,
    without: Sequence[Span] = (),
    offsets: NDArray[np.int64] | None = None,
    block_rows: int = BLOCK_ROWS,
) -> list[list[Hit]]:
    """Find the `k` rows of a file that are nearest to each query.

    Args:
        file: The file. Of ten crops kept apart, the mean is compared.
        queries: (Q, D).
        k: How many rows to find for each query; fewer where the file has fewer.
        without: For each query the rows that it must not find, such as those of its own video.
        offsets: The file's, to find at most one row of each video.
        block_rows: How many rows to compare at once.

    Returns:
        For each query its hits, the nearest first.

    Raises:
        OutputError: The file is damaged.
    """
    units = normalize(np.array(queries, np.float32))
    best = [TopK(k, offsets) for _ in units]
    first = 0
    for block in file.block_reader().blocks(0, file.features.shape[0]):
        for begin in range(0, len(block), block_rows):
            found = cosines(units, normalize(average_crops(block[begin : begin + block_rows])))
            rows = np.arange(first, first + found.shape[1])
            for (start, stop), own in zip(without, found, strict=bool(without)):
                own[max(0, start - first) : max(0, stop - first)] = -np.inf
            for each, own in zip(best, found, strict=True):
                each.add(rows, own)
            first += len(rows)
    return [each.hits for each in best]


def nearest_videos(file: FeatureFile, query: NDArray[np.floating], *, k: int, without: int | None = None) -> list[Hit]:
    """Frame level: find the `k` videos whose mean is nearest to a query, as a search in `mean_<feature>` would.

    Args:
        file: The file.
        query: (D,).
        k: How many videos to find.
        without: A video that must not be found.

    Returns:
        The hits, whose rows are positions in `file.videos`, the nearest first.

    Raises:
        OutputError: The file is damaged.
    """
    units = normalize(np.array(query, np.float32)[None])
    best = TopK(k)
    for n, pooled in enumerate(pool_videos(file, functions.mean)):
        if n != without:
            row = normalize(average_crops(pooled.features[None]))
            best.add(np.array([n]), cosines(units, row)[0])
    return best.hits
