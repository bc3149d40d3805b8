"""A feature file of which every number is known."""

import numpy as np
import pytest

from tests.features.conftest import ATTRIBUTES
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure, Rows
from vfx.features.writer import FeatureFileWriter

LENGTHS = [1, 3, 200, 7, 64, 2]


@pytest.fixture(scope="package")
def known(tmp_path_factory: pytest.TempPathFactory) -> FeatureFile:
    """Rows of which every number is known: dimension 2 is silent, 5 constant; one row is NaN, one is zeros."""
    rng = np.random.default_rng(3)
    rows = np.maximum(rng.normal(size=(sum(LENGTHS), 12)), 0).astype("f4") + np.float32(0)
    rows[:, 2], rows[:, 5] = 0, 7
    rows[10] = 0
    rows[20] = np.nan
    path = tmp_path_factory.mktemp("known") / "features.h5"
    start = 0
    with FeatureFileWriter(path, level="frame", shape=(12,), attributes=ATTRIBUTES) as writer:
        for v, n in enumerate(LENGTHS):
            seconds = np.arange(n) / 2 if v else np.full(n, np.nan)
            writer.add_video(f"v{v}", iter([Rows(rows[start : start + n], np.arange(n) * 12, seconds)]))
            start += n
        writer.add_failures([Failure(f"x{n:04}", "open" if n % 3 else "decode", "why\0") for n in range(700)])
    return FeatureFile(path)
