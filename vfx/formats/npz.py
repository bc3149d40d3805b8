"""One `<video id>.npz` for each video, with `features` (T, D), `index` (T,), `seconds` (T,) and `ids` (T,).

At the other levels one `<id>.npz` for each row, with `features` (D,) and `ids` ().
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from vfx.features.reader import FeatureReader
from vfx.formats.base import blocks, check_id, frames_by_video, ranges
from vfx.formats.npy import write_header

NAME = "npz"
FILES: tuple[str, ...] = ("*.npz",)
CROPS = True


def write(file: FeatureReader, target: Path) -> None:
    target.mkdir()
    if file.level != "frame":
        for block in blocks(file):
            for id, row in zip(block.ids, block.features, strict=True):
                with ZipFile(target / f"{id}.npz", "w") as archive:
                    _add(archive, "features", row.dtype, row.shape, iter([row]))
                    _add_array(archive, "ids", np.array(id))
        return
    index, seconds = file.block_reader("index"), file.block_reader("seconds")
    for video, ids in frames_by_video(file):
        check_id(video, file.path)
        start, stop = file.span(video)
        with ZipFile(target / f"{video}.npz", "w") as archive:
            shape = (stop - start, *file.features.shape[1:])
            parts = (file.features[first:last] for first, last in ranges(file, start, stop))
            _add(archive, "features", file.features.dtype, shape, parts)
            _add_array(archive, "index", index.read(start, stop))
            _add_array(archive, "seconds", seconds.read(start, stop))
            _add_array(archive, "ids", np.array(ids))


def _add_array(archive: ZipFile, name: str, array: NDArray[Any]) -> None:
    _add(archive, name, array.dtype, array.shape, iter([array]))


def _add(
    archive: ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], parts: Iterator[NDArray[Any]]
) -> None:
    """Add an array as numpy.savez stores it, but in parts and without the time of day: equal rows give equal bytes."""
    with archive.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True) as out:
        write_header(out, dtype, shape)
        for part in parts:
            out.write(part.tobytes())
