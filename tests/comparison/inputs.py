"""Features made of arrays, to be compared."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vfx.comparison.inputs import ComparisonInput

RANDOM = np.random.default_rng(0)
ROWS = RANDOM.random((40, 8), np.float32)
NAN, INF = float("nan"), float("inf")


def an_input(rows: NDArray[Any], ids: list[str] | None = None, **told: Any) -> ComparisonInput:
    names = ids or [f"v_{i}" for i in range(len(rows))]
    return ComparisonInput(
        Path("f"), "vfx", rows.shape, rows.dtype.name, lambda: iter(names), lambda at: rows[at], **told
    )
