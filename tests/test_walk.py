"""The whole way of a user of the lineage: frames, features of two networks with ten crops, pool, concat, BigFile."""

import shutil
from pathlib import Path

import numpy as np

from tests.conftest import TOYDATA
from vfx import concat, export, extract, frames, pool
from vfx.store import FeatureFile

OURS = "efficientnet_lite0,avgpool,os"
OTHER = "resnet50,avgpool,os,random"


def test_all_four_steps_and_the_bridge(tmp_path: Path) -> None:
    collection = tmp_path / "walk"
    (collection / "VideoData").mkdir(parents=True)
    for name in ["retina.mp4", "coffee_phone.mp4", "shuttle.gif"]:
        shutil.copy(TOYDATA / "VideoData" / name, collection / "VideoData")
    common = f"collection={collection}"
    out = f"output_dir={tmp_path}/out"

    assert frames.main(common, "sampler=lineage") == collection / "ImageData"
    listed = (collection / "id.imagepath.txt").read_text().split("\n")
    assert "coffee_phone_15 ImageData/coffee_phone/coffee_phone_15.jpg" in listed

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
    assert (joint.level, joint.features.shape) == ("video", (3, 1280 + 2048))

    folder = export.main(common, out, f"feature={joint.feature}", "format=bigfile")
    assert folder == collection / "FeatureData" / f"mean_{OURS}+mean_{OTHER}"
    assert (folder / "shape.txt").read_text() == f"3 {1280 + 2048}"
    assert (folder / "id.txt").read_text().split() == ["coffee_phone", "retina", "shuttle"]
    matrix = np.fromfile(folder / "feature.bin", "<f4").reshape(3, -1)
    with FeatureFile(tmp_path / "out/walk" / OURS) as ours:
        np.testing.assert_allclose(matrix[2, :1280], ours["shuttle"].astype("f8").mean(0), rtol=1e-6, atol=1e-7)
