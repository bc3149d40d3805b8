"""The presentation times of a video's frames: what samplers choose from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Timeline:
    """A video's frames in display order; position i is the frame's index.

    `seconds` (n,) float64: presentation time, ascending; NaN where the source does not say (loose frames).
    `keyframe` (n,) bool: whether the source marks it as one at which decoding can start.
    `pts` (n,) int64: the same times in ticks of the stream, strictly ascending, by which a decoded frame is
    known; None where the container gives none that can be believed (AVI), and frames are known by their count.
    `promised`: how many frames the container says it has, which is more than n where the file is cut short.
    `rate`: frames a second as the container states them, 0 where it states none; NaN for loose frames, which have no
    container. Times are in `seconds`: only the samplers of the lineage go by the rate.
    `video`: its id, where it is known, for samplers that treat videos differently.
    `holes`: ranges `[begin, end)` of the file's bytes in which packets are lost, and `flaw`, what is wrong with its
    structure in words, "" if nothing is.
    `entry` (n,) bool: whether decoding that starts there shows exactly what decoding from the beginning does, from
    this frame on; None where that is not known.
    """

    seconds: NDArray[np.float64]
    keyframe: NDArray[np.bool_]
    pts: NDArray[np.int64] | None = None
    promised: int = 0
    rate: float = math.nan
    video: str = ""
    entry: NDArray[np.bool_] | None = None
    holes: tuple[tuple[int, int], ...] = ()
    flaw: str = ""

    def __len__(self) -> int:
        return len(self.seconds)
