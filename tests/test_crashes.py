"""A video that crashes its decoder costs itself alone, in a real run from the video to the file."""

import dataclasses
import logging
from contextlib import closing
from pathlib import Path

import pytest
from pytorch_lightning import Trainer

from tests.clips import CLIPS
from tests.conftest import LIMITS, TOYDATA
from tests.crashing import CrashingVideos
from vfx.collection.collection import find_collection
from vfx.extraction.lightning_module import Extractor
from vfx.extraction.prediction_writer import FeatureWriter
from vfx.features.feature_file import FeatureFile
from vfx.inference.encoder import Encoder
from vfx.models import efficientnet_lite
from vfx.outputs.output_folder import OutputFolder
from vfx.sampling.samplers import half_second

ATTRIBUTES = {"feature": "f", "collection": "c", "config": "", "provenance": '{"recipe": {}}'}
HANG = "no frame for 6 s"
REASONS = {
    "segfaults": "decoder crashed (SIGSEGV)",
    "aborts": "decoder crashed (SIGABRT)",
    "hangs": HANG,
    "eats": "it takes more memory than limits.memory_gb allows",
    "trusts": HANG,
}


def extracted(folder: Path, collection: Path, *, num_workers: int) -> FeatureFile:
    output = OutputFolder(folder)
    output.prepare({}, overwrite=False)
    data = CrashingVideos(
        find_collection(str(collection), "."),
        sample=half_second,
        limits=dataclasses.replace(LIMITS, patience=6, memory_gb=1),
        num_workers=num_workers,
    )
    data.plan(data.sources(), done=())
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[FeatureWriter([output])],
    )
    extractor = Extractor([Encoder(efficientnet_lite.build())], attributes=[ATTRIBUTES])
    with closing(extractor), closing(data):
        trainer.predict(extractor, datamodule=data, return_predictions=False)
    return FeatureFile(output.features)


@pytest.mark.slow  # hangs take their time; tests/extraction/test_parallel_reader.py has some without a network
@pytest.mark.filterwarnings("ignore:Couldn't infer the batch indices", r"ignore:`isinstance\(treespec, LeafSpec\)`")
def test_crashes_hangs_and_hunger_cost_their_videos_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, toy_features: FeatureFile
) -> None:
    folder = tmp_path / "c" / "VideoData"
    folder.mkdir(parents=True)
    for name in ["retina", "coffee_phone", "cat"]:
        (folder / f"{name}.mp4").symlink_to(TOYDATA / "VideoData" / f"{name}.mp4")
    for name in ["segfaults", "segfaults_2", "aborts", "hangs", "eats"]:
        (folder / f"{name}.mp4").symlink_to(TOYDATA / "VideoData" / "retina.mp4")
    # times beyond 2^31 ticks, in which decord seeks for ever
    dataclasses.replace(CLIPS["h264_late.ts"], num_frames=300, gop=250, name="trusts.ts").write(folder)

    with caplog.at_level(logging.WARNING, "vfx"):
        file = extracted(tmp_path / "out", folder.parent, num_workers=2)

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
