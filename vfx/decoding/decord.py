"""Decodes by decord, guarded: it is believed only where its frame count and times are those of the packets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vfx import pulse
from vfx.decoding import pyav
from vfx.decoding.frame import Frame
from vfx.errors import UsageError, VideoError
from vfx.timeline import Timeline

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
    try:
        reader = library.VideoReader(str(path.absolute()), num_threads=1, fault_tol=NO_REPEATED_FRAME)
        _check(reader, timeline)
        wanted = set(indices.tolist())
        for index in range(int(indices[-1]) + 1):
            frame = reader.next()
            pulse.beat()
            if index in wanted:
                yield Frame(index, float(timeline.seconds[index]), frame.asnumpy())
    # RuntimeError and AssertionError are what its constructor raises for a file in which it finds no frames.
    except (library.DECORDError, library.DECORDLimitReachedError, RuntimeError, AssertionError) as error:
        raise VideoError(f"decord: {_said(error)}") from error
    except StopIteration as error:
        raise VideoError("decord: the video ended early") from error


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
