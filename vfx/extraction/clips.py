"""Clips: consecutive sampled frames of one video, resized and ready for the network; the unit of reading."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vfx.collection.source import Chunk, VideoSource
from vfx.decoding import ChunkReader, Frame, VideoReader
from vfx.decoding.limits import Limits
from vfx.extraction.frame_folder import FrameFolder
from vfx.features.rows import Failure
from vfx.models.transforms import Preprocess
from vfx.sampling.timeline import Sampler, Timeline

CLIP_FRAMES = 16  # at most; native frames of 4K are 25 MB each and wait here for their resize
CLIP_BYTES = 64 << 20


@dataclass
class Clip:
    """Frames of one video, in order.

    Args:
        video: the id of the video.
        views: the frames, (T,h,w,3) uint8, once for each preprocessor. T is 0 in the last clip of a video with no
            frame left, which may then have no view.
        index: (T,) positions in display order.
        seconds: (T,) presentation times.
        first: the video is read from its beginning; clips of it that came before are discarded.
        last: the video has no more clips; `failures` and `decoder` tell how it went.
        failures: what of the video could not be read.
        decoder: which decoder served.
        decode_seconds: seconds that a worker spent on this clip.
        share: how much of the video's frames have come by now, in [0, 1]; 0 while that is not known.
        chunk: the chunk of the video that all this is about; None for the whole video.
        error: why the chunk cannot be read by itself, so that the whole video has to be read; "" if it can.
    """

    video: str
    views: list[NDArray[np.uint8]]
    index: NDArray[np.int64]
    seconds: NDArray[np.float64]
    first: bool = False
    last: bool = False
    failures: list[Failure] = field(default_factory=list)
    decoder: str = ""
    decode_seconds: float = 0.0
    share: float = 0.0
    chunk: Chunk | None = None
    error: str = ""

    def __len__(self) -> int:
        return len(self.index)


class FrameReader(Protocol):
    """What iterates over the sampled frames of a source and tells afterwards how it went."""

    def __iter__(self) -> Iterator[Frame]: ...

    @property
    def decoder(self) -> str: ...

    @property
    def discarded(self) -> bool:
        """Whether all frames that came do not count."""

    @property
    def share(self) -> float:
        """How much of the sampled frames have come, in [0, 1]; 0 while that is not known."""

    @property
    def failures(self) -> list[Failure]: ...


def read_video(
    source: VideoSource,
    *,
    sample: Sampler,
    decoder: str,
    preprocessors: Sequence[Preprocess],
    limits: Limits | None = None,
) -> Iterator[Clip]:
    """Read the clips of a video file, or of a chunk of it.

    Args:
        source: the video, or a chunk of it; a chunk is decoded by PyAV.
        sample: which frames are taken.
        decoder: a decoder of `vfx.decoding.DECODERS`.
        preprocessors: how frames are made ready; a clip has a view for each.
        limits: what a file may ask for; None accepts all.

    Raises:
        VideoError: the chunk cannot be read by itself.
    """
    yield from _clips(source, _VideoFrames(source, sample, decoder, limits), preprocessors)


def read_frames(
    source: VideoSource, *, sample: Sampler, preprocessors: Sequence[Preprocess], limits: Limits | None = None
) -> Iterator[Clip]:
    """Read the clips of a folder of frames `<video id>_<index>.jpg`, or of a chunk of it; see `FrameFolder`."""
    yield from _clips(source, FrameFolder(source, sample, limits=limits), preprocessors)


class _VideoFrames:
    """A video file, or a chunk of one, as a `FrameReader`."""

    def __init__(self, source: VideoSource, sample: Sampler, decoder: str, limits: Limits | None) -> None:
        def choose(timeline: Timeline) -> NDArray[np.int64]:
            return sample(replace(timeline, video=source.id))

        self._id = source.id
        self._reader: VideoReader | ChunkReader
        if source.chunk is None:
            self._reader = VideoReader(source.path, choose, decoder=decoder, limits=limits)
        else:
            self._reader = ChunkReader(source.path, choose, source.chunk, limits=limits)

    def __iter__(self) -> Iterator[Frame]:
        return iter(self._reader)

    @property
    def share(self) -> float:
        reader = self._reader
        return reader.decoded / reader.expected if isinstance(reader, VideoReader) and reader.expected else 0.0

    @property
    def failures(self) -> list[Failure]:
        return [Failure(self._id, self._reader.stage, self._reader.problem)] if self._reader.problem else []

    @property
    def decoder(self) -> str:
        return self._reader.decoder

    @property
    def discarded(self) -> bool:
        return self._reader.discarded


def _clips(source: VideoSource, frames: FrameReader, preprocessors: Sequence[Preprocess]) -> Iterator[Clip]:
    """Gather frames of one size to clips; the last clip says how the reading went."""
    builder = _ClipBuilder(source, preprocessors)
    clock = time.perf_counter()
    for frame in frames:
        if frame.first:
            builder.start_over()
        if not builder.has_room(frame):
            clip = builder.build(share=frames.share)
            clip.decode_seconds = time.perf_counter() - clock
            yield clip
            clock = time.perf_counter()  # until here the consumer had its turn
        builder.add(frame)
    if frames.discarded:
        builder.start_over()
    clip = builder.build(share=frames.share)
    clip.failures, clip.decoder, clip.last = frames.failures, frames.decoder, True
    clip.decode_seconds = time.perf_counter() - clock
    yield clip


class _ClipBuilder:
    """Gathers the frames of one clip after the other."""

    def __init__(self, source: VideoSource, preprocessors: Sequence[Preprocess]) -> None:
        self._source = source
        self._preprocessors = preprocessors
        self._frames: list[Frame] = []
        self._first = True

    def start_over(self) -> None:
        """Discard what has been gathered; the next clip is the first."""
        self._frames.clear()
        self._first = True

    def has_room(self, frame: Frame) -> bool:
        """Whether a frame has the size of those gathered, and the clip stays within its bounds."""
        if not self._frames:
            return True
        size = max(frame.pixels.nbytes, sum(preprocess.nbytes(frame.pixels) for preprocess in self._preprocessors))
        return (
            self._frames[0].pixels.shape == frame.pixels.shape
            and len(self._frames) < CLIP_FRAMES
            and len(self._frames) * size <= CLIP_BYTES
        )

    def add(self, frame: Frame) -> None:
        self._frames.append(frame)

    def build(self, *, share: float) -> Clip:
        """Make a clip of the frames gathered, and begin the next one."""
        views: list[NDArray[np.uint8]] = []
        if self._frames:
            pixels = np.stack([frame.pixels for frame in self._frames])
            views = [preprocess(pixels).numpy() for preprocess in self._preprocessors]
        clip = Clip(
            self._source.id,
            views,
            np.array([frame.index for frame in self._frames], np.int64),
            np.array([frame.seconds for frame in self._frames], np.float64),
            first=self._first,
            share=share,
            chunk=self._source.chunk,
        )
        self._first = False
        self._frames.clear()
        return clip
