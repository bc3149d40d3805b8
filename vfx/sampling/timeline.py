"""Timelines: the presentation times of a video's frames, from which samplers choose."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Timeline:
    """A video's frames in display order; position i is the frame's index.

    Args:
        seconds: (n,) float64 presentation times, ascending; NaN if unknown (loose frames).
        keyframe: (n,) bool, whether the container marks the frame as a key frame.
        pts: (n,) int64, the same times in ticks of the stream, strictly ascending. Decoded frames are recognised by
            them. None if the container has no reliable presentation times (AVI); then frames are counted.
        promised: How many frames the container says it has: more than n if the file is cut short.
        rate: Frames per second as the container states them, 0 if it does not; NaN for loose frames. Only the samplers
            of video-cnn-feat use it; the others use `seconds`.
        video: The video's id, for samplers that treat videos differently; "" if unknown.
        random_access: (n,) bool, whether decoding that starts at the frame gives, from there on, the same pixels as
            decoding from the beginning; None if unknown.
        damaged_ranges: Ranges `[begin, end)` of the file's bytes in which packets are lost.
        damage: What is wrong with the file's structure, in words; "" if nothing.
    """

    seconds: NDArray[np.float64]
    keyframe: NDArray[np.bool_]
    pts: NDArray[np.int64] | None = None
    promised: int = 0
    rate: float = math.nan
    video: str = ""
    random_access: NDArray[np.bool_] | None = None
    damaged_ranges: tuple[tuple[int, int], ...] = ()
    damage: str = ""

    def __len__(self) -> int:
        return len(self.seconds)


Sampler = Callable[[Timeline], NDArray[np.int64]]  # chooses frame indices (m,), ascending
