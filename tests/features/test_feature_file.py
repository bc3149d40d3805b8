"""Feature files as users have them, `vfx.FeatureFile`, and their views."""

from pathlib import Path

import numpy as np

import vfx
from vfx.features.feature_file import FeatureFile


def test_it_is_what_users_have(path: Path) -> None:
    assert vfx.FeatureFile is FeatureFile
    with FeatureFile(path) as file:
        assert repr(file) == f"FeatureFile({str(path)!r}: f,avgpool, frame level, (6, 3))"


def test_pandas_and_torch_hold_the_same_rows(path: Path) -> None:
    with FeatureFile(path) as file:
        frame = file.to_pandas()
        assert frame.index.names == ["video", "index", "seconds"]
        np.testing.assert_array_equal(frame.loc["a_b"].to_numpy(), file["a_b"])
        np.testing.assert_array_equal(file.to_torch().numpy(), file.features[:])
