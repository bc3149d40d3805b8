"""Features made of features: where they are, what they came from, and that they are not made twice."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vfx.errors import OutputError, UsageError
from vfx.features.feature_file import FeatureFile
from vfx.features.reader import FeatureReader
from vfx.features.rows import Failure
from vfx.outputs.output_folder import Output
from vfx.pooling.functions import Pooling
from vfx.sampling.segment_table import Table, rows_of
from vfx.sweeps import job_records

log = logging.getLogger(__name__)
SHOWN = 5


def open_feature(collection: Path, feature: str) -> FeatureFile:
    """The file of one feature in a collection's output folder. Raises OutputError that lists those there are."""
    path = collection / feature / "features.h5"
    if not path.is_file():
        there = sorted(p.parent.name for p in collection.glob("*/features.h5"))
        has = f"{', '.join(there)}: feature=<one of these>" if there else "no finished feature: vfx.extract makes them"
        raise OutputError(f"no {path}; {collection} has {has}")
    return FeatureFile(path)


def find_file(path: str | Path) -> Path:
    """The feature file of that path, or that of the folder of that path. Raises OutputError where there is none."""
    path = Path(path).expanduser()
    path = path / "features.h5" if path.is_dir() else path
    if not path.is_file():
        raise OutputError(f"file ({path}) is not there; give a features.h5, or the folder that holds it")
    return path


def source(file: FeatureReader) -> dict[str, Any]:
    """A feature as an ingredient of a recipe: its own recipe, and which making of it this is."""
    return {
        "feature": file.feature,
        "created": file.attributes["created"],
        "rows": file.features.shape[0],
        "recipe": file.provenance["recipe"],
    }


def is_made(output: Output, recipe: dict[str, Any], *, overwrite: bool) -> bool:
    """Whether the output is there, made by this recipe. Raises OutputError if by another, unless `overwrite`."""
    made = not overwrite and output.check(recipe)
    if made:
        log.info("%s is done, nothing to do (overwrite=true writes it again)", output.features)
        job_records.tell(state="nothing to do")
    return made


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
