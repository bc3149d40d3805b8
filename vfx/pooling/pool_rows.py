"""Pools the rows of a feature file: one row for each video, or for each segment of a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vfx.errors import UsageError
from vfx.features.reader import FeatureReader
from vfx.features.rows import Failure
from vfx.pooling.functions import Pooling
from vfx.sampling.segment_table import Table, rows_of
from vfx.text import SHOWN


class PooledRow(NamedTuple):
    """The row of a video or segment.

    Args:
        id: Of the video or segment.
        features: (D,) or (K, D).
        is_nearest: The segment held no frame, so this is the row of the nearest one.
    """

    id: str
    features: NDArray[Any]
    is_nearest: bool = False


def pool_videos(file: FeatureReader, pooling: Pooling) -> Iterator[PooledRow]:
    """One row for each video, in the order of the file."""
    reader = file.block_reader()
    for v, video in enumerate(file.videos):
        start, stop = int(file.offsets[v]), int(file.offsets[v + 1])
        yield PooledRow(str(video), pooling(reader.blocks(start, stop), stop - start))


def pool_segments(file: FeatureReader, pooling: Pooling, table: Table) -> Iterator[PooledRow]:
    """One row for each segment of the videos that have rows, by video and then in the order of the table.

    Raises:
        UsageError: The times of a video are unknown.
    """
    reader, times = file.block_reader(), file.block_reader("seconds")
    for v, video in enumerate(file.videos):
        start, stop = int(file.offsets[v]), int(file.offsets[v + 1])
        seconds = times.read(start, stop)
        if video in table and np.isnan(seconds).any():
            raise UsageError(
                f"segments of {video} cannot be pooled: the times of its frames are unknown; extract it from"
                " its video (dataset=video)"
            )
        for segment in table.get(str(video), []):
            rows, is_nearest = rows_of(segment, seconds)
            picked = reader.blocks(start + rows.start, start + rows.stop)
            yield PooledRow(segment.id, pooling(picked, rows.stop - rows.start), is_nearest)


def failed_segments(file: FeatureReader, table: Table) -> list[Failure]:
    """A failure for each segment of a video that could not be read.

    Raises:
        UsageError: Segments are of videos that the file does not know. The message names their lines.
    """
    failed = {failure.id: failure.error for failure in file.failures}
    readable = set(file.videos)
    without_rows = [(video, segments) for video, segments in table.items() if video not in readable]
    unknown = sorted((s.line, video) for video, segments in without_rows for s in segments if video not in failed)
    if unknown:
        lines = "; ".join(f"line {line}: {video}" for line, video in unknown[:SHOWN])
        raise UsageError(
            f"{len(unknown)} segments are of videos that {file.path} does not know: {lines}; take their lines out"
        )
    return [
        Failure(segment.id, "pool", f"its video {video} has no row: {failed[video]}")
        for video, segments in without_rows
        for segment in segments
    ]
