"""Feature files made by the code before the packages are read by every verb that reads feature files.

Their stored configs name `vfx.datamodules`, `vfx.writer`, `vfx.limits`, `vfx.sampling.uniform`, `vfx.pooling.mean` and
`vfx.models.efficientnet_lite.build`.
"""

import csv
import tarfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tests.conftest import FEATURE, ROOT, TOYDATA
from vfx import compare, concat, pool, report, search, verify
from vfx.decoding import VideoReader
from vfx.features.feature_file import FeatureFile

MEANS = f"mean_{FEATURE}"
JOINT = f"{MEANS}+{MEANS}"


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Three frames of `cat` and of `retina`, their means, and these joined with themselves. `broken` failed."""
    with tarfile.open(ROOT / "tests/fixtures/before_packages.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "outputs"


def searched(outputs: Path, *overrides: str) -> list[tuple[str, float]]:
    hits = outputs / "hits.tsv"
    search.main(f"collection={TOYDATA}", f"output_dir={outputs}", f"hits={hits}", *overrides)
    with hits.open(encoding="utf-8", newline="") as table:
        return [(row["id"], float(row["score"])) for row in csv.DictReader(table, delimiter="\t")]


@pytest.fixture
def features(outputs: Path) -> Path:
    """The outputs under the collection's present name, by which search finds the videos."""
    return (outputs / "tiny").rename(outputs / "toydata").parent


def test_they_read_as_they_were_written(outputs: Path) -> None:
    with FeatureFile(outputs / "tiny" / FEATURE) as file:
        assert list(file) == ["cat", "retina"]
        assert list(file.index) == [21, 63, 105, 1, 4, 7]
        assert [(failure.id, failure.stage) for failure in file.failures] == [("broken", "open")]
        assert file.provenance["recipe"]["sampler"] == {"name": "uniform", "num_frames": 3}
        rows = file.features[:]
    with FeatureFile(outputs / "tiny" / MEANS) as file:
        np.testing.assert_allclose(file["cat"], rows[:3].mean(axis=0), rtol=1e-6)
    with FeatureFile(outputs / "tiny" / JOINT) as joint, FeatureFile(outputs / "tiny" / MEANS) as file:
        np.testing.assert_array_equal(joint.features[:], np.tile(file.features[:], 2))


def test_a_frame_and_a_video_find_themselves(features: Path) -> None:
    hits = searched(features, f"feature={FEATURE}", "frame=retina_4", "same_video=true", "top=6")
    assert hits[0] == ("retina_4", pytest.approx(1, abs=1e-6))
    assert {id for id, _ in hits[1:3]} == {"retina_1", "retina_7"}
    assert searched(features, f"feature={MEANS}", "video=cat", "same_video=true")[0] == (
        "cat",
        pytest.approx(1, abs=1e-6),
    )
    assert [id for id, _ in searched(features, f"feature={JOINT}", "video=cat")] == ["retina"]


@pytest.mark.parametrize(("feature", "own"), [(FEATURE, "cat_63"), (MEANS, "cat")])
def test_a_picture_goes_through_the_network_that_the_stored_config_names(
    features: Path, tmp_path: Path, feature: str, own: str
) -> None:
    (frame,) = VideoReader(TOYDATA / "VideoData/cat.mp4", lambda _: np.array([63]))
    Image.fromarray(frame.pixels).save(tmp_path / "picture.png")
    (id, score), (_, second), *_ = searched(features, f"feature={feature}", f"image={tmp_path / 'picture.png'}")
    assert id == own
    assert score > (0.99999 if feature == FEATURE else 0.9)
    assert second < score


@pytest.mark.parametrize(
    ("verb", "of", "made"), [(pool, f"feature={FEATURE}", MEANS), (concat, f"features={JOINT}", JOINT)]
)
def test_made_again_from_old_files_they_are_the_same(outputs: Path, verb: ModuleType, of: str, made: str) -> None:
    place = outputs / "tiny" / made / "features.h5"
    before = place.read_bytes()
    assert verb.main("collection=tiny", f"output_dir={outputs}", of) == place
    assert place.read_bytes() == before  # the same recipe: nothing to do
    with (
        FeatureFile(place.rename(outputs / "old.h5")) as old,
        FeatureFile(verb.main("collection=tiny", f"output_dir={outputs}", of)) as new,
    ):
        np.testing.assert_array_equal(new.features[:], old.features[:])
        assert list(new.ids) == list(old.ids)
        assert new.failures == old.failures
        assert new.provenance == old.provenance
    found = compare.main(f"a={outputs / 'old.h5'}", f"b={place}", "difference=0")
    assert str(found) == "2 rows compared: least cosine 1.00000000, largest difference 0"


def test_they_are_verified_and_shown_in_a_report(outputs: Path) -> None:
    assert verify.main("collection=tiny", f"output_dir={outputs}") == outputs / "tiny"
    page = report.main("collection=tiny", f"output_dir={outputs}", "pictures=0").read_text(encoding="utf-8")
    assert page.count("broken.mp4 cannot be read as a video") == 3
    for feature in (FEATURE, MEANS, JOINT):
        assert feature in page
