"""Decodes with decord, guarded.

decord is believed only if its frame count and times are those of the packets, and if PyAV confirms every frame that
repeats the one before it.
"""

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
"""Seconds, and a share of the time itself: decord's times are float32, of 24 bits, and rounded more than once."""

NO_REPEATED_FRAME = 1e-9
"""decord repeats the last frame where one cannot be decoded; 0 would allow any number of them."""


def load() -> Any:
    """Import decord. Raises UsageError if it is not installed."""
    try:
        import decord
    except (ImportError, OSError) as error:
        raise UsageError(f"decoder=decord needs the package decord: pip install decord ({error})") from error
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def frames(path: Path, timeline: Timeline, indices: NDArray[np.int64]) -> Iterator[Frame]:
    """Yield the frames at `indices` (ascending).

    All frames are decoded in order, from the first: `get_batch`, indexing and `skip_frames` seek, and land on wrong
    frames in AVI, ASF, MPEG-PS, and MP4 with open groups or MPEG-4 B-frames.

    Raises:
        VideoError: decord fails or cannot be believed.
    """
    library = load()
    _refuse(path, timeline)
    repeated: Iterator[int] | None = None  # the frames that repeat the one before, by PyAV
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
                # decord does not count a frame as repeated when its FFmpeg stumbles and goes on.
                if before is not None and np.array_equal(pixels, before.asnumpy()):
                    if repeated is None:
                        rest = indices[indices >= index]
                        repeated = _repeats(pyav.frames(path, timeline, np.union1d(rest, rest - 1)))
                    if index not in repeated:  # this advances it up to `index`
                        raise VideoError(f"decord shows frame {index - 1} in place of frame {index}")
                yield Frame(index, float(timeline.seconds[index]), pixels)
            before = frame
    # Its constructor raises RuntimeError or AssertionError for a file in which it finds no frames.
    except (library.DECORDError, library.DECORDLimitReachedError, RuntimeError, AssertionError) as error:
        raise VideoError(f"decord: {_message(error)}") from error
    except StopIteration as error:
        raise VideoError("decord: the video ended early") from error


def _repeats(frames: Iterator[Frame]) -> Iterator[int]:
    """The indices of frames that have the same pixels as the frame before them."""
    for before, frame in itertools.pairwise(frames):
        if np.array_equal(frame.pixels, before.pixels):
            yield frame.index


def _message(error: Exception) -> str:
    """The first line of decord's message, without time of day and source line."""
    return re.sub(r"^\[[\d:]+\] \S+:\d+: (\[.*\] ?)?", "", str(error).strip()).splitlines()[0]


def _refuse(path: Path, timeline: Timeline) -> None:
    """Raise VideoError for files that decord hangs on, or gets wrong without a sign in its count and times."""
    if timeline.pts is None:
        raise VideoError("decord cannot be checked here: the container's times are not those of presentation")
    if timeline.pts[-1] > LARGEST_PTS:
        raise VideoError(f"decord hangs on times beyond 2^31 ticks, and this video's reach {timeline.pts[-1]}")
    if pyav.container_name(path) == "mpegts":
        raise VideoError("decord skips the first frames of an MPEG transport stream")


def _check(reader: Any, timeline: Timeline) -> None:
    """Raise VideoError unless decord has as many frames as `timeline`, at the same times."""
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
