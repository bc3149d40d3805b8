"""Feature files side by side: the rows of each under the ids of the first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from vfx.errors import UsageError
from vfx.features.reader import FeatureFile, Rows, Sweep
from vfx.features.writer import FeatureFileWriter

SHOWN = 5
BLOCK_ROWS = 1024
INDEX_BLOCK = 1 << 20  # frames whose index is compared at once


class Concatenation:
    """The files open beside each other, and for each the row that belongs to every id of the first.

    Raises UsageError where levels, kept crops or ids differ, with how many and the first few of either side.
    """

    def __init__(self, files: Sequence[FeatureFile], *, normalize: Literal["l2"] | None = None) -> None:
        self.files = files
        self._normalize = normalize
        levels = {file.feature: file.level for file in files}
        if len(set(levels.values())) > 1:
            raise UsageError(f"features are of different levels: {levels}; pool the frame-level ones")
        crops = {file.feature: file.features.shape[1:-1] for file in files}
        if len(set(crops.values())) > 1:
            raise UsageError(
                f"some features keep ten crops apart and some do not: {crops}; extract all with one oversample="
            )
        self.shape = (*files[0].features.shape[1:-1], sum(file.features.shape[-1] for file in files))
        self._sweeps = [file.sweep() for file in files]
        beside = [files[0].sweep("index"), files[0].sweep("seconds")] if files[0].level == "frame" else []
        self._beside: list[Sweep] = beside
        self._orders = [None, *(_order(files[0], other) for other in files[1:])]

    def __enter__(self) -> Concatenation:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.files:
            file.close()

    def write(self, writer: FeatureFileWriter) -> Iterator[None]:
        """Write all rows, a video (frame level) or a block of rows between yields, then the failures of all."""
        first = self.files[0]
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
        writer.add_failures(sorted({failure for file in self.files for failure in file.failures}))

    def _frames(self, start: int, stop: int) -> Iterator[Rows]:
        for at in range(start, stop, BLOCK_ROWS):
            end = min(at + BLOCK_ROWS, stop)
            yield Rows(self._rows(at, end), *(column.between(at, end) for column in self._beside))

    def _rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows [start, stop) of the first with those of the others beside them."""
        parts = []
        for file, sweep, order in zip(self.files, self._sweeps, self._orders, strict=True):
            if order is None:
                block: Any = np.concatenate(list(sweep.rows(start, stop)))
            else:  # HDF5 reads ascending rows alone
                wanted, back = np.unique(order[start:stop], return_inverse=True)
                block = file.features[wanted][back]
            parts.append(_unit(block) if self._normalize == "l2" else block.astype(np.float32))
        return np.concatenate(parts, axis=-1)


def _unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    wide = rows.astype(np.float64)
    norms = np.linalg.norm(wide, axis=-1, keepdims=True)
    return (wide / np.where(norms == 0, 1, norms)).astype(np.float32)


def _order(first: FeatureFile, other: FeatureFile) -> NDArray[np.int64] | None:
    """For each id of the first its row in the other; None where the order is the same, as it mostly is."""
    # Not the ids: as text those of millions of frames would fill the memory.
    alike = [(first.videos, other.videos), (first.offsets, other.offsets)] if first.level == "frame" else []
    if alike and all(np.array_equal(*sides) for sides in alike) and _same_index(first, other):
        return None
    if len(first.ids) == len(other.ids) and (first.ids == other.ids).all():
        return None
    position = {id: row for row, id in enumerate(other.ids)}
    missing = [id for id in first.ids if id not in position]
    extra = list(position.keys() - set(first.ids))
    if missing or extra:
        raise UsageError(
            f"{first.feature} and {other.feature} hold different ids: {_told(missing)} only in the first,"
            f" {_told(sorted(extra))} only in the second; extract both of the same videos by the same sampler"
        )
    return np.array([position[id] for id in first.ids], np.int64)


def _same_index(first: FeatureFile, other: FeatureFile) -> bool:
    """Whether frames of files of equally many are the same, a block at a time."""
    total = first.features.shape[0]
    a, b = first.sweep("index"), other.sweep("index")
    blocks = ((at, min(at + INDEX_BLOCK, total)) for at in range(0, total, INDEX_BLOCK))
    return all(np.array_equal(a.between(*block), b.between(*block)) for block in blocks)


def _told(ids: list[str]) -> str:
    return f"{len(ids)} ({', '.join(ids[:SHOWN])}{', ...' if len(ids) > SHOWN else ''})" if ids else "none"
