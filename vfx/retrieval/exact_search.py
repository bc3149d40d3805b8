"""The rows of a feature that are nearest to a query by cosine: exact, in one pass that holds a block of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfx.analysis.pca_map import merged, unit
from vfx.features.feature_file import FeatureFile
from vfx.pooling import functions
from vfx.pooling.pool_rows import pool_videos

AT_ONCE = 8192  # rows that are compared at once
Span = tuple[int, int]  # rows [start, stop)
NOTHING: Span = (0, 0)


@dataclass(frozen=True)
class Hit:
    """A row of a feature, by position, and its cosine to the query."""

    row: int
    cosine: float


class Best:
    """The best `k` of rows that are offered in any order, of equal ones the first; with `offsets`, (V+1,) as those of a
    feature file, the best row of each of the best `k` videos.
    """

    def __init__(self, k: int, offsets: NDArray[np.int64] | None = None) -> None:
        self._k = k
        self._offsets = offsets
        self._rows = np.empty(0, np.int64)
        self._cosines = np.empty(0, np.float32)

    def offer(self, rows: NDArray[np.int64], cosines: NDArray[np.float32]) -> None:
        """Rows (n,), ascending, that were not offered before, with their cosines; -inf for those not to be found."""
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
        """Those of now, the nearest first."""
        cosines = np.clip(self._cosines, -1, 1).tolist()
        return [Hit(row, cosine) for row, cosine in zip(self._rows.tolist(), cosines, strict=True)]


def cosines(queries: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Between queries (Q,D) and rows (n,D), both of length 1: (Q,n); -inf for rows of zeros, which are like nothing."""
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
) -> list[list[Hit]]:
    """The `k` rows nearest to each of the queries (Q,D), fewer where there are no more, nearest first.

    `without`: rows that each query must not find, such as those of its own video. `offsets`: those of the file, for at
    most one row a video. Of ten crops kept apart the mean is compared. Raises OutputError for a damaged file.
    """
    units = unit(np.array(queries, np.float32))
    best = [Best(k, offsets) for _ in units]
    at = 0
    for block in file.block_reader().blocks(0, file.features.shape[0]):
        for begin in range(0, len(block), AT_ONCE):
            found = cosines(units, unit(merged(block[begin : begin + AT_ONCE])))
            rows = np.arange(at, at + found.shape[1])
            for (start, stop), mine in zip(without, found, strict=bool(without)):
                mine[max(0, start - at) : max(0, stop - at)] = -np.inf
            for each, mine in zip(best, found, strict=True):
                each.offer(rows, mine)
            at += len(rows)
    return [each.hits for each in best]


def nearest_videos(file: FeatureFile, query: NDArray[np.floating], *, k: int, without: int | None = None) -> list[Hit]:
    """Frame level: the `k` videos the means of whose frames are nearest to a query (D,), by their position among
    `file.videos`; the same as the rows of `mean_<feature>`, without that it has to be made.
    """
    units = unit(np.array(query, np.float32)[None])
    best = Best(k)
    for n, pooled in enumerate(pool_videos(file, functions.mean)):
        if n != without:
            row = unit(merged(pooled.row[None]))
            best.offer(np.array([n]), cosines(units, row)[0])
    return best.hits
