"""Concatenation as its user runs it, on features of the toy collection and on small ones made for it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import FEATURE
from tests.feature_files import write_rows
from tests.test_pool import pooled, write
from vfx import concat
from vfx.errors import UsageError
from vfx.features.feature_file import FeatureFile


def joined(outputs: Path, features: str, *overrides: str) -> FeatureFile:
    return FeatureFile(concat.main("collection=toydata", f"features={features}", f"output_dir={outputs}", *overrides))


def test_two_features_stand_side_by_side(outputs: Path) -> None:
    mean, top = pooled(outputs), pooled(outputs, "pooling=max")
    file = joined(outputs, f"mean_{FEATURE}+max_{FEATURE}")
    assert file.feature == f"mean_{FEATURE}+max_{FEATURE}"
    np.testing.assert_array_equal(file.features[:], np.concatenate([mean.features[:], top.features[:]], axis=1))
    assert file.provenance["parts"] == {
        mean.feature: mean.provenance["weights"],
        top.feature: top.provenance["weights"],
    }
    assert mean.provenance["weights"]["licence"] == "Apache-2.0"
    assert "licence: Apache-2.0" in file._repr_html_()
    assert list(file.ids) == list(mean.ids)
    assert (file.path.parent / "config.yaml").read_text() == file.attributes["config"]


def test_each_part_can_be_brought_to_length_one(outputs: Path) -> None:
    pooled(outputs)
    file = joined(outputs, f"mean_{FEATURE}+mean_{FEATURE}", "normalize=l2")
    mean = pooled(outputs).features[:].astype("f8")
    unit = mean / np.linalg.norm(mean, axis=1, keepdims=True)
    np.testing.assert_allclose(file.features[:], np.concatenate([unit, unit], axis=1), rtol=1e-6, atol=1e-9)


def test_frame_level_keeps_times_and_failures(tmp_path: Path) -> None:
    write(tmp_path, "A", {"a": [0, 5], "b": [0]})
    write(tmp_path, "B", {"a": [0, 5], "b": [0]}, dims=3)
    file = joined(tmp_path, "A+B")
    assert (file.level, file.features.shape) == ("frame", (3, 5))
    np.testing.assert_array_equal(file.seconds, [0, 2.5, 0])
    assert {f.error for f in file.failures} == {"A", "B"}


def test_other_orders_follow_the_first(tmp_path: Path) -> None:
    for name, ids in {"A": "xyz", "B": "zxy"}.items():
        path = tmp_path / "toydata" / name / "features.h5"
        write_rows(path, ids, [[ord(id)] for id in ids], feature=name, collection="toydata")
    file = joined(tmp_path, "B+A")
    assert list(file.ids) == ["z", "x", "y"]
    np.testing.assert_array_equal(file.features[:, 0], file.features[:, 1])


def test_differing_ids_are_counted_and_named(tmp_path: Path) -> None:
    write(tmp_path, "A", {"a": [0, 5], "b": [0]})
    write(tmp_path, "B", {"a": [0], "c": [0, 1, 2, 3, 4, 5]})
    with pytest.raises(
        UsageError, match=r"2 \(a_5, b_0\) only in the first, 6 \(c_0, c_1, c_2, c_3, c_4, \.\.\.\) only in the second"
    ):
        joined(tmp_path, "A+B")


@pytest.mark.parametrize(("features", "error"), [("A", "must name at least two"), ("A+B+A", "of different levels")])
def test_what_cannot_be_joined_is_refused(tmp_path: Path, toy_features: FeatureFile, features: str, error: str) -> None:
    write(tmp_path, "A", {"a": [0]})
    shutil.copytree(toy_features.path.parent, tmp_path / "toydata" / FEATURE)
    pooled(tmp_path)
    (tmp_path / "toydata" / f"mean_{FEATURE}").rename(tmp_path / "toydata" / "B")
    with pytest.raises(UsageError, match=error):
        joined(tmp_path, features)
