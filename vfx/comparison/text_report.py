"""A comparison as text for a terminal: tables in columns, then what would explain them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vfx.comparison.compare_rows import Comparison
from vfx.text import SHOWN, table

QUANTILES = {"least": 0.0, "1 %": 0.01, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "99 %": 0.99, "largest": 1.0}


def report(found: Comparison) -> str:
    """All that a comparison found, several lines."""
    parts = [_sides(found), _rows(found), _numbers(found), _worst(found), _recipe(found), _hints(found)]
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part)))


def _sides(found: Comparison) -> Iterator[str]:
    a, b = found.sides
    yield f"a  {a.path}"
    yield f"b  {b.path}"
    yield ""
    facts: dict[str, Sequence[object]] = {
        "form": (a.form, b.form),
        "feature": (a.feature, b.feature),
        "level": (a.level or "", b.level or ""),
        "rows": (" x ".join(map(str, a.shape)), " x ".join(map(str, b.shape))),
        "type": (a.dtype, b.dtype),
        "ids only here": (found.pairing.only_a.count, found.pairing.only_b.count),
        "ids repeated": found.pairing.repeated,
        "NaN or infinity": (found.damaged[0].count, found.damaged[1].count),
        "failures only here": (len(found.failures[0]), len(found.failures[1])),
    }
    yield from table([("", "a", "b"), *([key, *map(str, values)] for key, values in facts.items())])


def _rows(found: Comparison) -> Iterator[str]:
    rows = f"{len(found.cosine)} rows in both"
    yield rows if not len(found.cosine) else f"{rows}, in {'the same' if found.pairing.in_order else 'another'} order"
    if found.times is not None:
        times = found.times
        line = f"seconds differ in {times.differing} of them"
        yield (
            line
            + (f", at most by {times.largest:.6g}" if times.differing else "")
            + (f"; {times.unknown} have them on one side alone" if times.unknown else "")
        )
    for side, ids in zip("ab", (found.pairing.only_a, found.pairing.only_b), strict=True):
        if ids.count:
            yield f"only in {side}: {ids}"
    for side, ids in zip("ab", found.damaged, strict=True):
        if ids.count:
            yield f"NaN or infinity in {side}: {ids}"
    for side, failures in zip("ab", found.failures, strict=True):
        for failure in failures[:SHOWN]:
            yield f"failed in {side} only: {': '.join(failure)}"
        if len(failures) > SHOWN:
            yield f"failed in {side} only: {len(failures) - SHOWN} more"


def _numbers(found: Comparison) -> Iterator[str]:
    if not found.worst:
        return
    rows = [("", *QUANTILES, "mean")]
    for name, values, form in [("cosine", found.cosine, "%.8f"), ("max abs", found.difference, "%.3g")]:
        finite = values[np.isfinite(values)]
        numbers = [*np.quantile(finite, list(QUANTILES.values())), finite.mean()]
        rows.append((name, *(form % number for number in numbers)))
    yield from table(rows)


def _worst(found: Comparison) -> Iterator[str]:
    if not found.farthest or not found.farthest.difference:
        return
    rows = found.worst if found.farthest in found.worst else [*found.worst, found.farthest]
    yield from table(
        [("worst rows", "cosine", "max abs"), *((id, f"{cosine:.8f}", f"{far:.3g}") for id, cosine, far in rows)]
    )


def _recipe(found: Comparison) -> Iterator[str]:
    if found.recipe:
        yield from table([("differs", "a", "b"), *((key, str(x), str(y)) for key, x, y in found.recipe)])
    elif found.recipe is not None:
        yield "weights, versions and recipe: the same"
    for name, side in zip("ab", found.sides, strict=True):
        if side.provenance is None:
            yield f"recipe: {name} is a {side.form}, which keeps none"


def _hints(found: Comparison) -> Iterator[str]:
    yield from (f"hint: {hint}" for hint in found.hints)
