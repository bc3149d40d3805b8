"""What every builder of this package returns: a network that ends at its pooled features."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from vfx.transforms import Transform


@dataclass(frozen=True)
class Weights:
    """Where a network's weights came from. `sha256` is None for random ones alone."""

    source: str
    licence: str
    sha256: str | None = None


@dataclass
class Network:
    """An image network cut at its features.

    `body`: (B,3,h,w) float, normalised -> (B,dim). `head`: (B,dim) -> (B,classes), the classifier that was
    cut off, or None where the network has none. `channels_last`: whether that memory layout is the faster one.
    """

    name: str
    layer: str
    body: nn.Module
    head: nn.Module | None
    dim: int
    transform: Transform
    weights: Weights
    channels_last: bool = True
