"""What is compared: a feature file, a BigFile or a text, each opened as rows with ids."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vfx.errors import UsageError
from vfx.features.reader import FeatureReader
from vfx.features.rows import Failure
from vfx.features.schema import Level
from vfx.formats import bigfile, id_feature_txt
from vfx.formats.base import frame_ids
from vfx.formats.lineage_input import find_input


@dataclass(frozen=True)
class ComparisonInput:
    """An open feature. What a BigFile or a text does not have is None or "".

    Args:
        path: Of the file or folder.
        form: `vfx`, `BigFile` or `text`.
        shape: (N, D) or (N, 10, D).
        dtype: Of the stored rows.
        ids: Goes through the N ids in the order of the rows, anew at each call. Frames are `<video id>_<index>`.
        read: Reads the rows at positions (n,) int64, in any order.
        feature: The name of the feature.
        level: Its level.
        seconds: (N,) float64, at frame level.
        failures: What could not be read completely.
        provenance: Where the numbers come from.
    """

    path: Path
    form: str
    shape: tuple[int, ...]
    dtype: str
    ids: Callable[[], Iterator[str]]
    read: Callable[[NDArray[np.int64]], NDArray[Any]]
    feature: str = ""
    level: Level | None = None
    seconds: NDArray[np.float64] | None = None
    failures: list[Failure] | None = None
    provenance: Mapping[str, Any] | None = None


@contextmanager
def open_input(path: Path) -> Iterator[ComparisonInput]:
    """Open a feature.

    Args:
        path: A feature file, a BigFile or a text of video-cnn-feat, or the folder that holds one.

    Raises:
        UsageError: There is none of them.
        OutputError: It is damaged.
    """
    if path.suffix == ".h5" or (path / "features.h5").is_file():
        with FeatureReader(path) as file:
            yield _feature_file(file)
        return
    if not path.is_file() and not any((path / name).is_file() for name in ("feature.bin", id_feature_txt.NAME)):
        raise UsageError(
            f"{path} holds no feature: neither features.h5, nor feature.bin of a BigFile, nor {id_feature_txt.NAME};"
            " give the file or its folder"
        )
    source = find_input(path)
    with source.as_bigfile() as folder, bigfile.open_matrix(folder) as matrix:
        yield ComparisonInput(
            source.path,
            {"bigfile": "BigFile", "txt": "text"}[source.format],
            (matrix.rows, matrix.dims),
            "float32",
            partial(bigfile.read_ids, folder),
            matrix.read,
        )


def _feature_file(file: FeatureReader) -> ComparisonInput:
    frames = file.level == "frame"
    return ComparisonInput(
        file.path,
        "vfx",
        file.features.shape,
        file.features.dtype.name,
        lambda: frame_ids(file) if frames else map(str, file.ids),
        partial(_rows, file.features),
        file.feature,
        file.level,
        file.seconds if frames else None,
        file.failures,
        file.provenance,
    )


def _rows(data: Any, positions: NDArray[np.int64]) -> NDArray[Any]:
    """Rows of a dataset. Consecutive rows are read at once, since HDF5 is slow at single ones."""
    order = np.argsort(positions)
    rows = np.empty((len(positions), *data.shape[1:]), data.dtype)
    for run in np.split(order, np.flatnonzero(np.diff(positions[order]) != 1) + 1):
        first = positions[run[0]]
        rows[run] = data[first : first + len(run)]
    return rows
