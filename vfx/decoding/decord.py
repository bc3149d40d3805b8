"""Decodes by decord, guarded: it is believed only where its frame count and times are those of the packets, and where
a frame that repeats the one before does so by another decoder, too."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vfx.decoding import pyav
from vfx.decoding.frame import Frame
from vfx.errors import UsageError, VideoError
from vfx.sampling.timeline import Timeline
from vfx.system import heartbeat

LARGEST_PTS = 2**31 - 1
"""decord hangs in native code on presentation times beyond this, immune to signals."""

ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE = 1e-3, 2.0**-22
"""Seconds, and a part of the time itself: decord's times are float32, of 24 bits, and rounded more than once."""

NO_REPEATED_FRAME = 1e-9
"""decord repeats the last frame where one cannot be decoded; 0 would allow any number of them."""


def load() -> Any:
    """decord, imported on first use. Raises UsageError if it is not installed."""
    try:
        import decord
    except (ImportError, OSError) as error:
        raise UsageError(f"decoder=decord needs the package decord: pip install decord ({error})") from error
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def frames(path: Path, timeline: Timeline, indices: NDArray[np.int64]) -> Iterator[Frame]:
    """Yield the frames at `indices` (ascending). Raises VideoError where decord cannot be believed or fails.

    Frames are taken one after the other from the first: `get_batch`, indexing and `skip_frames` seek, and land on
    other frames than asked for in AVI, ASF, MPEG-PS, and MP4 with open groups or MPEG-4 B-frames.
    """
    library = load()
    _refuse(path, timeline)
    witness: Iterator[int] | None = None
    try:
        reader = library.VideoReader(str(path.absolute()), num_threads=1, fault_tol=NO_REPEATED_FRAME)
        _check(reader, timeline)
        wanted = set(indices.tolist())
        before = None
        for index in range(int(indices[-1]) + 1):
            frame = reader.next()
            heartbeat.tick()
            if index in wanted:
                pixels = frame.asnumpy()
                # Where its FFmpeg stumbles over a frame and PyAV's does not, it does not count this as repeated.
                if before is not None and np.array_equal(pixels, before.asnumpy()):
                    if witness is None:
                        rest = indices[indices >= index]
                        witness = _repeats(pyav.frames(path, timeline, np.union1d(rest, rest - 1)))
                    if index not in witness:  # which goes on to it
                        raise VideoError(f"decord shows frame {index - 1} in place of frame {index}")
                yield Frame(index, float(timeline.seconds[index]), pixels)
            before = frame
    # RuntimeError and AssertionError are what its constructor raises for a file in which it finds no frames.
    except (library.DECORDError, library.DECORDLimitReachedError, RuntimeError, AssertionError) as error:
        raise VideoError(f"decord: {_said(error)}") from error
    except StopIteration as error:
        raise VideoError("decord: the video ended early") from error


def _repeats(frames: Iterator[Frame]) -> Iterator[int]:
    """The indices of those that are the same picture as the one before them."""
    for before, frame in itertools.pairwise(frames):
        if np.array_equal(frame.pixels, before.pixels):
            yield frame.index


def _said(error: Exception) -> str:
    """The first line of decord's message, without the time of day and the source line that it begins with."""
    return re.sub(r"^\[[\d:]+\] \S+:\d+: (\[.*\] ?)?", "", str(error).strip()).splitlines()[0]


def _refuse(path: Path, timeline: Timeline) -> None:
    """Raise VideoError for what decord gets wrong, or hangs on, in ways that its count and times do not show."""
    if timeline.pts is None:
        raise VideoError("decord cannot be checked here: the container's times are not those of presentation")
    if timeline.pts[-1] > LARGEST_PTS:
        raise VideoError(f"decord hangs on times beyond 2^31 ticks, and this video's reach {timeline.pts[-1]}")
    if pyav.container_name(path) == "mpegts":
        raise VideoError("decord skips the first frames of an MPEG transport stream")


def _check(reader: Any, timeline: Timeline) -> None:
    """Raise VideoError unless decord sees the frames of `timeline`, at their times."""
    if len(reader) != len(timeline):
        raise VideoError(
            f"decord counts {len(reader)} frames where the packets show {len(timeline)} "
            "(it counts those that an edit list hides)"
        )
    start = reader.get_frame_timestamp(range(len(timeline)))[:, 0].astype(np.float64)
    expected = timeline.seconds - timeline.seconds[0]  # decord counts from its first frame
    off = np.abs(start - start[0] - expected)
    if not (off <= ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * np.abs(expected)).all():
        raise VideoError(f"decord's times differ from those of the packets by up to {off.max():.3g} s")
