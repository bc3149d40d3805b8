"""Every YAML of the group `model` composes, and what it names is built as docs/models.md states."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import DictConfig

from vfx import CONF_DIR
from vfx.models import Network

FEATURES = {
    "efficientnet_lite0": ("efficientnet_lite0,avgpool", 1280),
    "resnest50": ("resnest50,avgpool", 2048),
    "resnest101": ("resnest101,avgpool", 2048),
    "resnest200": ("resnest200,avgpool", 2048),
    "resnest269": ("resnest269,avgpool", 2048),
    "resnet50": ("resnet50,avgpool", 2048),
    "resnext101_32x8d": ("resnext101_32x8d_wsl,avgpool", 2048),
    "resnext101_32x16d": ("resnext101_32x16d_wsl,avgpool", 2048),
    "resnext101_32x32d": ("resnext101_32x32d_wsl,avgpool", 2048),
    "resnext101_32x48d": ("resnext101_32x48d_wsl,avgpool", 2048),
    "timm": ("vit_tiny_patch16_224,pre_logits", 192),
    "torchvision": ("resnet18,pre_logits", 512),
}
NAMES = {"timm": "vit_tiny_patch16_224", "torchvision": "resnet18"}
LARGE = {"resnext101_32x16d", "resnext101_32x32d", "resnext101_32x48d", "resnest101", "resnest200", "resnest269"}


def config(model: str) -> DictConfig:
    with initialize_config_dir(str(Path(CONF_DIR) / "model"), version_base="1.3"):
        return compose(model, overrides=[f"name={NAMES[model]}"] if model in NAMES else [])


def test_every_config_is_tested() -> None:
    assert {path.stem for path in (Path(CONF_DIR) / "model").glob("*.yaml")} == set(FEATURES)


@pytest.mark.parametrize("model", FEATURES)
def test_every_config_says_in_a_sentence_what_it_is(model: str) -> None:
    first = (Path(CONF_DIR) / "model" / f"{model}.yaml").read_text().splitlines()[0]
    assert first.startswith("# ")


@pytest.mark.parametrize("model", FEATURES)
def test_the_features_name_is_known_before_anything_is_built(model: str) -> None:
    cfg = config(model)
    assert f"{cfg.name},{cfg.layer}" == FEATURES[model][0]
    assert cfg.weights == "pretrained"
    assert cfg._target_.startswith("vfx.models.")


@pytest.mark.parametrize("model", [pytest.param(m, marks=[pytest.mark.slow] * (m in LARGE)) for m in FEATURES])
def test_every_config_builds_a_network_that_runs(model: str) -> None:
    network = instantiate(config(model), weights="random")
    assert isinstance(network, Network)
    name, dim = FEATURES[model]
    assert (f"{network.name},{network.layer}", network.dim) == (name, dim)
    side = 224 if model == "timm" else 64
    with torch.inference_mode():
        features = network.body(torch.zeros(1, 3, side, side))
        assert features.shape == (1, dim)
        assert network.head is not None and network.head(features).shape == (1, 1000)
