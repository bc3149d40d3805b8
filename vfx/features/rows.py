"""The rows of a feature file and its failures, as they are passed around, and a reader of rows in large blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vfx.features import schema
from vfx.features.schema import Dataset

BLOCK_BYTES = 8 << 20  # rows are read and written in blocks of about this size
WINDOW_BYTES = 256 << 10  # the block size where many files are open together


class Failure(NamedTuple):
    """A video, frame or segment that could not be read completely.

    Args:
        id: Its id.
        stage: Where it failed: open, decode, network, or pool.
        error: The message.
    """

    id: str
    stage: str
    error: str


@dataclass(frozen=True)
class Rows:
    """The rows of one video, or a block of them.

    Args:
        features: (T, D), or (T, 10, D) for ten crops kept apart.
        index: (T,) int64, the 0-based position of each frame in display order.
        seconds: (T,) float64, the presentation time of each frame; NaN where it is unknown.
    """

    features: NDArray[Any]
    index: NDArray[np.int64]
    seconds: NDArray[np.float64]


class BlockReader:
    """Reads the rows of a dataset in large blocks. It keeps the last block, so calls should go through the file in
    ascending order; they may overlap.

    Args:
        data: The HDF5 dataset.
        path: The file that it is in, for messages.
        block_bytes: The size of a block.
    """

    def __init__(self, data: Dataset, path: Path, block_bytes: int = BLOCK_BYTES) -> None:
        self._data = data
        self._path = path
        row_bytes = int(np.prod(data.shape[1:])) * data.dtype.itemsize
        self._size = max(1, block_bytes // row_bytes)
        self._start = 0
        self._block: NDArray[Any] = np.empty((0, *data.shape[1:]), data.dtype)

    def blocks(self, start: int, stop: int) -> Iterator[NDArray[Any]]:
        """Rows [start, stop), split where one block ends and the next begins.

        Raises:
            OutputError: The file is damaged.
        """
        while start < stop:
            if not self._start <= start < self._start + len(self._block):
                with schema.reading(self._path):
                    self._start, self._block = start, self._data[start : start + self._size]
            end = min(stop, self._start + len(self._block))
            yield self._block[start - self._start : end - self._start]
            start = end

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) as one array.

        Raises:
            OutputError: The file is damaged.
        """
        found = list(self.blocks(start, stop))
        return found[0] if len(found) == 1 else np.concatenate([self._block[:0], *found])
