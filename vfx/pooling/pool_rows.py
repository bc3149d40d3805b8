"""Features made of features: where they are, what they came from, and that they are not made twice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vfx.errors import UsageError
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure
from vfx.pooling.functions import Pooling
from vfx.sampling.segment_table import Table, rows_of

SHOWN = 5


class Pooled(NamedTuple):
    """One pooled row, (D,) or (K,D). `nearest`: its segment held no frame, and has the nearest one's."""

    id: str
    row: NDArray[Any]
    nearest: bool = False


def pool_videos(file: FeatureFile, pooling: Pooling) -> Iterator[Pooled]:
    """One row a video, in the order of the file."""
    reader = file.block_reader()
    for v, video in enumerate(file.videos):
        start, stop = int(file.offsets[v]), int(file.offsets[v + 1])
        yield Pooled(str(video), pooling(reader.blocks(start, stop), stop - start))


def pool_segments(file: FeatureFile, pooling: Pooling, table: Table) -> Iterator[Pooled]:
    """One row a segment, by video and then in the order of the table; videos without a row have none.

    Raises UsageError where the times of a video are unknown.
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
            rows, nearest = rows_of(segment, seconds)
            picked = reader.blocks(start + rows.start, start + rows.stop)
            yield Pooled(segment.id, pooling(picked, rows.stop - rows.start), nearest)


def without_rows(file: FeatureFile, table: Table) -> list[Failure]:
    """The segments of videos that the extraction could not read. Raises UsageError for videos nobody knows."""
    failed = {failure.id: failure.error for failure in file.failures}
    readable = set(file.videos)
    strange = [(s.line, video) for video, segments in table.items() for s in segments if video not in readable]
    unknown = sorted(item for item in strange if item[1] not in failed)
    if unknown:
        lines = "; ".join(f"line {line}: {video}" for line, video in unknown[:SHOWN])
        raise UsageError(
            f"{len(unknown)} segments are of videos that {file.path} does not know: {lines}; take their lines out"
        )
    return [
        Failure(segment.id, "pool", f"its video {video} has no row: {failed[video]}")
        for video, segments in table.items()
        if video not in readable
        for segment in segments
    ]
