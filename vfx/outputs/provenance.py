"""Where numbers come from: what is kept in a feature file so that they can be made again, or told apart."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vfx import __version__

if TYPE_CHECKING:
    from vfx.models import Network

PACKAGES = [
    "torch",
    "torchvision",
    "pytorch-lightning",
    "timm",
    "av",
    "decord",
    "decord2",
    "torchcodec",
    "openvino",
    "numpy",
    "h5py",
    "pillow",
]
# Lightning's short names, which mean the same numbers.
PRECISIONS = {"64": "64-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}


def recipe(
    network: Network,
    *,
    collection: Path,
    dataset: str,
    sampler: Mapping[str, Any],
    oversample: bool | str,
    dtype: str,
    precision: str | int,
    tf32: bool = False,
    compiler: bool | str = False,
    frames: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """All that changes the numbers of a feature file, and nothing that does not: what a resumed run must share.

    `collection`: its folder, since two collections may have one name. `compiler`: torch's own keeps the precision's
    features to rounding, and is none of it; OpenVINO rounds elsewhere in bf16. `tf32`: as the Extractor has it.
    `frames`: how those were cut that are read; None where that is not known, or videos are read.
    """
    made = {
        "model": {
            "name": network.name,
            "layer": network.layer,
            "weights": network.weights.sha256 or network.weights.source,
        },
        "transform": asdict(network.transform),
        "collection": os.path.realpath(collection),
        "oversample": oversample,
        "dataset": dataset,
        "sampler": dict(sampler),
        "dtype": dtype,
        "precision": PRECISIONS.get(str(precision), str(precision)),
    }
    others = {"tf32": tf32 or None, "compile": "openvino" if compiler == "openvino" else None, "frames": frames}
    return made | {key: value for key, value in others.items() if value is not None}


def versions() -> dict[str, str]:
    """The versions of what makes features."""
    found = {"vfx": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def provenance(network: Network) -> dict[str, Any]:
    """The versions, and the source, hash and licence of the weights."""
    return {"versions": versions(), "weights": asdict(network.weights)}
