"""Reads one video: decoders in turn, until one that is right about it has delivered the frames asked for."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vfx.decoding import decord, pyav, torchcodec
from vfx.decoding.file_signature import check_head
from vfx.decoding.frame import DamageError, Frame, TimelineError
from vfx.decoding.limits import Limits
from vfx.errors import LimitError, UsageError, VideoError
from vfx.sampling.timeline import Timeline

BACKENDS = {"pyav": pyav, "decord": decord, "torchcodec": torchcodec}
DECODERS = ("auto", *BACKENDS)


def check_decoder(decoder: str) -> None:
    """Raise UsageError if there is no such decoder, or it is not installed."""
    if decoder not in DECODERS:
        raise UsageError(f"decoder ({decoder}) must be one of {', '.join(DECODERS)}")
    if decoder != "auto":
        BACKENDS[decoder].load()


def can_read(decoder: str, path: Path, timeline: Timeline) -> bool:
    """Whether a decoder is installed, agrees with a video's timeline, and gives its first frame."""
    try:
        BACKENDS[decoder].load()
        with closing(_frames(decoder, pyav.Video(path), timeline, np.zeros(1, np.int64))) as frames:
            return next(frames, None) is not None
    except (VideoError, UsageError):
        return False


def _frames(
    decoder: str, video: pyav.Video, timeline: Timeline, indices: NDArray[np.int64]
) -> Generator[Frame, None, None]:
    """What a decoder gives of a file that it may have. Raises VideoError if it may not."""
    if decoder == "pyav":
        yield from video.frames(timeline, indices)
        return
    check_head(video.path)
    try:
        video.check(timeline, indices)  # the others conceal damage, by neighbouring frames or rubbish
    except DamageError as error:
        raise VideoError(f"{decoder} would conceal damage: {error}") from error
    yield from BACKENDS[decoder].frames(video.path, timeline, indices)


def shortfall(timeline: Timeline) -> str:
    """What a file lacks: how many of its frames, and what its structure says; joined by "; ", "" if nothing."""
    held = f"file holds {len(timeline)} of the {timeline.promised} frames that its header promises"
    return "; ".join(filter(None, [held if len(timeline) < timeline.promised else "", timeline.flaw]))


class VideoReader:
    """Iterates over the sampled frames of a video, ascending by index; never raises for a bad video.

    `sample` chooses the indices from the timeline. `decoder`: the backend asked first ("auto": PyAV, which is exact
    for all files and cheapest); the others that are installed take over where it refuses or fails, from the frame
    after the last delivered. If the packets' times turn out wrong, the reading starts over with a frame that has
    `first` set again: those before it are void. A video beyond the `limits` is not begun.

    After the iteration these tell what happened:
    `timeline`: None if the file could not be opened. `expected`, `decoded`: counts of sampled and delivered frames.
    `discarded`: the reading started over and has delivered nothing since, so that no frame it yielded counts.
    `decoder`: who delivered, joined by "+" in order; "" if no one.
    `stage`: "" if all went well; "open" if nothing could be read, "decode" if frames are missing or the file is cut
    short. `problem`: a sentence that says what, "" if nothing.

    Raises UsageError if the decoder is unknown or not installed; what `sample` raises passes through.
    """

    def __init__(
        self,
        path: str | Path,
        sample: Callable[[Timeline], NDArray[np.int64]],
        *,
        decoder: str = "auto",
        limits: Limits | None = None,
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
        self.decoder = self.stage = self.problem = ""

    def __iter__(self) -> Iterator[Frame]:
        self.discarded = False
        self._reset()
        video = pyav.Video(self._path)
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

    def _decode(self, video: pyav.Video, timeline: Timeline) -> Iterator[Frame]:
        """One pass over the decoders. Raises TimelineError if the timeline turns out wrong."""
        self._reset()
        self.timeline = timeline
        indices = self._sample(timeline)
        self.expected = len(indices)
        failure: VideoError | None = None
        last = -1
        for name in self._order if len(indices) else ():
            todo = indices[indices > last]
            before = self.decoded
            try:
                BACKENDS[name].load()
                with closing(_frames(name, video, timeline, todo)) as frames:
                    for frame in frames:
                        if self._limits is not None:  # it may have grown on the way
                            self._limits.check_size("a frame", frame.pixels.shape[1], frame.pixels.shape[0])
                        self.decoded += 1
                        if self.decoded == before + 1:
                            self.decoder = "+".join(filter(None, [self.decoder, name]))
                        last = frame.index
                        self.discarded = False
                        yield replace(frame, first=self.decoded == 1)
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

    def _conclude(self, timeline: Timeline, failure: VideoError | None) -> None:
        """Say what is missing, if anything is."""
        problems = []
        if self.decoded < self.expected:
            problems.append(self._tell(failure))
        if lacking := shortfall(timeline):
            problems.append(lacking)
        self.stage, self.problem = "decode" if problems else "", "; ".join(problems)

    def _tell(self, failure: VideoError | None) -> str:
        return f"{self.decoded} of {self.expected} frames could be decoded: {failure}"
