"""Frames to network input: resize of the short side, crops, normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Transform:
    """What a network was trained to see.

    `resize`: pixels of the short side, or (height, width) where the aspect is not kept.
    `crop`: side of the square crop. `mean`, `std`: of RGB in [0, 1].
    """

    resize: int | tuple[int, int]
    crop: int
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
