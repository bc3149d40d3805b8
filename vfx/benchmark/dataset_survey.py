"""What a bench measures on: the videos of a collection, looked at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vfx.collection.source import VideoSource
from vfx.decoding import VideoReader, demux, headers
from vfx.decoding.limits import Limits
from vfx.errors import UsageError, VideoError
from vfx.extraction.clips import CLIP_BYTES, CLIP_FRAMES, Sampler
from vfx.sampling.timeline import Timeline

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class Video:
    """`frames`: how many it has; `rows`: how many the sampler takes of them."""

    source: VideoSource
    size: Size
    frames: int
    rows: int


@dataclass(frozen=True)
class Material:
    """`videos`: by id. `stock`: frames as they are decoded, (T,H,W,3) uint8, a clip of each size."""

    videos: dict[str, Video]
    stock: dict[Size, NDArray[np.uint8]]

    @property
    def sources(self) -> list[VideoSource]:
        return [video.source for video in self.videos.values()]

    @property
    def rows(self) -> int:
        return sum(video.rows for video in self.videos.values())

    def clips(self, video: Video) -> Iterator[slice]:
        """The sampled frames of a video, [start, stop), as they come in clips."""
        longest = len(self.stock[video.size])
        yield from (slice(start, min(start + longest, video.rows)) for start in range(0, video.rows, longest))


def survey(sources: Sequence[VideoSource], *, sample: Sampler, limits: Limits) -> Material:
    """Look at all videos. Raises UsageError where one cannot be read: what is measured would be another thing."""
    videos: dict[str, Video] = {}
    stock: dict[Size, NDArray[np.uint8]] = {}
    for source in sources:
        path = Path(source.path)
        try:
            about, timeline = headers(path), demux(path, limits)
        except VideoError as error:
            raise UsageError(f"{path}: a bench needs videos that can be read; take it away ({error})") from error
        size = (about.height, about.width)
        rows = len(sample(replace(timeline, video=source.id)))
        videos[source.id] = Video(source, size, len(timeline), rows)
        if size not in stock:
            longest = max(1, min(CLIP_FRAMES, CLIP_BYTES // (3 * size[0] * size[1])))
            reading = VideoReader(path, partial(first, longest), limits=limits)
            frames = [frame.pixels for frame in reading]
            if reading.problem:
                raise UsageError(f"{path}: a bench needs videos that can be read; take it away ({reading.problem})")
            stock[size] = np.stack(frames)
    return Material(videos, stock)


def first(count: int, timeline: Timeline) -> NDArray[np.int64]:
    """A sampler of the first `count` frames."""
    return np.arange(min(count, len(timeline)))


def decode(source: VideoSource, *, sample: Sampler, decoder: str, limits: Limits) -> Iterator[tuple[int, str]]:
    """Decode a video as a worker does, without a use for its frames: how many, and by whom."""
    reading = VideoReader(
        source.path, lambda timeline: sample(replace(timeline, video=source.id)), decoder=decoder, limits=limits
    )
    for _ in reading:
        pass
    yield reading.decoded, reading.decoder
