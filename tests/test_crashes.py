"""A video that crashes its decoder costs itself alone, in a real run from the video to the file."""

import dataclasses
import logging
from pathlib import Path

import pytest

from tests.clips import CLIPS
from tests.conftest import TOYDATA, link_clips
from tests.crashing import CrashingVideos, extract_by
from vfx.features.feature_file import FeatureFile
from vfx.models import efficientnet_lite

HANG = "no frame for 6 s"
REASONS = {
    "segfaults": "decoder crashed (SIGSEGV)",
    "aborts": "decoder crashed (SIGABRT)",
    "hangs": HANG,
    "eats": "it takes more memory than limits.memory_gb allows",
    "trusts": HANG,
}


@pytest.mark.slow  # hangs take their time; tests/extraction/test_parallel_reader.py has some without a network
@pytest.mark.filterwarnings("ignore:Couldn't infer the batch indices", r"ignore:`isinstance\(treespec, LeafSpec\)`")
def test_crashes_hangs_and_hunger_cost_their_videos_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, toy_features: FeatureFile
) -> None:
    folder = link_clips(tmp_path / "c", "retina.mp4", "coffee_phone.mp4", "cat.mp4") / "VideoData"
    for name in ["segfaults", "segfaults_2", "aborts", "hangs", "eats"]:
        (folder / f"{name}.mp4").symlink_to(TOYDATA / "VideoData" / "retina.mp4")
    # times beyond 2^31 ticks, in which decord seeks for ever
    dataclasses.replace(CLIPS["h264_late.ts"], num_frames=300, gop=250, name="trusts.ts").write(folder)

    with caplog.at_level(logging.WARNING, "vfx"):
        file = extract_by(CrashingVideos, folder.parent, tmp_path / "out", efficientnet_lite.build())

    assert {f.id: (f.stage, f.error) for f in file.failures} == {
        name: ("decode", REASONS[name.partition("_")[0]]) for name in [*REASONS, "segfaults_2"]
    }
    assert list(file.videos) == ["cat", "coffee_phone", "retina"]
    for video in file.videos:
        assert abs(file[video] - toy_features[video]).max() < 2e-5
    said = [r.getMessage() for r in caplog.records if r.name == "vfx.extraction.parallel_reader"]
    crashed = ("segfaults", "segfaults_2", "aborts", "hangs", "trusts")
    assert sorted(line for line in said if line.endswith("given up")) == sorted(
        f"{name}: {REASONS[name.partition('_')[0]]}; given up" for name in crashed
    )
    assert sorted(line.partition(":")[0] for line in said if line.endswith("tried again later")) == sorted(crashed)
