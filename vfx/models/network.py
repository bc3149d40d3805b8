"""What every builder of this package returns: a network that ends at its pooled features."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from vfx.errors import ModelError
from vfx.models.transforms import Transform


@dataclass(frozen=True)
class Weights:
    """Where a network's weights came from. `sha256` is of the whole file; None for random ones alone."""

    source: str
    licence: str
    sha256: str | None = None


@dataclass
class Network:
    """An image network cut at its features: in eval mode, and without gradients.

    `body`: (B,3,h,w) float, normalised -> (B,dim). `head`: (B,dim) -> (B,classes), the classifier that was
    cut off, or None where there is none to cut. `channels_last`: whether that memory layout is the faster one.
    """

    name: str
    layer: str
    body: nn.Module
    head: nn.Module | None
    dim: int
    transform: Transform
    weights: Weights
    channels_last: bool = True

    def __post_init__(self) -> None:
        for module in (self.body, self.head):
            if module is not None:
                module.eval().requires_grad_(False)


def cut(network: nn.Module, name: str) -> nn.Module | None:
    """Take the linear layer called `name` out of `network`, which from then on gives that layer's input.

    None where there is no such layer, or where what is there is not linear: `network` is left as it is.
    """
    head = dict(network.named_modules()).get(name)
    if not isinstance(head, nn.Linear):
        return None
    network.set_submodule(name, nn.Identity())
    return head


def check_name(name: str, known: Iterable[str], *, of: str) -> None:
    """Raise ModelError with the nearest names where `name` is not one of `known`, the networks of `of`."""
    known = list(known)
    if name not in known:
        nearest = ", ".join(difflib.get_close_matches(name, known, n=5, cutoff=0.5)) or "none"
        raise ModelError(
            f"model.name ({name}) is not a network of {of}; nearest: {nearest} (python -m vfx.models"
            " filter=<part of a name> lists them)"
        )


def check_layer(layer: str, true: Sequence[str], *, of: str) -> None:
    """Raise ModelError where `layer`, which features are named by, is not what the features of `of` are."""
    if layer not in true:
        raise ModelError(f"model.layer ({layer}) is not where {of} is cut; it must be {' or '.join(true)}")
