"""What every decoder backend yields, and the errors it raises."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfx.errors import VideoError


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame.

    Args:
        index: 0-based position in display order.
        seconds: Presentation time.
        pixels: (H, W, 3) uint8, RGB, C-contiguous, at native size, turned as the file asks for.
        first: Whether a reading begins with this frame, or starts over because the packets' times turned out wrong.
            Discard what the same reading yielded before.
    """

    index: int
    seconds: float
    pixels: NDArray[np.uint8]
    first: bool = False


class DamageError(VideoError):
    """The file is damaged. No other decoder is tried: those that conceal errors would hide the damage."""


class AudioOnlyError(VideoError):
    """The file has audio and no video."""


class TimelineError(VideoError):
    """The decoded frames are not those that the timeline announces."""
