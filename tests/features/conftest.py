"""A small feature file, and the rows in it."""

from pathlib import Path

import numpy as np
import pytest

from tests.feature_files import ATTRIBUTES
from vfx.features.rows import Failure, Rows
from vfx.features.writer import FeatureFileWriter


def rows(count: int, start: int = 0, dims: int = 3) -> Rows:
    index = np.arange(start, start + count) * 10
    return Rows(np.arange(count * dims, dtype="f4").reshape(count, dims) + start, index, index / 25)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "features.h5"
    with FeatureFileWriter(path, level="frame", shape=(3,), attributes=ATTRIBUTES) as writer:
        writer.add_video("a_b", iter([rows(2), rows(3, 2)]), decoder="pyav")
        writer.add_video("c", iter([rows(1)]), decoder="decord")
        writer.add_failures([Failure("c", "decode", "1 of 4 frames"), Failure("d", "open", "gone")])
    return path
