"""BigFile, which the retrieval models around video-cnn-feat read: a matrix, its ids, its shape, and its frames.

`feature.bin`: float32 little-endian, row-major, no header. `id.txt`: ids joined by one space. `shape.txt`:
`<rows> <dims>`. `video2frames.txt` (frame level): a Python dict literal, `{video id: [frame id, ... by index]}`.
No file ends with a newline. Source: `txt2bin.py` and `get_frameInfo.py` of video-cnn-feat, which write these files,
and `bigfile.py` of dual_encoding, hybrid_space and LAFF, which reads them.
"""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TextIO

import numpy as np
from numpy.typing import NDArray

from vfx.collection.ids import MAX_ID_BYTES
from vfx.errors import OutputError
from vfx.features.reader import FeatureReader
from vfx.formats.base import blocks, check_id, frames_by_video
from vfx.text import SHOWN

NAME = "bigfile"
FILES: tuple[str, ...] = ("feature.bin", "id.txt", "shape.txt", "video2frames.txt")
CROPS = False
READ_CHARS = 1 << 20
NUMBER = re.compile(r"[0-9]{1,18}")
MOST_DIMS = 1 << 24  # 64 MiB a row, of which several are in memory at a time

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Matrix:
    """The matrix of a BigFile, open for reading. It is not mapped: pages of a map count as memory of the process.

    Args:
        file: `feature.bin`.
        rows: The number of rows.
        dims: The number of values in a row.
    """

    file: BufferedReader
    rows: int
    dims: int

    def read(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Read the rows at these positions, (n, dims). Consecutive rows are read at once.

        Raises:
            OutputError: The file has been cut short since it was opened.
        """
        out = np.empty((len(positions), self.dims), "<f4")
        edges = [0, *(np.flatnonzero(np.diff(positions) != 1) + 1), len(positions)]
        for start, stop in itertools.pairwise(edges):
            self.file.seek(int(positions[start]) * self.dims * 4)
            data = self.file.read((stop - start) * self.dims * 4)
            if len(data) != (stop - start) * self.dims * 4:
                raise OutputError(f"{self.file.name} ended before row {positions[stop - 1]}; copy it again")
            out[start:stop] = np.frombuffer(data, "<f4").reshape(-1, self.dims)
        return out


def write(file: FeatureReader, target: Path) -> None:
    target.mkdir()
    rows, dims = file.features.shape
    strange: list[str] = []
    with (target / "feature.bin").open("wb") as matrix, _text(target / "id.txt") as ids:
        for n, block in enumerate(blocks(file)):
            matrix.write(np.ascontiguousarray(block.features, "<f4").data)
            ids.write((" " if n else "") + " ".join(block.ids))
            strange += [id for id in block.ids if not id.isascii()][: SHOWN - len(strange)]
    with _text(target / "shape.txt") as shape:
        shape.write(f"{rows} {dims}")
    if file.level == "frame":
        with _text(target / "video2frames.txt") as frames:
            for n, (video, found) in enumerate(frames_by_video(file)):
                frames.write(f"{', ' if n else '{'}{video!r}: {found!r}")
            frames.write("}" if rows else "{}")
    if strange:
        log.warning(
            "some ids are not ASCII, such as %s: the lineage's readers take id.txt for ISO-8859-1 or ASCII, and"
            " would drop these without a word",
            ", ".join(strange),
        )


def checked_shape(folder: Path) -> tuple[int, int]:
    """The number of rows and of values in a row of a BigFile.

    Raises:
        OutputError: A file is missing, or the sizes of the files do not fit each other.
    """
    missing = [name for name in FILES[:3] if not (folder / name).is_file()]
    if missing:
        raise OutputError(f"{folder} is not a BigFile: it has no {', '.join(missing)}; give the folder that holds them")
    with (folder / "shape.txt").open(errors="replace") as file:
        text = file.read(READ_CHARS).split()
    if len(text) != 2 or not all(NUMBER.fullmatch(t) and int(t) > 0 for t in text):
        raise OutputError(
            f"{folder / 'shape.txt'}, line 1: wanted <rows> <dims>, found {' '.join(text)[:80]!r}; copy it again"
        )
    rows, dims = map(int, text)
    if dims > MOST_DIMS:
        raise OutputError(
            f"{folder / 'shape.txt'}: {dims} values a row are more than the {MOST_DIMS} that fit in memory;"
            " is it the right file? Copy it again"
        )
    size = (folder / "feature.bin").stat().st_size
    if size != rows * dims * 4:
        raise OutputError(
            f"{folder / 'feature.bin'} has {size} bytes, and {rows} x {dims} float32 of shape.txt are"
            f" {rows * dims * 4}: it was not written or copied to its end; do that again"
        )
    count = sum(1 for _ in read_ids(folder))
    if count != rows:
        raise OutputError(
            f"{folder / 'id.txt'} holds {count} ids, and shape.txt tells of {rows} rows: they are not of one"
            " writing; copy all files again"
        )
    return rows, dims


@contextmanager
def open_matrix(folder: Path) -> Iterator[Matrix]:
    """Open the matrix of a BigFile. Raises what `checked_shape` does."""
    rows, dims = checked_shape(folder)
    with (folder / "feature.bin").open("rb") as file:
        yield Matrix(file, rows, dims)


def read_ids(folder: Path) -> Iterator[str]:
    """The ids of a BigFile in the order of its rows. Raises OutputError for an id that cannot be stored."""
    path = folder / "id.txt"
    rest = ""
    with path.open(encoding="utf-8") as file:
        try:
            while text := file.read(READ_CHARS):
                ids = (rest + text).split()
                rest = ids.pop() if ids and not text[-1].isspace() else ""
                if len(rest) > MAX_ID_BYTES:
                    check_id(rest, path)  # which refuses it, before it fills the memory
                for id in ids:
                    check_id(id, path)
                    yield id
        except UnicodeDecodeError as error:
            raise OutputError(f"{path} is not UTF-8: {error}; save it as that") from error
    if rest:
        check_id(rest, path)
        yield rest


def _text(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", newline="")
