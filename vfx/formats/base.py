"""What all export formats share: their interface, rows in blocks, and ids."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vfx.collection.ids import MAX_ID_BYTES, is_storable
from vfx.errors import OutputError
from vfx.features.reader import FeatureReader

BLOCK_BYTES = 8 << 20


class Format(Protocol):
    """The interface of an export format, which a module provides.

    Attributes:
        NAME: The name of the file or folder that it writes beside `features.h5`.
        FILES: Patterns of the files in that folder; () if it writes one file.
        CROPS: Whether it can hold ten crops kept apart, (N, 10, D).
    """

    NAME: str
    FILES: tuple[str, ...]
    CROPS: bool

    def write(self, file: FeatureReader, target: Path) -> None:
        """Write all rows to `target`, which does not exist yet."""


class Block(NamedTuple):
    """Consecutive rows of a feature file.

    Args:
        ids: The ids of the rows.
        features: (n, D) or (n, 10, D).
    """

    ids: list[str]
    features: NDArray[Any]


def blocks(file: FeatureReader) -> Iterator[Block]:
    """All rows in the order of the file, about BLOCK_BYTES at a time.

    Raises:
        OutputError: An id could not be read from a text, or could not name a file, see `check_id`.
    """
    ids = frame_ids(file) if file.level == "frame" else map(str, file.ids)
    total = file.features.shape[0]
    for start, stop in ranges(file, 0, total):
        named = list(itertools.islice(ids, stop - start))
        for id in named:
            check_id(id, file.path)
        yield Block(named, file.features[start:stop])


def ranges(file: FeatureReader, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """The rows [start, stop), divided into ranges of about BLOCK_BYTES of features."""
    features = file.features
    size = max(1, BLOCK_BYTES // (int(np.prod(features.shape[1:])) * features.dtype.itemsize))
    for at in range(start, stop, size):
        yield at, min(at + size, stop)


def frame_ids(file: FeatureReader) -> Iterator[str]:
    """The ids of a frame-level file. They are made, not read: as text they could fill the memory."""
    for _, ids in frames_by_video(file):
        yield from ids


def frames_by_video(file: FeatureReader) -> Iterator[tuple[str, list[str]]]:
    """Frame level: each video with the ids of its frames, by index."""
    index = file.block_reader("index")
    for video, (start, stop) in zip(map(str, file.videos), itertools.pairwise(map(int, file.offsets)), strict=True):
        yield video, [f"{video}_{i}" for i in index.read(start, stop)]


def check_id(id: str, where: str | Path) -> None:
    """Raises OutputError for an id that readers of a text would not find again, or that could not name a file."""
    if not is_storable(id):
        raise OutputError(
            f"{where}: id {id!r:.80} is empty or holds white space or a slash or control characters, or is . or .., or"
            f" is longer than {MAX_ID_BYTES} bytes; give it another name"
        )
