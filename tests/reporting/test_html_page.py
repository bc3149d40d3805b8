"""The page of a report, made of studies and pictures."""

from tests.conftest import LIMITS, TOYDATA
from vfx.analysis.thumbnails import make_thumbnails
from vfx.collection.collection import Collection
from vfx.features.feature_file import FeatureFile
from vfx.reporting.html_page import render
from vfx.reporting.study import Options, study, wanted_frames


def test_a_page_has_a_largest_size(toy_features: FeatureFile) -> None:
    options = Options(pictures=20)
    studies = [study(toy_features, options)]
    frames = wanted_frames(studies, options)
    thumbnails = list(make_thumbnails(Collection("toydata", TOYDATA), frames, limits=LIMITS))
    whole = render(studies, thumbnails, options=options)
    assert whole.count("data:image/jpeg") == len(thumbnails) == 20
    assert "There are no pictures" not in whole
    small = render(studies, thumbnails, options=options, most_bytes=len(whole.encode()) - 1)
    assert "There are no pictures in this page: with them it would have more than 0 MiB" in small
    assert "data:image/jpeg" not in small
