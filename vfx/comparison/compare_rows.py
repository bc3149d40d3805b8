"""Two features compared: how alike the rows of one id are, what one side alone has, and what would explain it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vfx.comparison.inputs import ComparisonInput
from vfx.comparison.match_ids import Listed, Pairing, pair, picked, shift
from vfx.errors import UsageError
from vfx.features.rows import Failure
from vfx.outputs.recipe import Difference, differences

BLOCK_BYTES = 8 << 20  # of rows as float64
SHOWN = 5  # how many rows are named
ALIKE = 0.9999  # the least cosine of rows that a hint calls the same
EVEN = 1e-3  # by how much lengths may vary that a hint calls equal
TRIED = 256  # rows that a hint about their order is tried on
SAME_TIME = 1e-6  # s


class Numbers(NamedTuple):
    """How alike rows are, (n,) float64 each: cosine, largest absolute difference, and the lengths on either side.

    A row that holds NaN or infinity on either side has NaN for cosine and difference. Two rows of zeros have cosine
    1, and one beside another row 0.
    """

    cosine: NDArray[np.float64]
    difference: NDArray[np.float64]
    length_a: NDArray[np.float64]
    length_b: NDArray[np.float64]


class Row(NamedTuple):
    id: str
    cosine: float
    difference: float


class Block(NamedTuple):
    """Rows that follow each other: ids, cosines (n,) and largest absolute differences (n,)."""

    ids: list[str]
    cosine: NDArray[np.float64]
    difference: NDArray[np.float64]


class Times(NamedTuple):
    """How many rows differ in `seconds`, by how much at most, and how many have them on one side alone."""

    differing: int
    largest: float
    unknown: int


@dataclass(frozen=True, eq=False)
class Comparison:
    """What was found. As text it is one line; `report` of vfx/comparison/text_report.py tells all.

    `sides`: a and b, closed by now. `cosine`, `difference`: (n,) float64, of the rows that both have, in the order of
    a, see Numbers. `worst`: those of the least cosine, from the least; `farthest`: that of the largest difference.
    `damaged`: rows of a and of b with NaN or infinity. `times` and `recipe` (key, value in a, value in b) are None
    where a side does not tell. `failures`: those that a alone has, and b alone.
    """

    sides: tuple[ComparisonInput, ComparisonInput]
    pairing: Pairing
    cosine: NDArray[np.float64]
    difference: NDArray[np.float64]
    worst: list[Row]
    farthest: Row | None
    damaged: tuple[Listed, Listed]
    times: Times | None
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
        """What is beyond tolerance; nothing if all is within.

        `cosine`: the least that a row may have. `difference`: the largest that a value may have; None: any. `subset`:
        ids that one side alone has are no problem, as long as there are some that both have.
        """
        found = []
        alone = {"a": self.pairing.only_a, "b": self.pairing.only_b}
        if not len(self.cosine):
            found.append("they share no id: " + ", ".join(f"{side} has {ids}" for side, ids in alone.items()))
        elif not subset and any(ids.count for ids in alone.values()):
            told = [f"{ids} only in {side}" for side, ids in alone.items() if ids.count]
            found.append(f"ids: {', '.join(told)}; subset=true compares what both have")
        damaged = zip("ab", self.damaged, strict=True)
        found += [f"rows of {side} with NaN or infinity: {ids}" for side, ids in damaged if ids.count]
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
    a: ComparisonInput, b: ComparisonInput, *, on_block: Callable[[Block], None] = lambda block: None
) -> Comparison:
    """Compare the rows that two features have under one id, (D,) or all of (10,D) as one.

    They are read in blocks; what stays in memory is some numbers a row. `on_block` is handed each block of rows, in
    the order of `a`. Raises UsageError where levels or shapes cannot be compared.
    """
    _check(a, b)
    pairing = pair(a.ids, b.ids, (a.shape[0], b.shape[0]))
    ids = picked(a.ids, pairing.a, a.shape[0])
    meter = _Meter(len(pairing.a))
    size = max(1, BLOCK_BYTES // (8 * int(np.prod(a.shape[1:]))))
    for start in range(0, len(pairing.a), size):
        part = slice(start, start + size)
        rows_a, rows_b = a.read(pairing.a[part]), b.read(pairing.b[part])
        on_block(meter.add(list(itertools.islice(ids, len(rows_a))), rows_a, rows_b))
    return Comparison(
        sides=(a, b),
        pairing=pairing,
        cosine=meter.cosine,
        difference=meter.difference,
        worst=meter.worst,
        farthest=meter.farthest,
        damaged=(meter.damaged[0], meter.damaged[1]),
        times=_times(a, b, pairing),
        failures=_failures(a, b),
        recipe=None if a.provenance is None or b.provenance is None else differences(a.provenance, b.provenance),
        hints=[*meter.hints(), *_hints_of_order(a, b, pairing, meter)],
    )


def numbers(a: NDArray[Any], b: NDArray[Any]) -> Numbers:
    """`a`, `b`: (n,D) or (n,10,D), of any floating type. Sums are float64."""
    x, y = (rows.reshape(len(rows), -1).astype(np.float64) for rows in (a, b))
    with np.errstate(invalid="ignore"):  # infinity minus itself, and times 0
        xx, yy, xy = (np.einsum("nd,nd->n", *pair) for pair in ((x, x), (y, y), (x, y)))
        lengths = np.sqrt(xx * yy)
        cosine = np.divide(xy, lengths, out=(xx == yy).astype(np.float64), where=lengths != 0)
        difference = np.abs(x - y).max(axis=1)
    damaged = ~np.isfinite(xx + yy)
    cosine[damaged] = difference[damaged] = np.nan
    return Numbers(cosine.clip(-1, 1), difference, np.sqrt(xx), np.sqrt(yy))


class _Meter:
    """Takes the rows of both sides block by block, and keeps what is told of them in the end."""

    def __init__(self, rows: int) -> None:
        self.cosine = np.empty(rows)
        self.difference = np.empty(rows)
        self.worst: list[Row] = []
        self.farthest: Row | None = None
        self.damaged = [Listed(), Listed()]
        self._at = 0
        # least and largest length in a, in b, and of b's in a's
        self._least, self._largest = np.full(3, np.inf), np.full(3, -np.inf)
        self._halved = True  # whether they are equal as float16, of two types

    def add(self, ids: list[str], a: NDArray[Any], b: NDArray[Any]) -> Block:
        found = numbers(a, b)
        part = slice(self._at, self._at + len(ids))
        self._at = part.stop
        self.cosine[part], self.difference[part] = found.cosine, found.difference
        self._rank(ids, found)
        for side, lengths in enumerate((found.length_a, found.length_b)):
            at = np.flatnonzero(~np.isfinite(lengths))
            self.damaged[side] = self.damaged[side].and_then([ids[i] for i in at])
        self._measure(found)
        with np.errstate(over="ignore"):
            self._halved &= a.dtype != b.dtype and np.array_equal(a.astype(np.float16), b.astype(np.float16))
        return Block(ids, found.cosine, found.difference)

    def _rank(self, ids: list[str], found: Numbers) -> None:
        order = np.lexsort((-found.difference, found.cosine))  # NaN comes last
        order = order[: np.count_nonzero(np.isfinite(found.cosine))]
        if not len(order):
            return
        rows = [Row(ids[i], float(found.cosine[i]), float(found.difference[i])) for i in order[:SHOWN]]
        self.worst = sorted([*self.worst, *rows], key=lambda row: (row.cosine, -row.difference))[:SHOWN]
        i = int(np.nanargmax(found.difference))
        if self.farthest is None or found.difference[i] > self.farthest.difference:
            self.farthest = Row(ids[i], float(found.cosine[i]), float(found.difference[i]))

    def _measure(self, found: Numbers) -> None:
        kept = np.isfinite(found.cosine) & (found.length_a > 0) & (found.length_b > 0)
        if kept.any():
            a, b = found.length_a[kept], found.length_b[kept]
            lengths = np.stack([a, b, b / a])
            self._least = np.minimum(self._least, lengths.min(axis=1))
            self._largest = np.maximum(self._largest, lengths.max(axis=1))

    @property
    def alike(self) -> bool:
        """Whether every row has the direction of its other."""
        return bool(len(self.cosine) and (self.cosine >= ALIKE).all())

    def hints(self) -> list[str]:
        """What holds for every row that was compared, and tells where the differences come from."""
        if not self.alike or not self.farthest or not self.farthest.difference:
            return []
        found = ["one is the other rounded to float16: they are equal once both are"] if self._halved else []
        if np.isinf(self._least).any():  # rows of zeros alone
            return found
        told = f"(least cosine {self.cosine.min():.6f})"
        ones = (np.abs(self._least - 1) <= EVEN) & (np.abs(self._largest - 1) <= EVEN)
        if ones[0] != ones[1]:
            one, other = "ab" if ones[0] else "ba"
            found.append(f"rows of {one} have length 1, rows of {other} have not; brought to it they agree {told}")
        elif not ones[2] and self._largest[2] - self._least[2] <= EVEN * self._least[2]:
            scale = self._largest[2] / 2 + self._least[2] / 2
            found.append(f"every row of b is {scale:.6g} times that of a, and so they agree {told}")
        return found


def _check(a: ComparisonInput, b: ComparisonInput) -> None:
    if a.level and b.level and a.level != b.level:
        raise UsageError(
            f"a ({a.path}) is of {a.level} level, and b ({b.path}) of {b.level} level: no row has its like; pool"
            " the frame level first (python -m vfx.pool)"
        )
    if a.shape[1:] != b.shape[1:]:
        shapes = [" x ".join(map(str, side.shape[1:])) for side in (a, b)]
        crops = "; one keeps ten crops apart, and the other does not" if len(a.shape) != len(b.shape) else ""
        raise UsageError(
            f"rows of a ({a.path}) have {shapes[0]} values, and rows of b ({b.path}) {shapes[1]}{crops}:"
            " features of one model alone can be compared"
        )


def _times(a: ComparisonInput, b: ComparisonInput, pairing: Pairing) -> Times | None:
    if a.seconds is None or b.seconds is None:
        return None
    x, y = a.seconds[pairing.a], b.seconds[pairing.b]
    apart = np.abs(x - y)
    return Times(
        int((apart > SAME_TIME).sum()),
        float(np.fmax.reduce(apart, initial=0)),
        int((np.isnan(x) != np.isnan(y)).sum()),
    )


def _failures(a: ComparisonInput, b: ComparisonInput) -> tuple[list[Failure], list[Failure]]:
    if a.failures is None or b.failures is None:
        return [], []
    x, y = set(a.failures), set(b.failures)
    return sorted(x - y), sorted(y - x)


def _hints_of_order(a: ComparisonInput, b: ComparisonInput, pairing: Pairing, meter: _Meter) -> list[str]:
    """Whether the rows agree where they stand, when under their ids they do not."""
    rows = a.shape[0]
    if not rows or rows != b.shape[0] or (meter.alike and len(pairing.a) == rows):
        return []
    tried = np.unique(np.linspace(0, rows - 1, TRIED).astype(np.int64))
    least = numbers(a.read(tried), b.read(tried)).cosine.min()
    if not least >= ALIKE:
        return []
    told = f"taken in the order of the files, rows agree ({len(tried)} tried, least cosine {least:.6f})"
    by = shift(a.ids, b.ids)
    if by is None:
        return [f"{told}: their ids are others, or in another order"]
    return [f"{told}: every frame index of b is {abs(by)} {'above' if by > 0 else 'below'} that of a"]
