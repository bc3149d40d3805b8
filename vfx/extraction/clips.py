"""Clips: consecutive sampled frames of one video, resized and ready for the network; the unit of reading."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from vfx.collection.source import Chunk, VideoSource
from vfx.decoding import ChunkReader, Frame, VideoReader
from vfx.decoding.limits import UNLIMITED, Limits
from vfx.extraction.frame_folder import FrameFolder
from vfx.features.rows import Failure
from vfx.models.transforms import Preprocess
from vfx.sampling.timeline import Sampler, Timeline

CLIP_FRAMES = 16  # at most; native frames of 4K are 25 MB each and wait here for their resize
CLIP_BYTES = 64 << 20
Reader = VideoReader | ChunkReader | FrameFolder


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


def read_video(
    source: VideoSource,
    *,
    sample: Sampler,
    decoder: str,
    preprocessors: Sequence[Preprocess],
    limits: Limits = UNLIMITED,
) -> Iterator[Clip]:
    """Read the clips of a video file, or of a chunk of it.

    Args:
        source: the video, or a chunk of it; a chunk is decoded by PyAV.
        sample: which frames are taken.
        decoder: a decoder of `vfx.decoding.DECODERS`.
        preprocessors: how frames are made ready; a clip has a view for each.
        limits: what a file may ask for.

    Raises:
        VideoError: the chunk cannot be read by itself.
    """

    def choose(timeline: Timeline) -> NDArray[np.int64]:
        return sample(replace(timeline, video=source.id))

    reader: VideoReader | ChunkReader
    if source.chunk is None:
        reader = VideoReader(source.path, choose, decoder=decoder, limits=limits)
    else:
        reader = ChunkReader(source.path, choose, source.chunk, limits=limits)
    yield from _clips(source, reader, preprocessors)


def read_frames(
    source: VideoSource, *, sample: Sampler, preprocessors: Sequence[Preprocess], limits: Limits
) -> Iterator[Clip]:
    """Read the clips of a folder of frames `<video id>_<index>.jpg`, or of a chunk of it; see `FrameFolder`."""
    yield from _clips(source, FrameFolder(source, sample, limits=limits), preprocessors)


def _clips(source: VideoSource, reader: Reader, preprocessors: Sequence[Preprocess]) -> Iterator[Clip]:
    """Gather frames of one size to clips; the last clip says how the reading went."""
    frames: list[Frame] = []
    first = True  # until a clip has been made of the frames that count
    begin = time.perf_counter()
    for frame in reader:
        if frame.first:
            frames, first = [], True
        if frames and not _fits(frame, frames, preprocessors):
            clip = _clip(source, frames, preprocessors, first=first, share=_share(reader))
            clip.decode_seconds = time.perf_counter() - begin
            frames, first = [], False  # before the consumer's turn, as they may be large
            yield clip
            begin = time.perf_counter()
        frames.append(frame)
    if reader.discarded:
        frames, first = [], True
    clip = _clip(source, frames, preprocessors, first=first, share=_share(reader))
    clip.failures, clip.decoder, clip.last = _failures(source, reader), reader.decoder, True
    clip.decode_seconds = time.perf_counter() - begin
    yield clip


def _fits(frame: Frame, frames: Sequence[Frame], preprocessors: Sequence[Preprocess]) -> bool:
    """Whether a frame has the size of those gathered, and the clip stays within its bounds."""
    size = max(frame.pixels.nbytes, sum(preprocess.nbytes(frame.pixels) for preprocess in preprocessors))
    return (
        frames[0].pixels.shape == frame.pixels.shape and len(frames) < CLIP_FRAMES and len(frames) * size <= CLIP_BYTES
    )


def _clip(
    source: VideoSource, frames: Sequence[Frame], preprocessors: Sequence[Preprocess], *, first: bool, share: float
) -> Clip:
    views: list[NDArray[np.uint8]] = []
    if frames:
        pixels = np.stack([frame.pixels for frame in frames])
        views = [preprocess(pixels).numpy() for preprocess in preprocessors]
    return Clip(
        source.id,
        views,
        np.array([frame.index for frame in frames], np.int64),
        np.array([frame.seconds for frame in frames], np.float64),
        first=first,
        share=share,
        chunk=source.chunk,
    )


def _share(reader: Reader) -> float:
    """How much of the sampled frames have come, in [0, 1]; 0 while that is not known."""
    if isinstance(reader, FrameFolder):
        return reader.share
    return reader.decoded / reader.expected if isinstance(reader, VideoReader) and reader.expected else 0.0


def _failures(source: VideoSource, reader: Reader) -> list[Failure]:
    if isinstance(reader, FrameFolder):
        return reader.failures
    return [Failure(source.id, reader.stage, reader.problem)] if reader.problem else []
