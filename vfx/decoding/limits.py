"""How much one video may ask of the machine before it is given up. Honest videos ask for far less."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from vfx import validation
from vfx.errors import LimitError


@dataclass(frozen=True)
class Limits:
    """Limits of one video. Infinity is no limit.

    Args:
        pixels: Largest width times height of a frame.
        frames: Largest number of frames.
        hours: Longest duration.
        memory_gb: How many GB reading may take beyond what the process has at its start.
        patience: Seconds without a frame after which the decoder counts as hung.

    Raises:
        UsageError: A limit is not a positive number.
    """

    pixels: float
    frames: float
    hours: float
    memory_gb: float
    patience: float

    def __post_init__(self) -> None:
        for field in fields(self):
            validation.number(f"limits.{field.name}", getattr(self, field.name), above=0)

    @property
    def memory(self) -> float:
        """`memory_gb` in bytes."""
        return self.memory_gb * 1e9

    def check_size(self, name: str, width: int, height: int) -> None:
        """Raise LimitError if a frame is larger than `pixels`."""
        if width * height > self.pixels:
            raise LimitError(f"{name} is {width}x{height} pixels, more than limits.pixels ({self.pixels:.0f}) allows")

    def check_frame(self, pixels: NDArray[np.uint8]) -> None:
        """Raise LimitError if a decoded frame (h,w,3) is larger than `pixels`: sizes may change within a video."""
        self.check_size("a frame", pixels.shape[1], pixels.shape[0])

    def check_count(self, name: str, frames: int) -> None:
        """Raise LimitError if there are more than `frames`."""
        if frames > self.frames:
            raise LimitError(f"{name} has more frames than limits.frames ({self.frames:.0f}) allows")

    def check_duration(self, name: str, seconds: float) -> None:
        """Raise LimitError if the video is longer than `hours`."""
        if seconds > self.hours * 3600:
            raise LimitError(f"{name} lasts {seconds / 3600:.1f} hours, more than limits.hours ({self.hours:g}) allows")


UNLIMITED = Limits(math.inf, math.inf, math.inf, math.inf, math.inf)
