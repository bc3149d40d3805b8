"""A feature file of which every number is known."""

import numpy as np
import pytest

from tests.feature_files import timed, write_frames
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure, Rows

LENGTHS = [1, 3, 200, 7, 64, 2]


@pytest.fixture(scope="package")
def known(tmp_path_factory: pytest.TempPathFactory) -> FeatureFile:
    """Rows of which every number is known: dimension 2 is silent, 5 constant; one row is NaN, one is zeros."""
    rng = np.random.default_rng(3)
    rows = np.maximum(rng.normal(size=(sum(LENGTHS), 12)), 0).astype("f4") + np.float32(0)
    rows[:, 2], rows[:, 5] = 0, 7
    rows[10] = 0
    rows[20] = np.nan
    parts = np.split(rows, np.cumsum(LENGTHS)[:-1])
    videos = {f"v{v}": timed(part, step=12, rate=24) for v, part in enumerate(parts)}
    videos["v0"] = Rows(parts[0], np.arange(1), np.array([np.nan]))
    failures = [Failure(f"x{n:04}", "open" if n % 3 else "decode", "why\0") for n in range(700)]
    return FeatureFile(write_frames(tmp_path_factory.mktemp("known") / "features.h5", videos, failures=failures))
