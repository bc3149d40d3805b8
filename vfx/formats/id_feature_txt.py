"""The text of video-cnn-feat, `id.feature.txt`: a line `<id> v1 v2 ...` for each row, values with `%g`, six digits.

Source: the extraction and `join_features.py` of video-cnn-feat, which write it, and its `txt2bin.py`, which reads it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vfx.errors import OutputError
from vfx.features.reader import FeatureReader
from vfx.formats.base import blocks, check_id

NAME = "id.feature.txt"
FILES: tuple[str, ...] = ()
CROPS = False

log = logging.getLogger(__name__)


def write(file: FeatureReader, target: Path) -> None:
    values = " ".join(["%g"] * file.features.shape[1])
    with target.open("w", encoding="utf-8", newline="") as out:
        for block in blocks(file):
            for id, row in zip(block.ids, block.features, strict=True):
                out.write(f"{id} {values % tuple(row.tolist())}\n")


def first_id(path: Path) -> str:
    """The id of the first row. Raises OutputError where there is none."""
    return next(_lines(path))[1]


def to_bigfile(path: Path, folder: Path) -> None:
    """Write the rows of a text as a BigFile.

    Args:
        path: The text.
        folder: An existing folder.

    Raises:
        OutputError: A line is not an id and as many numbers as the first line has. The message names the line.
    """
    rows = dims = 0
    with (folder / "feature.bin").open("wb") as matrix, (folder / "id.txt").open("w", encoding="utf-8") as ids:
        for number, id, words in _lines(path):
            where = f"{path}, line {number}"
            check_id(id, where)
            try:
                values = [float(word) for word in words]
                if any("_" in word for word in words):  # to float(), 12_000 is a number
                    raise ValueError("a value holds an underscore")
            except ValueError as error:
                raise OutputError(f"{where}: {error}; a line is an id without white space, and numbers") from error
            if not values or len(values) != (dims or len(values)):
                raise OutputError(f"{where}: {len(values)} values, wanted {dims or 'at least 1'}: was the line cut?")
            rows, dims = rows + 1, len(values)
            with np.errstate(over="ignore"):  # beyond float32 it is infinite, and found as such
                matrix.write(np.array(values, "<f4").data)
            ids.write(f"{id} ")
    (folder / "shape.txt").write_text(f"{rows} {dims}")


def _lines(path: Path) -> Iterator[tuple[int, str, list[str]]]:
    """The number (from 1), id and values of each line that is not blank."""
    empty = True
    with path.open(encoding="utf-8") as file:
        try:
            for number, line in enumerate(file, 1):
                if words := line.split():
                    empty = False
                    yield number, words[0], words[1:]
            if not empty and not line.endswith("\n"):
                log.warning("%s does not end with a newline: was it written to its end?", path)
        except UnicodeDecodeError as error:
            raise OutputError(f"{path} is not UTF-8 text: {error}; save it as that") from error
    if empty:
        raise OutputError(f"{path} is empty; make or copy it again")
