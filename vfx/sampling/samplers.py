"""Samplers: choose, from the times of a video's frames, which frames to extract.

A sampler is a pure function of a `Timeline` and its options. It returns indices (m,) int64, ascending and unique, at
least one for a video that has frames. Samplers check their options before they look at the timeline, so that an empty
timeline finds bad options before any video is read. They raise SamplerError for bad options and unknown times.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from vfx.errors import SamplerError
from vfx.sampling.timeline import Timeline

Indices = NDArray[np.int64]

CLOCK_TOLERANCE = 1e-6
"""Seconds within which two times count as equal: less than the tick of any container."""


def half_second(timeline: Timeline) -> Indices:
    """A frame every 0.5 s of presentation time: `fps` with `fps=2`."""
    return _on_grid(timeline, 2.0, "half_second")


def fps(timeline: Timeline, *, fps: float) -> Indices:
    """For k = 0, 1, 2, ... the first frame whose time in seconds is >= k / fps.

    Args:
        timeline: Its times are absolute, as the container gives them.
        fps: Frames per second.
    """
    _require_positive("fps", fps)
    return _on_grid(timeline, float(fps), "fps")


def stride(timeline: Timeline, *, stride: int) -> Indices:
    """Every `stride`-th frame, from the first."""
    _require_whole("stride", stride)
    return np.arange(0, len(timeline), stride, dtype=np.int64)


def uniform(timeline: Timeline, *, num_frames: int) -> Indices:
    """The frames on display at the centres of `num_frames` equal segments of time.

    The last frame is taken to last as long as the one before it. A frame may be on display at several centres, so a
    short video gives fewer than `num_frames`.
    """
    _require_whole("num_frames", num_frames)
    seconds = _known_seconds(timeline, "uniform")
    if len(seconds) < 2:
        return np.arange(len(seconds), dtype=np.int64)
    duration = seconds[-1] - seconds[0] + (seconds[-1] - seconds[-2])
    # The work grows with frames, not with num_frames: `passed` is how many centres lie before each frame's time. A
    # frame is on display at a centre if the next frame has passed it and the frame itself has not.
    position = (seconds - seconds[0] - CLOCK_TOLERANCE) / duration if duration > 0 else np.zeros(len(seconds))
    passed = np.append(np.ceil(position * num_frames - 0.5).clip(0, num_frames), num_frames)
    return np.flatnonzero(np.diff(passed) > 0)


def keyframes(timeline: Timeline) -> Indices:
    """The frames that the container marks as key frames; the first frame if none is marked."""
    chosen = np.flatnonzero(timeline.keyframe)
    return chosen if len(chosen) else np.arange(min(len(timeline), 1), dtype=np.int64)


def all_frames(timeline: Timeline) -> Indices:
    """Every frame."""
    return np.arange(len(timeline), dtype=np.int64)


def lineage(timeline: Timeline) -> Indices:
    """What video-cnn-feat kept under Python 2, two frames per second: i % fps == 0 or i % fps == fps // 2.

    `fps` is the container's frame rate, truncated, and at least 1: where the rate is below 1 or not stated, on which
    video-cnn-feat crashed, every frame is kept. Loose frames have no rate.
    """
    return _near_seconds(timeline, "lineage", lambda phase, fps: phase == fps // 2)


def lineage_py3(timeline: Timeline) -> Indices:
    """What video-cnn-feat keeps under Python 3: i % fps == 0 or i % fps == fps / 2, which no i meets if fps is odd.

    So videos of 25, 29.97 or 15 frames per second give one frame per second. `fps` is that of `lineage`.
    """
    return _near_seconds(timeline, "lineage_py3", lambda phase, fps: 2 * phase == fps)


def _near_seconds(timeline: Timeline, sampler: str, is_half: Callable[[Indices, int], NDArray[np.bool_]]) -> Indices:
    """The frames that begin a second, by frame count, and those in its middle."""
    if len(timeline) and math.isnan(timeline.rate):
        raise SamplerError(
            f"sampler={sampler} needs the frame rate of a video file, which loose frames do not have: use sampler=all, "
            "for the frames in ImageData have been sampled when they were cut"
        )
    fps = max(1, int(timeline.rate)) if len(timeline) else 1
    phase = np.arange(len(timeline)) % fps
    return np.flatnonzero((phase == 0) | is_half(phase, fps))


def _on_grid(timeline: Timeline, fps: float, sampler: str) -> Indices:
    """The frames that are the first at or after some k / fps, k >= 0.

    The work grows with frames, not with grid points, of which there may be very many between two frames.
    """
    seconds = _known_seconds(timeline, sampler)
    if not len(seconds):
        return np.zeros(0, dtype=np.int64)
    # The greatest k with k / fps <= seconds. The product may be off by one step; comparing k / fps itself, which is
    # rounded once, as seconds = pts / timescale are, settles ties.
    k = np.floor(seconds * fps)
    k += (k + 1) / fps <= seconds
    k -= k / fps > seconds
    passed = np.maximum(k + 1, 0)
    chosen = np.flatnonzero(np.diff(passed, prepend=0) > 0)
    return chosen if len(chosen) else np.array([len(seconds) - 1])


def _known_seconds(timeline: Timeline, sampler: str) -> NDArray[np.float64]:
    if np.isnan(timeline.seconds).any():
        raise SamplerError(
            f"sampler={sampler} needs to know when each frame is shown, and the times of these frames are "
            "unknown: use sampler=all or sampler=stride"
        )
    return timeline.seconds


def _require_positive(option: str, value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise SamplerError(f"sampler.{option} ({value}) must be a number")
    if value <= 0:
        raise SamplerError(f"sampler.{option} ({value}) must be positive")


def _require_whole(option: str, value: int) -> None:
    _require_positive(option, value)
    if not isinstance(value, int):
        raise SamplerError(f"sampler.{option} ({value}) must be a whole number")
