"""The network that each builder returns, cut at its pooled features."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import nn

from vfx.errors import ModelError
from vfx.models.transforms import Transform


@dataclass(frozen=True)
class Weights:
    """Where a network's weights came from; `sha256` is that of the file, None for random weights."""

    source: str
    licence: str
    sha256: str | None = None


@dataclass
class Network:
    """An image network without its classifier, in eval mode and without gradients.

    Args:
        name: The first part of the feature's name.
        layer: The second part: where the network is cut.
        body: (B,3,h,w) float, normalised -> (B,dim).
        head: The classifier that was cut off, (B,dim) -> (B,classes); None where there is none to cut.
        dim: Values of a feature.
        transform: What images must have gone through.
        weights: Where the weights came from.
        channels_last: Whether that memory layout is the faster one.
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


def cut_head(network: nn.Module, name: str) -> nn.Module | None:
    """Replace the linear layer called `name` by Identity, so that `network` returns that layer's input.

    Returns:
        The layer; None where there is no such layer or it is not linear, and `network` is unchanged.
    """
    head = dict(network.named_modules()).get(name)
    if not isinstance(head, nn.Linear):
        return None
    network.set_submodule(name, nn.Identity())
    return head


def check_name(name: str, known: Iterable[str], *, of: str) -> None:
    """Raise ModelError with the nearest names where `name` is none of `known`, the networks of `of`."""
    known = list(known)
    if name not in known:
        nearest = ", ".join(difflib.get_close_matches(name, known, n=5, cutoff=0.5)) or "none"
        raise ModelError(
            f"model.name ({name}) is not a network of {of}; nearest: {nearest} (python -m vfx.models"
            " filter=<part of a name> lists them)"
        )


def check_layer(layer: str, true: Sequence[str], *, of: str) -> None:
    """Raise ModelError where `layer` is none of `true`, the names of where network `of` is cut."""
    if layer not in true:
        raise ModelError(f"model.layer ({layer}) is not where {of} is cut; it must be {' or '.join(true)}")
