"""Provenance: the versions and weights that a feature file was made with."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
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


def versions() -> dict[str, str]:
    """The versions of vfx, Python, the platform and the packages that change features, by name."""
    found = {"vfx": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def provenance(network: Network) -> dict[str, Any]:
    """The attribute `provenance` of a feature file, without its recipe: `versions` and `weights`."""
    return {"versions": versions(), "weights": asdict(network.weights)}
