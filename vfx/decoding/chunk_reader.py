"""Reads a chunk of a video: the sampled frames between two of its key frames, and only if all of them are intact."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vfx.collection.source import Chunk
from vfx.decoding import pyav
from vfx.decoding.frame import Frame
from vfx.decoding.limits import UNLIMITED, Limits
from vfx.decoding.video_reader import shortfall
from vfx.sampling.timeline import Timeline


class ChunkReader:
    """Iterates over the sampled frames of a chunk, ascending by index.

    The frames are those that a `VideoReader` of the whole video yields with PyAV. Only the chunk that begins with unit
    0 reports, in `problem`, what the file lacks.

    Args:
        path: The video file.
        sample: Chooses frame indices from the timeline of the whole video.
        chunk: Which units of the video to read.
        limits: What the video may ask of the machine.

    Raises:
        VideoError: While iterating, if anything is wrong with the chunk. Only a `VideoReader` of the whole video can
            tell then which frames can be had, and what to report.
    """

    decoder = "pyav"
    discarded = False

    def __init__(
        self,
        path: str | Path,
        sample: Callable[[Timeline], NDArray[np.int64]],
        chunk: Chunk,
        *,
        limits: Limits = UNLIMITED,
    ) -> None:
        self.stage = self.problem = ""
        self._path = Path(path)
        self._sample = sample
        self._chunk = chunk
        self._limits = limits

    def __iter__(self) -> Iterator[Frame]:
        timeline = cached_timeline(self._path, self._limits)
        if self._chunk.begin == 0 and (lacking := shortfall(timeline)):
            self.stage, self.problem = "decode", lacking
        indices = self._sample(timeline)
        bounds = unit_bounds(timeline, self._chunk.total)
        begin, end = bounds[self._chunk.begin], bounds[self._chunk.end]
        indices = indices[(indices >= begin) & (indices < end)]
        if not len(indices):
            return
        for frame in pyav.frames(self._path, timeline, indices):
            self._limits.check_frame(frame.pixels)
            yield replace(frame, first=frame.index == indices[0])


def unit_bounds(timeline: Timeline, total: int) -> list[int]:
    """Divide a video into units: unit k has the frames `[bounds[k], bounds[k + 1])`.

    A unit begins at a random access point: the first at or after its share of the frames. It is empty if there is none
    before the next unit. If no random access point is known, unit 0 is the whole video.

    Args:
        timeline: The video's timeline.
        total: The number of units.

    Returns:
        The `total + 1` bounds, from 0 to the number of frames.
    """
    count = len(timeline)
    begins = np.flatnonzero([] if timeline.random_access is None else timeline.random_access)
    shares = np.arange(1, total) * count // total
    return [0, *np.append(begins, count)[np.searchsorted(begins, shares)].tolist(), count]


def cached_timeline(path: Path, limits: Limits = UNLIMITED) -> Timeline:
    """The timeline of a file, cached until another is asked for, as a worker reads several chunks of a video in turn.

    Raises:
        VideoError: See `demux`.
    """
    status = os.stat(path) if path.exists() else None  # noqa: PTH116
    return _demuxed(path, limits, None if status is None else (status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=1)
def _demuxed(path: Path, limits: Limits, version: object) -> Timeline:
    return pyav.demux(path, limits)
