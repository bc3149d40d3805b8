"""Measures how similar matched rows are, and summarises blocks of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vfx.comparison.match_ids import CountedIds
from vfx.text import SHOWN


class RowMeasures(NamedTuple):
    """How similar pairs of rows are. Each is (n,) float64.

    Args:
        cosine: NaN where a row holds NaN or infinity. Of two rows of zeros it is 1, of one row of zeros and another 0.
        difference: The largest absolute difference of two values; NaN as in `cosine`.
        length_a: The Euclidean length of the row of `a`.
        length_b: The Euclidean length of the row of `b`.
    """

    cosine: NDArray[np.float64]
    difference: NDArray[np.float64]
    length_a: NDArray[np.float64]
    length_b: NDArray[np.float64]


class MeasuredRow(NamedTuple):
    """An id with the cosine and the largest absolute difference of its rows."""

    id: str
    cosine: float
    difference: float


class MeasuredBlock(NamedTuple):
    """Consecutive ids with the cosines (n,) and the largest absolute differences (n,) of their rows."""

    ids: list[str]
    cosine: NDArray[np.float64]
    difference: NDArray[np.float64]


def measure_rows(a: NDArray[Any], b: NDArray[Any]) -> RowMeasures:
    """Measure pairs of rows, with sums in float64.

    Args:
        a: (n, D) or (n, 10, D), of any floating type. Ten crops count as one row.
        b: The same shape.
    """
    x, y = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (a, b))
    with np.errstate(invalid="ignore"):  # infinity minus itself, and times 0
        xx, yy, xy = (np.einsum("nd,nd->n", *pair) for pair in ((x, x), (y, y), (x, y)))
        lengths = np.sqrt(xx * yy)
        cosine = np.divide(xy, lengths, out=(xx == yy).astype(np.float64), where=lengths != 0)
        difference = np.abs(x - y).max(axis=1)
    not_finite = ~np.isfinite(xx + yy)
    cosine[not_finite] = difference[not_finite] = np.nan
    return RowMeasures(cosine.clip(-1, 1), difference, np.sqrt(xx), np.sqrt(yy))


class RowSummary:
    """Summarises blocks of matched rows as they are read.

    Args:
        rows: How many rows will come.

    Attributes:
        cosine: (rows,) float64, see RowMeasures.
        difference: (rows,) float64.
        worst: The few rows with the least cosine, from the least.
        farthest: The row with the largest difference; None if no row is finite.
        not_finite: The rows of `a` and of `b` with NaN or infinity.
        least: (3,), the least length of a row in `a` and in `b`, and the least ratio of the length in `b` to that in
            `a`. Rows of zeros, NaN and infinity do not count; infinity if there are no others.
        largest: (3,), the largest of these.
        equal_as_float16: Whether the types differ, and all rows are equal once both are float16.
    """

    def __init__(self, rows: int) -> None:
        self.cosine = np.empty(rows)
        self.difference = np.empty(rows)
        self.worst: list[MeasuredRow] = []
        self.farthest: MeasuredRow | None = None
        self.not_finite = [CountedIds(), CountedIds()]
        self.least, self.largest = np.full(3, np.inf), np.full(3, -np.inf)
        self.equal_as_float16 = True
        self._added = 0

    def add(self, ids: list[str], a: NDArray[Any], b: NDArray[Any]) -> MeasuredBlock:
        """Measure and add the next rows of both features."""
        measures = measure_rows(a, b)
        part = slice(self._added, self._added + len(ids))
        self._added = part.stop
        self.cosine[part], self.difference[part] = measures.cosine, measures.difference
        for n, lengths in enumerate((measures.length_a, measures.length_b)):
            at = np.flatnonzero(~np.isfinite(lengths))
            self.not_finite[n] = self.not_finite[n].with_more([ids[i] for i in at])
        self._update_worst(ids, measures)
        self._update_lengths(measures)
        with np.errstate(over="ignore"):
            self.equal_as_float16 &= a.dtype != b.dtype and np.array_equal(a.astype(np.float16), b.astype(np.float16))
        return MeasuredBlock(ids, measures.cosine, measures.difference)

    def _update_worst(self, ids: list[str], measures: RowMeasures) -> None:
        order = np.lexsort((-measures.difference, measures.cosine))  # NaN comes last
        order = order[: np.count_nonzero(np.isfinite(measures.cosine))]
        if not len(order):
            return

        def row(i: int) -> MeasuredRow:
            return MeasuredRow(ids[i], float(measures.cosine[i]), float(measures.difference[i]))

        worst = [*self.worst, *map(row, order[:SHOWN])]
        self.worst = sorted(worst, key=lambda row: (row.cosine, -row.difference))[:SHOWN]
        farthest = row(int(np.nanargmax(measures.difference)))
        if self.farthest is None or farthest.difference > self.farthest.difference:
            self.farthest = farthest

    def _update_lengths(self, measures: RowMeasures) -> None:
        kept = np.isfinite(measures.cosine) & (measures.length_a > 0) & (measures.length_b > 0)
        if kept.any():
            a, b = measures.length_a[kept], measures.length_b[kept]
            lengths = np.stack([a, b, b / a])
            self.least = np.minimum(self.least, lengths.min(axis=1))
            self.largest = np.maximum(self.largest, lengths.max(axis=1))
