"""Features with rows that a test knows."""

from pathlib import Path

import numpy as np

from tests.feature_files import write_frames
from vfx.features.feature_file import FeatureFile


def written(path: Path, rows: np.ndarray, lengths: list[int]) -> FeatureFile:
    """A frame-level file with videos of these lengths."""
    parts = np.split(rows, np.cumsum(lengths)[:-1])
    return FeatureFile(write_frames(path, {f"v{v:04}": part for v, part in enumerate(parts)}))


def clustered(seed: int) -> np.ndarray:
    """20,000 rows about 400 centres."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(400, 32)).astype("f4")
    return centres[rng.integers(0, 400, 20_000)] + rng.normal(size=(20_000, 32)).astype("f4") * 0.6
