"""The size of a feature file is known before it is made."""

from __future__ import annotations

import pytest

from vfx.features.feature_file import FeatureFile
from vfx.probing.estimate import feature_shape, file_bytes


def test_the_estimate_is_near_a_real_file(toy_features: FeatureFile) -> None:
    assert file_bytes(toy_features.features.shape, "float32") == pytest.approx(
        toy_features.path.stat().st_size, rel=0.05
    )


def test_kept_crops_are_an_axis() -> None:
    assert feature_shape(59, 1280, "keep") == (59, 10, 1280)
    assert feature_shape(59, 1280, True) == feature_shape(59, 1280, False) == (59, 1280)
    assert file_bytes((2, 10, 4), "float16") - file_bytes((2, 4), "float16") == 2 * 9 * 4 * 2
