"""Features with rows that a test knows."""

from pathlib import Path

import numpy as np

from tests.features.conftest import ATTRIBUTES
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Rows
from vfx.features.writer import FeatureFileWriter


def written(path: Path, rows: np.ndarray, lengths: list[int]) -> FeatureFile:
    """A frame-level file with videos of these lengths."""
    with FeatureFileWriter(path, level="frame", shape=rows.shape[1:], attributes=ATTRIBUTES) as writer:
        at = 0
        for v, length in enumerate(lengths):
            index = np.arange(length)
            writer.add_video(f"v{v:04}", iter([Rows(rows[at : at + length], index, index / 2)]))
            at += length
    return FeatureFile(path)


def clustered(seed: int) -> np.ndarray:
    """20,000 rows about 400 centres."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(400, 32)).astype("f4")
    return centres[rng.integers(0, 400, 20_000)] + rng.normal(size=(20_000, 32)).astype("f4") * 0.6
