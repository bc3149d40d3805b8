"""Writes the rows of a BigFile to a feature file, without repeated ids and without NaN and infinity."""

from __future__ import annotations

import itertools
import logging
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from vfx.collection.ids import split_frame_id
from vfx.errors import OutputError
from vfx.features.rows import Failure, Rows
from vfx.features.writer import FeatureFileWriter
from vfx.formats.bigfile import Matrix

BLOCK_BYTES = 8 << 20

log = logging.getLogger(__name__)


def add_frames(writer: FeatureFileWriter, ids: Iterable[str], matrix: Matrix) -> list[Failure]:
    """Write rows of frame level, sorted by video and index.

    Of rows that share an id the first one counts, and rows with NaN are dropped, as txt2bin.py of video-cnn-feat does.
    Rows with infinity are dropped too, since no reader of feature files expects them. Times are unknown, so `seconds`
    is NaN.

    Args:
        writer: Of the feature file.
        ids: The frame ids, in the order of the rows.
        matrix: The rows, in any order.

    Returns:
        A failure for each video that lost rows. They have been written too.

    Raises:
        OutputError: An id is not `<video id>_<frame index>`.
    """
    names, video, index = _parse_ids(ids)
    ranking = sorted(range(len(names)), key=names.__getitem__)
    ranks = np.empty(len(names), np.int64)
    ranks[ranking] = np.arange(len(names))
    rank = ranks[video]
    order = np.lexsort((index, rank))  # stable: of equal ids the first stays the first
    edges = np.searchsorted(rank[order], np.arange(len(names) + 1))
    failures = []
    for v, (start, stop) in zip(ranking, itertools.pairwise(edges), strict=True):
        rows = order[start:stop]
        first = np.concatenate([[True], np.diff(index[rows]) != 0])
        finite = _FiniteRows(matrix, rows[first])
        blocks = (Rows(values, index[at], np.full(len(at), np.nan)) for at, values in finite)
        head = next(blocks, None)  # a video without a row must not be added
        if head is not None:
            writer.add_video(names[v], itertools.chain([head], blocks), decoder="")
        repeated = int((~first).sum())
        if repeated or finite.dropped:
            failures.append(_failure(names[v], repeated, finite.dropped))
    writer.add_failures(failures)
    return failures


def _parse_ids(ids: Iterable[str]) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """The videos of frame ids, and for each id its video, as a position in that list, and its index."""
    numbers: dict[str, int] = {}
    videos, index = array("q"), array("q")  # ids as text would take ten times the memory
    renamed = 0
    for id in ids:
        try:
            video, i = split_frame_id(id)
            index.append(i)
        except (ValueError, OverflowError) as error:
            raise OutputError(f"level=frame: {id} is not <video id>_<frame index>, see level ({error})") from error
        videos.append(numbers.setdefault(video, len(numbers)))
        renamed += id != f"{video}_{i}"
    if renamed:
        log.warning("%d frame ids have an index with leading zeros, which features.h5 has without", renamed)
    return list(numbers), np.frombuffer(videos, np.int64), np.frombuffer(index, np.int64)


def add_rows(writer: FeatureFileWriter, ids: Iterable[str], matrix: Matrix) -> list[Failure]:
    """Write rows of video or segment level in their order. Rows are dropped as in `add_frames`.

    Args:
        writer: Of the feature file.
        ids: The ids, in the order of the rows.
        matrix: The rows.

    Returns:
        A failure for each id that lost rows. They have been written too.
    """
    positions: dict[str, int] = {}
    repeated: Counter[str] = Counter()
    for position, id in enumerate(ids):
        if positions.setdefault(id, position) != position:
            repeated[id] += 1
    names = {position: id for id, position in positions.items()}
    written = set()
    for at, values in _FiniteRows(matrix, np.fromiter(positions.values(), np.int64)):
        written.update(at.tolist())
        writer.add_rows([names[p] for p in at.tolist()], values)
    dropped = {id for id, position in positions.items() if position not in written}
    failures = [_failure(id, repeated[id], int(id in dropped)) for id in positions if id in repeated or id in dropped]
    writer.add_failures(failures)
    return failures


class _FiniteRows:
    """The rows of a matrix at some positions without NaN or infinity, in blocks of (positions, rows).

    `dropped` counts the others.
    """

    def __init__(self, matrix: Matrix, positions: NDArray[np.int64]) -> None:
        self._matrix = matrix
        self._positions = positions
        self.dropped = 0

    def __iter__(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        size = max(1, BLOCK_BYTES // (self._matrix.dims * 4))
        for start in range(0, len(self._positions), size):
            at = self._positions[start : start + size]
            values = self._matrix.read(at)
            good = np.isfinite(values).all(axis=1)
            self.dropped += int((~good).sum())
            if good.any():
                yield at[good], values[good]


def _failure(id: str, repeated: int, dropped: int) -> Failure:
    counts = [f"dropped for an id that was there before: {repeated}"] if repeated else []
    counts += [f"dropped for NaN or infinity: {dropped}"] if dropped else []
    return Failure(id, "import", "; ".join(counts))
