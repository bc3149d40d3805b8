"""Concatenates the features of several files along their dimensions, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vfx.errors import UsageError
from vfx.features.reader import FeatureReader
from vfx.features.rows import Rows
from vfx.features.writer import FeatureFileWriter
from vfx.text import first_few

BLOCK_ROWS = 1024
INDEX_BLOCK = 1 << 20  # frames whose index is compared at once


class Concatenation:
    """Files whose rows are joined, in the order of the first file.

    Args:
        files: At least two files of the same level and the same ids, in any order.
        normalize: "l2" scales the rows of each file to length 1 before they are joined.

    Raises:
        UsageError: Levels, kept crops or ids differ. The message shows the first ids that do.
    """

    def __init__(self, files: Sequence[FeatureReader], *, normalize: Literal["l2"] | None = None) -> None:
        first = files[0]
        self._files = files
        self._normalize = normalize
        levels = {file.feature: file.level for file in files}
        if len(set(levels.values())) > 1:
            raise UsageError(f"features are of different levels: {levels}; pool the frame-level ones")
        crops = {file.feature: file.features.shape[1:-1] for file in files}
        if len(set(crops.values())) > 1:
            raise UsageError(
                f"some features keep ten crops apart and some do not: {crops}; extract all with one oversample="
            )
        self.shape = (*first.features.shape[1:-1], sum(file.features.shape[-1] for file in files))
        self._readers = [file.block_reader() for file in files]
        self._times = [first.block_reader("index"), first.block_reader("seconds")] if first.level == "frame" else []
        self._orders = [None, *(_order(first, other) for other in files[1:])]

    def write(self, writer: FeatureFileWriter) -> Iterator[None]:
        """Write all rows, then the failures of all files. Yields once for each video, or row of another level."""
        first = self._files[0]
        if first.level == "frame":
            for v, video in enumerate(first.videos):
                start, stop = int(first.offsets[v]), int(first.offsets[v + 1])
                writer.add_video(str(video), self._frames(start, stop), decoder=str(first.decoders[v]))
                yield
        else:
            for start in range(0, len(first), BLOCK_ROWS):
                stop = min(start + BLOCK_ROWS, len(first))
                writer.add_rows(list(first.ids[start:stop]), self._rows(start, stop))
                yield from (None for _ in range(start, stop))
        writer.add_failures(sorted({failure for file in self._files for failure in file.failures}))

    def _frames(self, start: int, stop: int) -> Iterator[Rows]:
        for begin in range(start, stop, BLOCK_ROWS):
            end = min(begin + BLOCK_ROWS, stop)
            yield Rows(self._rows(begin, end), *(reader.read(begin, end) for reader in self._times))

    def _rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows [start, stop) of the first file, joined with the same ids' rows of the others."""
        parts = []
        for file, reader, order in zip(self._files, self._readers, self._orders, strict=True):
            if order is None:
                block: Any = reader.read(start, stop)
            else:  # HDF5 reads rows in ascending order only
                wanted, back = np.unique(order[start:stop], return_inverse=True)
                block = file.features[wanted][back]
            parts.append(_l2_normalized(block) if self._normalize == "l2" else block.astype(np.float32))
        return np.concatenate(parts, axis=-1)


def _l2_normalized(rows: NDArray[Any]) -> NDArray[np.float32]:
    wide = rows.astype(np.float64)
    norms = np.linalg.norm(wide, axis=-1, keepdims=True)
    return (wide / np.where(norms == 0, 1, norms)).astype(np.float32)


def _order(first: FeatureReader, other: FeatureReader) -> NDArray[np.int64] | None:
    """For each id of the first file its row in the other; None where the order is the same, as it mostly is."""
    # Not by the ids, if it can be helped: as text those of millions of frames would fill the memory.
    if first.level == "frame" and _same_frames(first, other):
        return None
    if len(first.ids) == len(other.ids) and (first.ids == other.ids).all():
        return None
    position = {id: row for row, id in enumerate(other.ids)}
    missing = [id for id in first.ids if id not in position]
    extra = list(position.keys() - set(first.ids))
    if missing or extra:
        raise UsageError(
            f"{first.feature} and {other.feature} hold different ids: {_shown(missing)} only in the first,"
            f" {_shown(sorted(extra))} only in the second; extract both of the same videos by the same sampler"
        )
    return np.array([position[id] for id in first.ids], np.int64)


def _same_frames(first: FeatureReader, other: FeatureReader) -> bool:
    """Whether two files of frame level have the same rows in the same order."""
    if not (np.array_equal(first.videos, other.videos) and np.array_equal(first.offsets, other.offsets)):
        return False
    total = first.features.shape[0]
    a, b = first.block_reader("index"), other.block_reader("index")
    blocks = ((start, min(start + INDEX_BLOCK, total)) for start in range(0, total, INDEX_BLOCK))
    return all(np.array_equal(a.read(*block), b.read(*block)) for block in blocks)


def _shown(ids: list[str]) -> str:
    return f"{len(ids)} ({first_few(ids)})" if ids else "none"
