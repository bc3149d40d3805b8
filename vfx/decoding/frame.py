"""What every decoder backend hands out, and how it says that it cannot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfx.errors import VideoError


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame.

    `index`: 0-based position in display order. `seconds`: presentation time.
    `pixels` (H,W,3) uint8: RGB, C-contiguous, at native size, turned as the file asks for.
    `first`: a reading begins, or begins again because the packets' times turned out wrong: what the same reading
    yielded before is then void.
    """

    index: int
    seconds: float
    pixels: NDArray[np.uint8]
    first: bool = False


class DamageError(VideoError):
    """The file is damaged: a decoder that conceals errors would only hide it, so no other is asked."""


class SoundOnlyError(VideoError):
    """The file holds sound, and no video beside it."""


class TimelineError(VideoError):
    """The frames that come out are not those that the timeline announces."""
