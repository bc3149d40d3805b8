"""Configs: what they may call, and values that are refused before anything runs."""

import json
import pickle
import shutil
from pathlib import Path

import h5py
import hydra
import pytest
from omegaconf import OmegaConf

import vfx
from tests.conftest import TOYDATA
from vfx.cli.config import build, feature_name, resolve
from vfx.errors import UsageError
from vfx.features.feature_file import FeatureFile


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.load",
        "vfx.models.weights.torch.load",
        "vfx.models.weights.torch.hub.load",
        "vfx.extraction.datamodules.os.system",
        "vfx.models.published_weights.download",
        "vfx.sampling.samplers.np.load",
        "pytorch_lightning.strategies.ddp.torch.load",
    ],
)
def test_a_config_cannot_call_what_it_likes(target: str) -> None:
    with pytest.raises(UsageError, match=f"_target_ {target} is not one that a config may name"):
        build(OmegaConf.create({"_target_": target}))
    with pytest.raises(UsageError, match="is not one that a config may name"):
        build(OmegaConf.create({"_target_": "vfx.sampling.fps", "_partial_": True, "fps": {"_target_": target}}))


def test_what_a_config_may_call_is_called() -> None:
    made = build(OmegaConf.create({"_target_": "vfx.sampling.fps", "_partial_": True, "fps": 2}))
    assert made.keywords == {"fps": 2}
    assert b"hydra" not in pickle.dumps(made), "workers would import Hydra, and ask it for each video"


def test_the_config_in_a_feature_file_is_read_by_people_alone(toy_features: FeatureFile, tmp_path: Path) -> None:
    """Every app takes a file from elsewhere, and none builds what its attributes say."""
    toy_features.close()
    outputs, proof = tmp_path / "outputs", tmp_path / "proof"
    shutil.copytree(toy_features.path.parent.parent, outputs / "toydata")
    # os.system is what one would fear; it is what Hydra itself refuses, so another proves that it was not asked
    target = {"_target_": "pathlib.Path.touch", "_args_": [{"_target_": "pathlib.Path", "_args_": [str(proof)]}]}
    fear = {"_target_": "os.system", "command": f"touch {proof}"}
    evil = OmegaConf.create({**target, "model": fear, "sampler": target})
    name = "efficientnet_lite0,avgpool"
    with h5py.File(outputs / "toydata" / name / "features.h5", "r+") as file:
        file.attrs["config"] = OmegaConf.to_yaml(evil)
        file.attrs["provenance"] = json.dumps(json.loads(file.attrs["provenance"]) | {"sampler": target, **target})
    (outputs / "toydata" / name / "config.yaml").write_text(OmegaConf.to_yaml(evil))
    common = [f"collection={TOYDATA}", f"output_dir={outputs}"]
    made = outputs / "toydata" / name / "features.h5"
    before = made.stat().st_mtime_ns
    assert vfx.extract.main(*common, "trainer=cpu") == made
    vfx.pool.main(*common, f"feature={name}")
    vfx.pool.main(*common, f"feature={name}", "pooling=max")
    vfx.concat.main(*common, f"features=mean_{name}+max_{name}")
    vfx.export.main(*common, f"feature={name}", "format=npy")
    assert made.stat().st_mtime_ns == before
    assert not proof.exists()
    hydra.utils.instantiate(OmegaConf.create(target))
    assert proof.exists(), "Hydra alone would run it"


@pytest.mark.parametrize("value", ["", "q" * 10_000, "a/" + "é" * 128, "a\0b"])
@pytest.mark.parametrize("key", ["collection", "feature", "segments", "output_dir"])
def test_names_that_no_file_can_have_are_refused(key: str, value: str) -> None:
    config = OmegaConf.create({"overwrite": False, key: value})
    with pytest.raises(UsageError, match=rf"{key} \('.*\) must be a path, not empty, .* of at most 255 bytes"):
        resolve(config, "pool")
    assert resolve(OmegaConf.create({"overwrite": False, key: "é" * 127}), "pool")[key] == "é" * 127


@pytest.mark.parametrize(
    ("oversample", "weights", "name"),
    [
        (False, "pretrained", "m,avgpool"),
        (True, "/a/file.pth", "m,avgpool,os"),
        ("keep", "pretrained", "m,avgpool,oskeep"),
        (True, "random", "m,avgpool,os,random"),
    ],
)
def test_features_are_named_as_the_lineage_names_them(oversample: bool | str, weights: str, name: str) -> None:
    assert feature_name("m", "avgpool", oversample, weights) == name
