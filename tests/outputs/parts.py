"""Parts made by hand: the value of a row tells where it comes from."""

import json
from typing import Any

import numpy as np

from vfx.collection.source import Chunk
from vfx.features import checksums
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure
from vfx.outputs.output_folder import OutputFolder
from vfx.outputs.part_writer import PartWriter

RECIPE = {"model": {"name": "m"}, "sampler": {"name": "fps", "fps": 2}}
ATTRIBUTES = {
    "feature": "f",
    "collection": "c",
    "config": "",
    "provenance": '{"recipe": {"model": {"name": "m"}, "sampler": {"name": "fps", "fps": 2}}}',
}


def parts(output: OutputFolder, dtype: str = "float32", commit_mb: float = 64, **options: Any) -> PartWriter:
    shared: dict[str, Any] = {"shape": (4,), "attributes": ATTRIBUTES, "commit_seconds": 1e9}
    return PartWriter(output, dtype=dtype, commit_mb=commit_mb, **shared | options)


def put(writer: PartWriter, video: str, value: float, count: int = 3, at: int = 0) -> None:
    index = np.arange(at, at + count)
    writer.append(video, np.full((count, 4), value, np.float32), index, index / 2)


def finish(writer: PartWriter, video: str, value: float) -> None:
    writer.start(video)
    put(writer, video, value)
    writer.finish(video, [], "pyav")


def commit(output: OutputFolder, video: str, value: float) -> None:
    """A part of its own with one video."""
    writer = parts(output)
    finish(writer, video, value)
    writer.commit()


def half_done(output: OutputFolder) -> PartWriter:
    """Of a run that has committed video `a`, and finished `b`."""
    commit(output, "a", 1)
    writer = parts(output)
    finish(writer, "b", 2)
    return writer


def put_chunk(
    writer: PartWriter, video: str, chunk: Chunk, values: range, failures: list[Failure] | None = None
) -> None:
    """A chunk whose rows are at these indices and have them for values."""
    writer.start(video, chunk)
    for i in values:
        writer.append(video, np.full((1, 4), i, np.float32), np.array([i]), np.array([i / 2]), chunk)
    writer.finish(video, failures or [], "pyav", chunk)


def commit_chunk(output: OutputFolder, video: str, chunk: Chunk, values: range) -> None:
    """A part of its own with one chunk."""
    writer = parts(output)
    put_chunk(writer, video, chunk, values)
    writer.close()


def put_complete(writer: PartWriter, video: str, values: range, failures: list[Failure] | None = None) -> None:
    index = np.array(values)
    writer.start(video)
    writer.append(video, np.repeat(index[:, None], 4, axis=1).astype(np.float32), index, index / 2)
    writer.finish(video, failures or [], "pyav")


def assembled(output: OutputFolder) -> FeatureFile:
    """The file that is made of all parts."""
    output.assemble(ATTRIBUTES)
    return FeatureFile(output.features)


def held(output: OutputFolder) -> dict[str, str]:
    """The digests of all columns of the finished file."""
    with FeatureFile(output.features) as file:
        found = json.loads(file.attributes["digests"])
    del found[checksums.ATTRIBUTES]
    return found
