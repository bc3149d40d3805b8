"""Reads one video: tries decoders in turn until one that agrees with the packets has delivered the wanted frames."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vfx.decoding import decord, pyav, torchcodec
from vfx.decoding.file_signature import check_signature
from vfx.decoding.frame import DamageError, Frame, TimelineError
from vfx.decoding.limits import UNLIMITED, Limits
from vfx.errors import LimitError, UsageError, VideoError
from vfx.sampling.timeline import Timeline

BACKENDS = {"pyav": pyav, "decord": decord, "torchcodec": torchcodec}
DECODERS = ("auto", *BACKENDS)


def check_decoder(decoder: str) -> None:
    """Raise UsageError if a decoder does not exist or is not installed."""
    if decoder not in DECODERS:
        raise UsageError(f"decoder ({decoder}) must be one of {', '.join(DECODERS)}")
    if decoder != "auto":
        BACKENDS[decoder].load()


def can_read(decoder: str, path: Path, timeline: Timeline) -> bool:
    """Whether a decoder is installed, agrees with a video's timeline, and yields its first frame."""
    try:
        BACKENDS[decoder].load()
        with closing(_frames(decoder, pyav.VideoFile(path), timeline, np.zeros(1, np.int64))) as frames:
            return next(frames, None) is not None
    except (VideoError, UsageError):
        return False


def _frames(
    decoder: str, video: pyav.VideoFile, timeline: Timeline, indices: NDArray[np.int64]
) -> Generator[Frame, None, None]:
    """Yield what a decoder makes of a file. Raises VideoError if the file must not be given to this decoder."""
    if decoder == "pyav":
        yield from video.frames(timeline, indices)
        return
    check_signature(video.path)
    try:
        video.check(timeline, indices)  # other decoders conceal damage, by neighbouring frames or rubbish
    except DamageError as error:
        raise VideoError(f"{decoder} would conceal damage: {error}") from error
    yield from BACKENDS[decoder].frames(video.path, timeline, indices)


def shortfall(timeline: Timeline) -> str:
    """What a file lacks: missing frames, and damage of its structure; joined by "; ", "" if nothing."""
    held = f"file holds {len(timeline)} of the {timeline.promised} frames that its header promises"
    return "; ".join(filter(None, [held if len(timeline) < timeline.promised else "", timeline.damage]))


class VideoReader:
    """Iterates over the sampled frames of a video, ascending by index; never raises for a bad video.

    Where a decoder refuses or fails, the next one takes over from the frame after the last delivered. If the packets'
    times turn out wrong, the reading starts over with a frame that has `first` set again: discard the frames before it.

    Args:
        path: The video file.
        sample: Chooses frame indices (m,) from the timeline.
        decoder: The backend that is tried first. "auto" is PyAV, which is exact for all files and cheapest.
        limits: What the video may ask of the machine.

    Attributes (after the iteration):
        timeline: None if the file could not be opened.
        expected: How many frames were sampled.
        decoded: How many frames were delivered.
        discarded: Whether the reading started over and has delivered nothing since, so that no frame counts.
        decoder: The backends that delivered, in order, joined by "+"; "" if none did.
        stage: "" if all went well, "open" if nothing could be read, "decode" if frames are missing or the file is cut
            short or damaged.
        problem: A sentence that says what went wrong, "" if nothing.

    Raises:
        UsageError: The decoder is unknown or not installed. What `sample` raises passes through.
    """

    def __init__(
        self,
        path: str | Path,
        sample: Callable[[Timeline], NDArray[np.int64]],
        *,
        decoder: str = "auto",
        limits: Limits = UNLIMITED,
    ) -> None:
        check_decoder(decoder)
        self._order = sorted(BACKENDS, key=lambda name: name != decoder)
        self._path = Path(path)
        self._sample = sample
        self._limits = limits
        self.discarded = False
        self._reset()

    def _reset(self) -> None:
        self.timeline: Timeline | None = None
        self.expected = self.decoded = 0
        self._last = -1  # index of the last frame that was delivered
        self.decoder = self.stage = self.problem = ""

    def __iter__(self) -> Iterator[Frame]:
        self.discarded = False
        self._reset()
        video = pyav.VideoFile(self._path)
        try:
            timeline = video.demux(self._limits, keep=True)
        except VideoError as error:
            self.stage, self.problem = "open", str(error)
            return
        try:
            yield from self._decode(video, timeline)
        except TimelineError:
            self.discarded = True
            try:
                yield from self._decode(video, pyav.decoded_timeline(self._path, timeline))
            except VideoError as error:
                self.decoded = 0 if self.discarded else self.decoded
                self.stage, self.problem = "decode", self._tell(error)

    def _decode(self, video: pyav.VideoFile, timeline: Timeline) -> Iterator[Frame]:
        """Try the decoders in turn. Raises TimelineError if the timeline turns out wrong."""
        self._reset()
        self.timeline = timeline
        indices = self._sample(timeline)
        self.expected = len(indices)
        failure: VideoError | None = None
        for name in self._order if len(indices) else ():
            try:
                BACKENDS[name].load()
                with closing(_frames(name, video, timeline, indices[indices > self._last])) as frames:
                    yield from self._deliver(name, frames)
                break
            except TimelineError:
                raise
            except (DamageError, LimitError) as error:
                failure = error
                break
            except VideoError as error:
                failure = failure or error
            except UsageError:
                continue  # not installed, and not the one asked for
        self._conclude(timeline, failure)

    def _deliver(self, name: str, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Yield the frames of one backend, and keep account of them."""
        for n, frame in enumerate(frames):
            self._limits.check_frame(frame.pixels)
            if n == 0:
                self.decoder = "+".join(filter(None, [self.decoder, name]))
            self.decoded += 1
            self._last = frame.index
            self.discarded = False
            yield replace(frame, first=self.decoded == 1)

    def _conclude(self, timeline: Timeline, failure: VideoError | None) -> None:
        """Set `stage` and `problem`."""
        missing = self._tell(failure) if self.decoded < self.expected else ""
        self.problem = "; ".join(filter(None, [missing, shortfall(timeline)]))
        self.stage = "decode" if self.problem else ""

    def _tell(self, failure: VideoError | None) -> str:
        return f"{self.decoded} of {self.expected} frames could be decoded: {failure}"
