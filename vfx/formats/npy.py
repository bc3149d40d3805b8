"""NumPy's own: `features.npy`, which `numpy.load(..., mmap_mode="r")` opens at once, and `ids.txt`, one a line.

Source of the header: numpy.lib.format.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np

from vfx.features.reader import FeatureReader
from vfx.formats.base import blocks

NAME = "npy"
FILES: tuple[str, ...] = ("features.npy", "ids.txt")
CROPS = True


def write(file: FeatureReader, target: Path) -> None:
    target.mkdir()
    dtype = file.features.dtype.newbyteorder("<")
    with (
        (target / "features.npy").open("wb") as matrix,
        (target / "ids.txt").open("w", encoding="utf-8", newline="") as ids,
    ):
        write_header(matrix, dtype, file.features.shape)
        for block in blocks(file):
            matrix.write(np.ascontiguousarray(block.features, dtype).data)
            ids.writelines(f"{id}\n" for id in block.ids)


def write_header(out: IO[bytes], dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Write the header of a .npy file, which stands before the values."""
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(out, header)
