"""Writes a comparison as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vfx.comparison.compare_rows import Comparison
from vfx.text import SHOWN, table

QUANTILES = {"least": 0.0, "1 %": 0.01, "5 %": 0.05, "median": 0.5, "95 %": 0.95, "99 %": 0.99, "largest": 1.0}


def text_report(found: Comparison) -> str:
    """All that a comparison found, in several lines."""
    parts = [_inputs(found), _rows(found), _quantiles(found), _worst(found), _recipe(found), _hints(found)]
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part)))


def _inputs(found: Comparison) -> Iterator[str]:
    a, b = found.inputs
    yield f"a  {a.path}"
    yield f"b  {b.path}"
    yield ""
    facts: dict[str, Sequence[object]] = {
        "form": (a.form, b.form),
        "feature": (a.feature, b.feature),
        "level": (a.level or "", b.level or ""),
        "rows": (" x ".join(map(str, a.shape)), " x ".join(map(str, b.shape))),
        "type": (a.dtype, b.dtype),
        "ids only here": (found.matched.only_a.count, found.matched.only_b.count),
        "ids repeated": found.matched.repeated,
        "NaN or infinity": (found.not_finite[0].count, found.not_finite[1].count),
        "failures only here": (len(found.failures[0]), len(found.failures[1])),
    }
    yield from table([("", "a", "b"), *([key, *map(str, values)] for key, values in facts.items())])


def _rows(found: Comparison) -> Iterator[str]:
    rows = f"{len(found.cosine)} rows in both"
    yield rows if not len(found.cosine) else f"{rows}, in {'the same' if found.matched.same_order else 'another'} order"
    if found.times is not None:
        times = found.times
        line = f"seconds differ in {times.differing} of them"
        yield (
            line
            + (f", at most by {times.largest:.6g}" if times.differing else "")
            + (f"; {times.unknown} have them on one side alone" if times.unknown else "")
        )
    for name, ids in zip("ab", (found.matched.only_a, found.matched.only_b), strict=True):
        if ids.count:
            yield f"only in {name}: {ids}"
    for name, ids in zip("ab", found.not_finite, strict=True):
        if ids.count:
            yield f"NaN or infinity in {name}: {ids}"
    for name, failures in zip("ab", found.failures, strict=True):
        for failure in failures[:SHOWN]:
            yield f"failed in {name} only: {': '.join(failure)}"
        if len(failures) > SHOWN:
            yield f"failed in {name} only: {len(failures) - SHOWN} more"


def _quantiles(found: Comparison) -> Iterator[str]:
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
    for name, each in zip("ab", found.inputs, strict=True):
        if each.provenance is None:
            yield f"recipe: {name} is a {each.form}, which keeps none"


def _hints(found: Comparison) -> Iterator[str]:
    yield from (f"hint: {hint}" for hint in found.hints)
