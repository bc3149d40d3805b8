"""How large the feature file of an extraction would be."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

CROPS = 10  # of oversample=keep, which are rows' second axis
# Of a feature file beside its values, as measured with ids of some ten characters.
ROW_BYTES, FILE_BYTES = 75, 400_000


def feature_shape(rows: int, dim: int, oversample: bool | str) -> tuple[int, ...]:
    """The shape of the features: (rows, dim), or (rows, 10, dim) where the crops are kept."""
    return (rows, CROPS, dim) if oversample == "keep" else (rows, dim)


def file_bytes(shape: Sequence[int], dtype: str) -> int:
    """About the size in bytes of a feature file with features of this shape and NumPy dtype."""
    return FILE_BYTES + shape[0] * ROW_BYTES + np.dtype(dtype).itemsize * math.prod(shape)
