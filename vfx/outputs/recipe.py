"""Recipes: what makes the numbers of a feature file, and in what two of them differ."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from vfx.models import Network

Recipe = Mapping[str, Any]

# Lightning's short names, which mean the same numbers.
PRECISIONS = {"64": "64-true", "32": "32-true", "16": "16-mixed", "bf16": "bf16-mixed"}


def extraction_recipe(
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
    """The recipe of an extraction: all that changes its numbers, and nothing else. A resumed run must share it.

    Args:
        network: The network with its weights and transform.
        collection: The folder of the collection, since two collections may have one name.
        dataset: `video` or `frame`.
        sampler: The sampler's options, its name among them.
        oversample: False, True or `keep`.
        dtype: Of the stored features.
        precision: Lightning's.
        tf32: Whether matrix products may use TF32.
        compiler: What compiles the network. torch's own changes features by no more than rounding and is left out;
            OpenVINO's bf16 rounds differently.
        frames: How the frames that are read were cut. None where that is unknown, or videos are read.
    """
    made = network_recipe(network) | {
        "collection": os.path.realpath(collection),
        "oversample": oversample,
        "dataset": dataset,
        "sampler": dict(sampler),
        "dtype": dtype,
        "precision": PRECISIONS.get(str(precision), str(precision)),
    }
    others = {"tf32": tf32 or None, "compile": "openvino" if compiler == "openvino" else None, "frames": frames}
    return made | {key: value for key, value in others.items() if value is not None}


def network_recipe(network: Network) -> dict[str, Any]:
    """The part of a recipe that a network decides: its name, layer and weights, and its transform."""
    return {
        "model": {
            "name": network.name,
            "layer": network.layer,
            "weights": network.weights.sha256 or network.weights.source,
        },
        "transform": asdict(network.transform),
    }


class Difference(NamedTuple):
    """A leaf in which two recipes differ, `("sampler.fps", 2, 4)`. A missing value is "nothing"."""

    key: str
    there: Any
    here: Any

    def __str__(self) -> str:
        return f"{self.key}: {self.there} there, {self.here} here"


def differences(there: Recipe, here: Recipe) -> list[Difference]:
    """The leaves in which two recipes differ, sorted by key."""
    left, right = dict(_leaves(there)), dict(_leaves(here))
    return [
        Difference(key, left.get(key, "nothing"), right.get(key, "nothing"))
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]


def conflicts(there: Recipe, here: Recipe) -> list[Difference]:
    """The differences that forbid to mix two outputs. `frames` counts only where both recipes have it."""
    if "frames" not in there or "frames" not in here:
        there, here = ({key: value for key, value in recipe.items() if key != "frames"} for recipe in (there, here))
    return differences(there, here)


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, json.loads(json.dumps(node))  # tuples and lists compare equal, as they do once written
