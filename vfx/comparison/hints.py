"""Finds what would explain all differences between two features, such as another scale or shifted frame indices."""

from __future__ import annotations

import numpy as np

from vfx.comparison.inputs import ComparisonInput
from vfx.comparison.match_ids import MatchedRows, index_offset
from vfx.comparison.row_measures import RowSummary, measure_rows

MIN_COSINE = 0.9999  # rows with at least this cosine count as the same
TOLERANCE = 1e-3  # relative; lengths that vary less count as equal
SAMPLE = 256  # rows that are compared in the order of the files


def find_hints(a: ComparisonInput, b: ComparisonInput, matched: MatchedRows, summary: RowSummary) -> list[str]:
    """What holds for every row and would explain the differences, a sentence each."""
    return [*_value_hints(summary), *_order_hints(a, b, matched, summary)]


def _all_same(summary: RowSummary) -> bool:
    """Whether all matched rows have the same direction."""
    return bool(len(summary.cosine) and (summary.cosine >= MIN_COSINE).all())


def _value_hints(summary: RowSummary) -> list[str]:
    """How the rows differ although their directions are the same."""
    if not _all_same(summary) or not summary.farthest or not summary.farthest.difference:
        return []
    hints = ["one is the other rounded to float16: they are equal once both are"] if summary.equal_as_float16 else []
    if np.isinf(summary.least).any():  # only rows of zeros
        return hints
    least_cosine = f"(least cosine {summary.cosine.min():.6f})"
    normalized = (np.abs(summary.least - 1) <= TOLERANCE) & (np.abs(summary.largest - 1) <= TOLERANCE)
    if normalized[0] != normalized[1]:
        one, other = "ab" if normalized[0] else "ba"
        hints.append(f"rows of {one} have length 1, rows of {other} have not; brought to it they agree {least_cosine}")
    elif not normalized[2] and summary.largest[2] - summary.least[2] <= TOLERANCE * summary.least[2]:
        scale = summary.largest[2] / 2 + summary.least[2] / 2
        hints.append(f"every row of b is {scale:.6g} times that of a, and so they agree {least_cosine}")
    return hints


def _order_hints(a: ComparisonInput, b: ComparisonInput, matched: MatchedRows, summary: RowSummary) -> list[str]:
    """Whether rows at the same position are the same, although rows with the same id are not."""
    rows = a.shape[0]
    if not rows or rows != b.shape[0] or (_all_same(summary) and len(matched.a) == rows):
        return []
    sample = np.unique(np.linspace(0, rows - 1, SAMPLE).astype(np.int64))
    least = measure_rows(a.read(sample), b.read(sample)).cosine.min()
    if not least >= MIN_COSINE:
        return []
    agree = f"taken in the order of the files, rows agree ({len(sample)} tried, least cosine {least:.6f})"
    offset = index_offset(a.ids, b.ids)
    if offset is None:
        return [f"{agree}: their ids are others, or in another order"]
    return [f"{agree}: every frame index of b is {abs(offset)} {'above' if offset > 0 else 'below'} that of a"]
