"""Feature files whose rows a test knows, and comparisons of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure, Rows
from vfx.features.writer import FeatureFileWriter

ATTRIBUTES = {"feature": "f,avgpool", "collection": "c", "config": "a: 1", "provenance": '{"recipe": {}}'}
# Rows of one frame in batches of other companions: measured up to 7e-6, of values up to 5.6, in fp32 on the processor.
BATCH_COMPOSITION = 2e-5


def timed(features: NDArray[Any], *, step: int = 1, rate: float = 2) -> Rows:
    """The rows of frames 0, `step`, 2 * `step`, ..., of a video of `rate` frames a second."""
    index = np.arange(len(features)) * step
    return Rows(features, index, index / rate)


def write_frames(
    path: Path,
    videos: Mapping[str, NDArray[Any] | Rows],
    *,
    decoder: str = "",
    failures: Sequence[Failure] = (),
    dtype: str = "float32",
    **attributes: str,
) -> Path:
    """A frame-level file; arrays are rows of frames 0, 1, 2, ..., two a second. `attributes`: other than usual."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = {video: each if isinstance(each, Rows) else timed(each) for video, each in videos.items()}
    shape = next(iter(rows.values())).features.shape[1:]
    with FeatureFileWriter(path, level="frame", shape=shape, dtype=dtype, attributes=ATTRIBUTES | attributes) as writer:
        for video, each in rows.items():
            writer.add_video(video, iter([each]), decoder=decoder)
        writer.add_failures([*failures])
    return path


def write_rows(
    path: Path, ids: Sequence[str], rows: Any, *, level: str = "video", dtype: str = "float32", **attributes: str
) -> Path:
    """A file of another level. `attributes`: other than usual."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = np.shape(rows)[1:]
    with FeatureFileWriter(path, level=level, shape=shape, dtype=dtype, attributes=ATTRIBUTES | attributes) as writer:  # type: ignore[arg-type]
        writer.add_rows([*ids], np.asarray(rows))
    return path


def bytes_read() -> int:
    """What this process has read until now, as Linux tells."""
    return int(Path("/proc/self/io").read_text().split()[1])


def cosine(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Of the rows of two features."""
    return (a * b).sum(-1) / np.linalg.norm(a, axis=-1) / np.linalg.norm(b, axis=-1)


def same(a: FeatureFile, b: FeatureFile, atol: float = BATCH_COMPOSITION) -> None:
    """Asserts that all is equal, the features nearly so."""
    assert list(a.ids) == list(b.ids)
    assert a.failures == b.failures
    np.testing.assert_array_equal(a.seconds, b.seconds)
    np.testing.assert_array_equal(a.offsets, b.offsets)
    np.testing.assert_allclose(a.features[:], b.features[:], atol=atol, rtol=0)
