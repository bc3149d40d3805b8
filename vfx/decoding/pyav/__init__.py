"""Reads videos with PyAV. The timeline of every video comes from here, whichever backend decodes the frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vfx.decoding.frame import Frame
from vfx.decoding.limits import UNLIMITED, Limits
from vfx.decoding.pyav.container import container_name
from vfx.decoding.pyav.headers import Headers, headers
from vfx.decoding.pyav.timeline import decoded_timeline
from vfx.decoding.pyav.video_file import VideoFile
from vfx.sampling.timeline import Timeline

__all__ = ["Headers", "VideoFile", "container_name", "decoded_timeline", "demux", "frames", "headers", "load"]


def load() -> None:
    """PyAV is always installed."""


def demux(path: Path, limits: Limits = UNLIMITED) -> Timeline:
    """The timeline of a video, from its packets; see `VideoFile.demux`."""
    return VideoFile(path).demux(limits)


def frames(path: Path, timeline: Timeline, indices: NDArray[np.int64]) -> Iterator[Frame]:
    """The frames of a video at `indices`; see `VideoFile.frames`."""
    return VideoFile(path).frames(timeline, indices)
