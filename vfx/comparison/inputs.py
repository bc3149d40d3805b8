"""What two sides of a comparison have in common: rows under ids, be they in a feature file, a BigFile or a text."""

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
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure
from vfx.features.schema import Level
from vfx.formats import bigfile, id_feature_txt
from vfx.formats.base import frame_ids
from vfx.formats.lineage_source import find_source


@dataclass(frozen=True)
class ComparisonInput:
    """One feature, open. What a BigFile and a text do not tell is None, or empty.

    `shape` (N,D) or (N,10,D). `ids` goes through the N ids in the order of the rows, anew at each call; those of frame
    level are `<video id>_<index>`. `read` takes positions (n,) int64 in any order and gives these rows, (n,D) or
    (n,10,D). `seconds`: (N,) float64, frame level.
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
def opened(path: Path) -> Iterator[ComparisonInput]:
    """A feature file, a BigFile or a text of the lineage, each by its path or by its folder's.

    Raises UsageError where there is none of them, and OutputError where it is damaged.
    """
    if path.suffix == ".h5" or (path / "features.h5").is_file():
        with FeatureFile(path) as file:
            yield _feature_file(file)
        return
    if not path.is_file() and not any((path / name).is_file() for name in ("feature.bin", id_feature_txt.NAME)):
        raise UsageError(
            f"{path} holds no feature: neither features.h5, nor feature.bin of a BigFile, nor {id_feature_txt.NAME};"
            " give the file or its folder"
        )
    source = find_source(path)
    with source.as_bigfile() as folder, bigfile.opened(folder) as matrix:
        yield ComparisonInput(
            source.path,
            {"bigfile": "BigFile", "txt": "text"}[source.format],
            (matrix.rows, matrix.dims),
            "float32",
            partial(bigfile.read_ids, folder),
            matrix.read,
        )


def _feature_file(file: FeatureFile) -> ComparisonInput:
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
    """Rows of a dataset, those that follow each other in one go: HDF5 is slow at single ones."""
    order = np.argsort(positions)
    rows = np.empty((len(positions), *data.shape[1:]), data.dtype)
    for run in np.split(order, np.flatnonzero(np.diff(positions[order]) != 1) + 1):
        first = positions[run[0]]
        rows[run] = data[first : first + len(run)]
    return rows
