"""Clips: consecutive sampled frames of one video, resized and ready for the network; the unit of reading."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vfx.collection.collection import FRAME_FORMATS, FRAME_SUFFIXES
from vfx.collection.ids import split_frame_id
from vfx.collection.source import Chunk, VideoSource
from vfx.decoding import ChunkReader, Frame, VideoReader, cached_timeline
from vfx.decoding.limits import Limits
from vfx.errors import SamplerError, VideoError
from vfx.features.rows import Failure
from vfx.models.transforms import Preprocess
from vfx.promise import Promise
from vfx.sampling.timeline import Timeline
from vfx.system import heartbeat

CLIP_FRAMES = 16  # at most; native frames of 4K are 25 MB each and wait here for their resize
CLIP_BYTES = 64 << 20
AHEAD_FRAMES = 4 * CLIP_FRAMES  # that are read before it is known how they are to be prepared

Sampler = Callable[[Timeline], NDArray[np.int64]]
# The ways in which frames are prepared, which reading may begin without.
Preprocessors = Sequence[Preprocess] | Promise[Sequence[Preprocess]]
# How reading a video ended: what failed, which decoder served, and whether all frames that came are void.
Outcome = tuple[list[Failure], str, bool]


@dataclass
class Clip:
    """Frames of one video, in order, (T,h,w,3) uint8 in each way in which they are prepared; T is 0 in the last clip
    of a video with none left, which may then have no view.

    `first`: the video is read from its beginning, and clips of it that came before are void. `last`: it has no
    more clips, and `failures` and `decoder` tell how it went. `decode_seconds`: seconds that a worker spent on this
    clip. `share`: how much of the video's frames have come by now, in [0, 1]; 0 while that is not known.
    `chunk`: the piece of the video that all this is about, None for the whole. `error`: why it cannot be had by
    itself, so that the video has to be read whole, "" if it can.
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
    source: VideoSource, *, sample: Sampler, decoder: str, preprocessors: Preprocessors, limits: Limits | None = None
) -> Iterator[Clip]:
    """The clips of a video file, decoded by `decoder` (see `decoding.VideoReader`), or of a piece of it, decoded by
    PyAV.

    Raises VideoError where a piece is not sound.
    """

    def choose(timeline: Timeline) -> NDArray[np.int64]:
        return sample(replace(timeline, video=source.id))

    reading: VideoReader | ChunkReader
    if source.chunk is None:
        reading = VideoReader(source.path, choose, decoder=decoder, limits=limits)
    else:
        reading = ChunkReader(source.path, choose, source.chunk, limits=limits)

    def share() -> float:
        return reading.decoded / reading.expected if isinstance(reading, VideoReader) and reading.expected else 0

    yield from _clips(source, reading, preprocessors, lambda: _outcome(source.id, reading), share)


def read_frames(
    source: VideoSource, *, sample: Sampler, preprocessors: Preprocessors, limits: Limits | None = None
) -> Iterator[Clip]:
    """The clips of a folder of frames `<video id>_<index>.jpg`.

    Their presentation times are those of the video that they were cut from, NaN where that is not at hand.
    An unreadable frame is a failure of its video and the rest is read. Raises VideoError where one is in a piece.
    """
    failures: list[Failure] = []
    paths = _frame_paths(source, failures)
    if limits is not None:
        limits.check_count(f"the folder of {source.id}", len(paths))
    indices = np.array(sorted(paths), np.int64)
    timeline = Timeline(_seconds(indices, source, failures), np.ones(len(indices), bool), video=source.id)
    share = 0.0

    def frames() -> Iterator[Frame]:
        nonlocal share
        try:
            chosen = sample(timeline) if len(timeline) else indices
        except SamplerError as error:  # its options are right, so it is the times that it cannot use
            raise VideoError(str(error)) from error
        if source.chunk is not None:
            begin, end, total = source.chunk
            chosen = chosen[len(chosen) * begin // total : len(chosen) * end // total]
        unread = []
        for n, i in enumerate(chosen):
            share = n / len(chosen)
            try:
                with Image.open(paths[int(indices[i])], formats=FRAME_FORMATS) as image:
                    if limits is not None:
                        limits.check_size("it", *image.size)
                    pixels = np.asarray(image.convert("RGB"))
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, VideoError) as error:
                unread.append(f"{paths[int(indices[i])].name}: {error}")
                continue
            heartbeat.tick()
            yield Frame(int(indices[i]), float(timeline.seconds[i]), pixels, False)
        if unread:
            text = f"{len(unread)} of {len(chosen)} frames cannot be read, the first being {unread[0]}"
            if source.chunk is not None:
                raise VideoError(text)
            failures.append(Failure(source.id, "decode", text))

    yield from _clips(source, frames(), preprocessors, lambda: (failures, "pillow", False), lambda: share)


def _clips(
    source: VideoSource,
    frames: Iterable[Frame],
    preprocessors: Preprocessors,
    end: Callable[[], Outcome],
    share: Callable[[], float],
) -> Iterator[Clip]:
    """Gather frames of one size to clips; the last clip carries what `end` says once all frames are read."""
    clock = time.perf_counter()
    first = True
    waiting: list[Frame] = []
    ways: Sequence[Preprocess] = ()

    def prepared() -> Iterator[Frame]:
        """The frames, when it is known how they are to be prepared: meanwhile a few clips of them are read, which
        take no more memory than one may."""
        nonlocal clock, ways
        if not isinstance(preprocessors, Promise):
            ways = preprocessors
            yield from frames
            return
        coming = iter(frames)
        ahead: deque[Frame] = deque()
        room = CLIP_BYTES
        while room > 0 and len(ahead) < AHEAD_FRAMES and not preprocessors.is_kept():
            if (frame := next(coming, None)) is None:
                break
            ahead.append(frame)
            room -= frame.pixels.nbytes
        heartbeat.pause()
        begun = time.perf_counter()
        ways = preprocessors.value()
        clock += time.perf_counter() - begun
        heartbeat.tick()
        while ahead:
            yield ahead.popleft()
        yield from coming

    def clip() -> Clip:
        nonlocal clock, first
        pixels = np.stack([f.pixels for f in waiting]) if waiting else None
        made = Clip(
            source.id,
            [] if pixels is None else [preprocess(pixels).numpy() for preprocess in ways],
            np.array([f.index for f in waiting], np.int64),
            np.array([f.seconds for f in waiting], np.float64),
            first=first,
            decode_seconds=time.perf_counter() - clock,
            share=share(),
            chunk=source.chunk,
        )
        first = False
        waiting.clear()
        return made

    for frame in prepared():
        if frame.first and not first:  # the reading starts over
            first = True
            waiting.clear()
        if waiting and (
            waiting[0].pixels.shape != frame.pixels.shape
            or len(waiting) == CLIP_FRAMES
            or len(waiting) * max(frame.pixels.nbytes, sum(p.nbytes(frame.pixels) for p in ways)) > CLIP_BYTES
        ):
            yield clip()
            clock = time.perf_counter()
        waiting.append(frame)
    failures, decoder, discarded = end()
    if discarded:
        first = True
        waiting.clear()
    made = clip()
    made.failures, made.decoder, made.last = failures, decoder, True
    yield made


def _outcome(id: str, reading: VideoReader | ChunkReader) -> Outcome:
    failures = [Failure(id, reading.stage, reading.problem)] if reading.problem else []
    return failures, reading.decoder, reading.discarded


def _frame_paths(source: VideoSource, failures: list[Failure]) -> dict[int, Path]:
    """The frames of a folder by index; a name that does not fit, or an index that two files have, is a failure."""
    paths: dict[int, Path] = {}
    for path in sorted(Path(source.path).iterdir()):
        if path.suffix.lower() not in FRAME_SUFFIXES or path.name.startswith("."):
            continue
        try:
            video, index = split_frame_id(path.stem)
            if video != source.id:
                raise ValueError(f"frame {path.name} is in the folder of video {source.id}")
            if index in paths:
                raise ValueError(f"{path.name} and {paths[index].name} are the same frame")
        except ValueError as error:
            failures.append(Failure(source.id, "open", str(error)))
            continue
        paths[index] = path
    return paths


def _seconds(indices: NDArray[np.int64], source: VideoSource, failures: list[Failure]) -> NDArray[np.float64]:
    seconds = np.full(len(indices), np.nan)
    if source.video is not None:
        try:
            known = cached_timeline(Path(source.video)).seconds
        except VideoError as error:
            failures.append(Failure(source.id, "open", f"the times of its frames are unknown: {error}"))
            return seconds
        inside = indices < len(known)
        seconds[inside] = known[indices[inside]]
        if not inside.all():
            beyond = f"{(~inside).sum()} frames, the first {indices[~inside][0]}, lie beyond the {len(known)} of"
            why = f"{beyond} {source.video}, and their times are unknown: were they cut from it?"
            failures.append(Failure(source.id, "open", why))
    return seconds
