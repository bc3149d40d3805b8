"""One `<video id>.npz` a video, with `features` (T,D), `index` (T,), `seconds` (T,) and `ids` (T,).

At the other levels one `<id>.npz` a row, with `features` (D,) and `ids` (), since there a row is the unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

import numpy as np
from numpy.typing import NDArray

from vfx.features.feature_file import FeatureFile
from vfx.formats import BLOCK_BYTES, blocks, check_id, frames_by_video
from vfx.formats.npy import write_header

NAME = "npz"
FILES: tuple[str, ...] = ("*.npz",)
CROPS = True


def write(file: FeatureFile, target: Path) -> None:
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
            _add(archive, "features", file.features.dtype, shape, _parts(file, start, stop))
            _add_array(archive, "index", index.read(start, stop))
            _add_array(archive, "seconds", seconds.read(start, stop))
            _add_array(archive, "ids", np.array(ids))


def _parts(file: FeatureFile, start: int, stop: int) -> Iterator[NDArray[Any]]:
    size = max(1, BLOCK_BYTES // (int(np.prod(file.features.shape[1:])) * file.features.dtype.itemsize))
    for first in range(start, stop, size):
        yield file.features[first : min(first + size, stop)]


def _add_array(archive: ZipFile, name: str, array: NDArray[Any]) -> None:
    _add(archive, name, array.dtype, array.shape, iter([array]))


def _add(
    archive: ZipFile, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], parts: Iterator[NDArray[Any]]
) -> None:
    """An array as numpy.savez stores it, piece by piece, and without the time of day: equal rows, equal bytes."""
    with archive.open(ZipInfo(f"{name}.npy"), "w", force_zip64=True) as out:
        write_header(out, dtype, shape)
        for part in parts:
            out.write(part.tobytes())
