"""What a benchmark measures on: the videos of a collection, each looked at once."""

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
from vfx.extraction.clips import CLIP_BYTES, CLIP_FRAMES
from vfx.sampling.timeline import Sampler, Timeline

Size = tuple[int, int]  # height, width


@dataclass(frozen=True)
class SurveyedVideo:
    """A video, how many frames it has, and how many of them the sampler takes."""

    source: VideoSource
    size: Size
    frames: int
    sampled: int


@dataclass(frozen=True)
class DatasetSurvey:
    """The videos by id, and of each size a clip of decoded frames, (T,H,W,3) uint8, to stand for all of that size."""

    videos: dict[str, SurveyedVideo]
    decoded: dict[Size, NDArray[np.uint8]]

    @property
    def sources(self) -> list[VideoSource]:
        return [video.source for video in self.videos.values()]

    @property
    def sampled(self) -> int:
        """How many frames the sampler takes of all videos."""
        return sum(video.sampled for video in self.videos.values())

    def clips(self, video: SurveyedVideo) -> Iterator[slice]:
        """The sampled frames of a video, [start, stop), as they come in clips."""
        longest = len(self.decoded[video.size])
        yield from (slice(start, min(start + longest, video.sampled)) for start in range(0, video.sampled, longest))


def survey(sources: Sequence[VideoSource], *, sample: Sampler, limits: Limits) -> DatasetSurvey:
    """Look at all videos.

    Raises:
        UsageError: one cannot be read; a benchmark would measure something else.
    """
    videos: dict[str, SurveyedVideo] = {}
    decoded: dict[Size, NDArray[np.uint8]] = {}
    for source in sources:
        path = Path(source.path)
        try:
            about, timeline = headers(path), demux(path, limits)
        except VideoError as error:
            raise _unreadable(path, str(error)) from error
        size = (about.height, about.width)
        sampled = len(sample(replace(timeline, video=source.id)))
        videos[source.id] = SurveyedVideo(source, size, len(timeline), sampled)
        if size not in decoded:
            decoded[size] = _first_clip(path, size, limits)
    return DatasetSurvey(videos, decoded)


def _first_clip(path: Path, size: Size, limits: Limits) -> NDArray[np.uint8]:
    """The first frames of a video, as many as a clip has."""
    longest = max(1, min(CLIP_FRAMES, CLIP_BYTES // (3 * size[0] * size[1])))
    reader = VideoReader(path, partial(first_frames, longest), limits=limits)
    frames = [frame.pixels for frame in reader]
    if reader.problem:
        raise _unreadable(path, reader.problem)
    return np.stack(frames)


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError(f"{path}: a bench needs videos that can be read; take it away ({why})")


def first_frames(count: int, timeline: Timeline) -> NDArray[np.int64]:
    """A sampler of the first `count` frames."""
    return np.arange(min(count, len(timeline)))


def decode(source: VideoSource, *, sample: Sampler, decoder: str, limits: Limits) -> Iterator[tuple[int, str]]:
    """Decode a video as a worker does, and drop its frames; one item: how many there were, and which decoder served."""
    reader = VideoReader(
        source.path, lambda timeline: sample(replace(timeline, video=source.id)), decoder=decoder, limits=limits
    )
    for _ in reader:
        pass
    yield reader.decoded, reader.decoder
