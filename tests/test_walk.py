"""The whole way of a user of the lineage: frames, features of two networks with ten crops, pool, concat, BigFile."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import TOYDATA, VIDEOS
from vfx import concat, export, extract, frames, pool
from vfx.features.feature_file import FeatureFile

OURS = "efficientnet_lite0,avgpool,os"
OTHER = "resnet50,avgpool,os,random"
LINEAGE = VIDEOS / "lineage" / "VideoData" / "shot00001_1.webm"  # its own toy clip, where it is at hand


@pytest.mark.dear
def test_all_four_steps_and_the_bridge(tmp_path: Path) -> None:
    collection = tmp_path / "walk"
    (collection / "VideoData").mkdir(parents=True)
    clips = [TOYDATA / "VideoData" / name for name in ("coffee_phone.mp4", "retina.mp4", "shuttle.gif")]
    clips += [LINEAGE] if LINEAGE.is_file() else []
    for clip in clips:
        shutil.copy(clip, collection / "VideoData")
    videos = sorted(clip.stem for clip in clips)
    common = f"collection={collection}"
    out = f"output_dir={tmp_path}/out"

    assert frames.main(common, "sampler=lineage") == collection / "ImageData"
    listed = (collection / "id.imagepath.txt").read_text().split("\n")
    assert "coffee_phone_15 ImageData/coffee_phone/coffee_phone_15.jpg" in listed
    assert [line.split()[0] for line in listed if line.startswith("shot")] == [
        f"shot00001_1_{i}" for i in (0, 12, 25, 37, 50, 62, 75, 87, 100, 112, 125) if LINEAGE.is_file()
    ]

    extract.main(common, out, "dataset=frame", "oversample=true", "trainer=cpu")
    extract.main(
        common, out, "dataset=frame", "oversample=true", "trainer=cpu", "model=resnet50", "model.weights=random"
    )
    for feature in [OURS, OTHER]:
        with FeatureFile(tmp_path / "out/walk" / feature) as file:
            assert list(file.ids) == sorted(file.ids, key=lambda i: (i.rpartition("_")[0], int(i.rpartition("_")[2])))
            assert [i for i in file.ids if i.startswith("coffee")] == [f"coffee_phone_{i}" for i in (0, 15, 30, 45, 60)]
        pool.main(common, out, f"feature={feature}")
    joint = FeatureFile(concat.main(common, out, f"features=mean_{OURS}+mean_{OTHER}"))
    assert (joint.level, joint.features.shape) == ("video", (len(videos), 1280 + 2048))

    folder = export.main(common, out, f"feature={joint.feature}", "format=bigfile")
    assert folder == collection / "FeatureData" / f"mean_{OURS}+mean_{OTHER}"
    assert (folder / "shape.txt").read_text() == f"{len(videos)} {1280 + 2048}"
    assert (folder / "id.txt").read_text().split() == videos
    matrix = np.fromfile(folder / "feature.bin", "<f4").reshape(len(videos), -1)
    for feature, columns in [(OURS, slice(1280)), (OTHER, slice(1280, None))]:
        with FeatureFile(tmp_path / "out/walk" / feature) as file:
            means = [file[video].astype("f8").mean(0) for video in videos]
        np.testing.assert_allclose(matrix[:, columns], means, rtol=1e-6, atol=1e-7)
