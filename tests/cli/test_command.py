"""The apps' common ground: commas in names, what a config may call, and what is refused before anything runs."""

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import hydra
import pytest
from omegaconf import OmegaConf

import vfx
from tests.conftest import ROOT, TOYDATA
from vfx.cli.command import build, check_launcher, feature_name, quote_commas, resolved, spread_models, sweep_first
from vfx.errors import UsageError
from vfx.features.feature_file import FeatureFile


def test_names_with_commas_are_quoted_for_hydra() -> None:
    given = ["feature=a,b,os", "features=A,x+B,y", "feature=plain", "feature='a,b'", "model=a,b", "--help"]
    assert quote_commas(given) == [
        "feature='a,b,os'", "features='A,x+B,y'", "feature=plain", "feature='a,b'", "model=a,b", "--help",
    ]  # fmt: skip
    assert quote_commas(quote_commas(given)) == quote_commas(given)
    assert quote_commas(["segments=/a,b.tsv", "segments=~/x.tsv", "sampler.file=~/x"]) == [
        "segments='/a,b.tsv'", "segments='~/x.tsv'", "sampler.file='~/x'",
    ]  # fmt: skip


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
def test_in_a_sweep_the_error_says_how_to_quote(flag: str) -> None:
    with pytest.raises(UsageError, match=r"""quote each name, and the whole for the shell: 'feature="a,b"'"""):
        quote_commas([flag, "feature=a,b"])
    assert quote_commas([flag, 'feature="a,b","c,d"', "model=a,b"]) == [flag, 'feature="a,b","c,d"', "model=a,b"]


@pytest.mark.parametrize(("name", "plugin"), [("joblib", "joblib"), ("slurm", "submitit")])
def test_a_launcher_that_is_missing_is_named_with_what_installs_it(
    name: str, plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"hydra_plugins.hydra_{plugin}_launcher", None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=rf"hydra/launcher={name} needs hydra_plugins: pip install 'vfx\[cluster\]'"):
        check_launcher(["-m", f"hydra/launcher={name}"])
    check_launcher(["-m", "collection=a,b"])


def test_a_sweep_may_be_asked_for_anywhere(tmp_path: Path) -> None:
    assert sweep_first(["a=1", "--multirun", "b=2", "--cfg", "job"]) == ["--multirun", "a=1", "b=2", "--cfg", "job"]
    given = [f"rootpath={tmp_path}", f"output_dir={tmp_path}", "collection=none", "-m", "feature=x", "pooling=mean,max"]
    run = subprocess.run([sys.executable, "-m", "vfx.pool", *given], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1
    assert "error: 2 of 2 jobs failed: 0, 1" in run.stderr


def test_a_list_of_models_stays_behind_the_options_before_it() -> None:
    assert spread_models(["-m", "model=[a,b]", "model.layer=x", "oversample=false,true"]) == [
        "-m", "model=a", "+model@models.a=a", "+model@models.b=b", "model.layer=x", "oversample=false,true",
        "models.a.layer=x", "models.b.layer=x",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "torch.load",
        "vfx.models.weights.torch.load",
        "vfx.models.weights.torch.hub.load",
        "vfx.extraction.datamodules.os.system",
        "vfx.models.weights.download",
        "vfx.sampling.np.load",
        "pytorch_lightning.strategies.ddp.torch.load",
    ],
)
def test_a_config_cannot_call_what_it_likes(target: str) -> None:
    with pytest.raises(UsageError, match=f"_target_ {target} is not one that a config may name"):
        build(OmegaConf.create({"_target_": target}))
    with pytest.raises(UsageError, match="is not one that a config may name"):
        build(OmegaConf.create({"_target_": "vfx.sampling.fps", "_partial_": True, "fps": {"_target_": target}}))


@pytest.mark.parametrize("value", ["", "q" * 10_000, "a/" + "é" * 128, "a\0b"])
@pytest.mark.parametrize("key", ["collection", "feature", "segments", "output_dir"])
def test_names_that_no_file_can_have_are_refused(key: str, value: str) -> None:
    config = OmegaConf.create({"overwrite": False, key: value})
    with pytest.raises(UsageError, match=rf"{key} \('.*\) must be a path, not empty, .* of at most 255 bytes"):
        resolved(config, "extract")
    assert resolved(OmegaConf.create({"overwrite": False, key: "é" * 127}), "extract")[key] == "é" * 127


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


def test_what_a_config_may_call_is_called() -> None:
    made = build(OmegaConf.create({"_target_": "vfx.sampling.fps", "_partial_": True, "fps": 2}))
    assert made.keywords == {"fps": 2}
    assert b"hydra" not in pickle.dumps(made), "workers would import Hydra, and ask it for each video"


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


def test_paths_with_brackets_need_no_quotes_within_quotes() -> None:
    assert quote_commas(["collection=/my videos (2024)", "rootpath=~/x"]) == [
        "collection='/my videos (2024)'", "rootpath='~/x'",
    ]  # fmt: skip
    assert quote_commas(["collection='a (b)'", "rootpath=${oc.env:X}", "collection=my videos"]) == [
        "collection='a (b)'", "rootpath=${oc.env:X}", "collection=my videos",
    ]  # fmt: skip


def test_apps_are_there_without_an_import_of_each() -> None:
    assert vfx.extract.main.__module__ == "vfx.extract"
    assert {name for name in vfx.APPS if not callable(getattr(vfx, name).main)} == set()
