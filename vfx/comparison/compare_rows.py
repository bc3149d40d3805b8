"""Compares two features: the rows that share an id, times, failures and recipes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vfx.comparison.hints import find_hints
from vfx.comparison.inputs import ComparisonInput
from vfx.comparison.match_ids import CountedIds, MatchedRows, ids_at, match_ids
from vfx.comparison.row_measures import MeasuredBlock, MeasuredRow, RowSummary
from vfx.errors import UsageError
from vfx.features.rows import Failure
from vfx.outputs.recipe import Difference, differences

BLOCK_BYTES = 8 << 20  # of rows as float64
SAME_TIME = 1e-6  # s


class TimeDifferences(NamedTuple):
    """How the presentation times of matched rows differ.

    Args:
        differing: The number of rows with different times.
        largest: The largest difference, in seconds.
        unknown: The number of rows with a time in only one feature.
    """

    differing: int
    largest: float
    unknown: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """The result of a comparison. As text it is one line; `text_report` has all of it.

    Args:
        inputs: `a` and `b`, which are closed by now.
        matched: Which rows share an id.
        cosine: (n,) float64, of the matched rows in the order of `a`, see RowMeasures.
        difference: (n,) float64, their largest absolute differences.
        worst: The few rows with the least cosine, from the least.
        farthest: The row with the largest difference.
        not_finite: The rows of `a` and of `b` with NaN or infinity.
        times: None where an input has no times.
        failures: Those that only `a` has, and those that only `b` has.
        recipe: In what the provenances differ; None where an input has none.
        hints: What would explain the differences.
    """

    inputs: tuple[ComparisonInput, ComparisonInput]
    matched: MatchedRows
    cosine: NDArray[np.float64]
    difference: NDArray[np.float64]
    worst: list[MeasuredRow]
    farthest: MeasuredRow | None
    not_finite: tuple[CountedIds, CountedIds]
    times: TimeDifferences | None
    failures: tuple[list[Failure], list[Failure]]
    recipe: list[Difference] | None
    hints: list[str]

    def __str__(self) -> str:
        if not self.worst or not self.farthest:
            return "no row of numbers on both sides"
        return (
            f"{len(self.cosine)} rows compared: least cosine {self.worst[0].cosine:.8f},"
            f" largest difference {self.farthest.difference:.3g}"
        )

    def problems(self, *, cosine: float, difference: float | None = None, subset: bool = False) -> list[str]:
        """What exceeds the tolerances.

        Args:
            cosine: The least cosine that a row may have.
            difference: The largest absolute difference that a value may have; None for any.
            subset: Allow ids that only one of the two has, as long as they share some.

        Returns:
            A sentence for each problem, [] if there is none.
        """
        found = []
        unmatched = {"a": self.matched.only_a, "b": self.matched.only_b}
        if not len(self.cosine):
            found.append("they share no id: " + ", ".join(f"{name} has {ids}" for name, ids in unmatched.items()))
        elif not subset and any(ids.count for ids in unmatched.values()):
            only = [f"{ids} only in {name}" for name, ids in unmatched.items() if ids.count]
            found.append(f"ids: {', '.join(only)}; subset=true compares what both have")
        not_finite = zip("ab", self.not_finite, strict=True)
        found += [f"rows of {name} with NaN or infinity: {ids}" for name, ids in not_finite if ids.count]
        if self.worst and self.worst[0].cosine < cosine:
            low = int((self.cosine < cosine).sum())
            found.append(
                f"{low} of {len(self.cosine)} rows have a cosine below {cosine:g},"
                f" the least {self.worst[0].cosine:.6f} ({self.worst[0].id})"
            )
        if difference is not None and self.farthest and self.farthest.difference > difference:
            far = int((self.difference > difference).sum())
            found.append(
                f"{far} of {len(self.cosine)} rows have a value that differs by more than {difference:g},"
                f" at most by {self.farthest.difference:.3g} ({self.farthest.id})"
            )
        return found


def compare(
    a: ComparisonInput,
    b: ComparisonInput,
    *,
    on_block: Callable[[MeasuredBlock], None] = lambda block: None,
    block_bytes: int = BLOCK_BYTES,
) -> Comparison:
    """Compare two features. Rows are read in blocks, and only a few numbers for each stay in memory.

    Args:
        a: One feature.
        b: The other.
        on_block: Gets each block of measured rows, in the order of `a`.
        block_bytes: The size of a block of rows as float64.

    Raises:
        UsageError: The levels or the shapes of rows differ.
        OutputError: An input is damaged.
    """
    _check(a, b)
    matched = match_ids(a.ids, b.ids, (a.shape[0], b.shape[0]))
    ids = ids_at(a.ids, matched.a, a.shape[0])
    summary = RowSummary(len(matched.a))
    size = max(1, block_bytes // (8 * int(np.prod(a.shape[1:]))))
    for start in range(0, len(matched.a), size):
        part = slice(start, start + size)
        rows_a, rows_b = a.read(matched.a[part]), b.read(matched.b[part])
        on_block(summary.add(list(itertools.islice(ids, len(rows_a))), rows_a, rows_b))
    return Comparison(
        inputs=(a, b),
        matched=matched,
        cosine=summary.cosine,
        difference=summary.difference,
        worst=summary.worst,
        farthest=summary.farthest,
        not_finite=(summary.not_finite[0], summary.not_finite[1]),
        times=_time_differences(a, b, matched),
        failures=_failures(a, b),
        recipe=None if a.provenance is None or b.provenance is None else differences(a.provenance, b.provenance),
        hints=find_hints(a, b, matched, summary),
    )


def _check(a: ComparisonInput, b: ComparisonInput) -> None:
    if a.level and b.level and a.level != b.level:
        raise UsageError(
            f"a ({a.path}) is of {a.level} level, and b ({b.path}) of {b.level} level: no row has its like; pool"
            " the frame level first (python -m vfx.pool)"
        )
    if a.shape[1:] != b.shape[1:]:
        shapes = [" x ".join(map(str, each.shape[1:])) for each in (a, b)]
        crops = "; one keeps ten crops apart, and the other does not" if len(a.shape) != len(b.shape) else ""
        raise UsageError(
            f"rows of a ({a.path}) have {shapes[0]} values, and rows of b ({b.path}) {shapes[1]}{crops}:"
            " features of one model alone can be compared"
        )


def _time_differences(a: ComparisonInput, b: ComparisonInput, matched: MatchedRows) -> TimeDifferences | None:
    if a.seconds is None or b.seconds is None:
        return None
    x, y = a.seconds[matched.a], b.seconds[matched.b]
    apart = np.abs(x - y)
    return TimeDifferences(
        int((apart > SAME_TIME).sum()),
        float(np.fmax.reduce(apart, initial=0)),
        int((np.isnan(x) != np.isnan(y)).sum()),
    )


def _failures(a: ComparisonInput, b: ComparisonInput) -> tuple[list[Failure], list[Failure]]:
    if a.failures is None or b.failures is None:
        return [], []
    x, y = set(a.failures), set(b.failures)
    return sorted(x - y), sorted(y - x)
