"""Segments: intervals of videos, such as shots, that are pooled and searched on their own.

A table of segments has one line for each: segment id, video id, start and end in seconds, separated by tabs. Lines that
begin with # and a header (a first line whose start and end are not numbers) are skipped. Intervals are [start, end).
"""

from __future__ import annotations

import math
from collections.abc import Container, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vfx.collection.ids import MAX_ID_BYTES, is_storable
from vfx.errors import UsageError
from vfx.sampling import samplers
from vfx.sampling.timeline import Timeline
from vfx.text import SHOWN

FORM = "a line is segment id, video id, start and end in seconds, with tabs between"


class Segment(NamedTuple):
    """The seconds `[start, end)` of a video; `line` is its line number in the table."""

    id: str
    start: float
    end: float
    line: int


Table = dict[str, list[Segment]]  # by video id


def read_segments(path: str | Path) -> Table:
    """Read a table of segments.

    Returns:
        The segments of each video, in the order of the table.

    Raises:
        UsageError: The file is missing, not UTF-8 or empty, or lines are wrong: not of the form above, end <= start, an
            id that cannot be stored or is repeated. The message names the lines.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UsageError(f"segments ({path}) is not a file; it must be a table of segment id, video id, start, end")
    videos: Table = {}
    lines: dict[str, int] = {}  # by segment id
    wrong = []
    for number, fields in _lines(path):
        try:
            video, segment = _parsed(fields, number)
            if segment.id in lines:
                raise ValueError(f"id {segment.id} is that of line {lines[segment.id]}")
        except ValueError as error:
            wrong.append(f"line {number}: {error}")
            continue
        lines[segment.id] = number
        videos.setdefault(video, []).append(segment)
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise UsageError(f"{path}: " + "; ".join(wrong[:SHOWN]) + more + f"; mend these lines ({FORM})")
    if not videos:
        raise UsageError(f"{path} holds no segment; {FORM}")
    return videos


def _parsed(fields: list[str], line: int) -> tuple[str, Segment]:
    """The video and the segment of a line. Raises ValueError that says what is wrong with the line."""
    try:
        id, video, start, end = fields[0], fields[1], float(fields[2]), float(fields[3])
    except (IndexError, ValueError):
        raise ValueError("not segment id, video id, start, end") from None
    if not (math.isfinite(start) and math.isfinite(end) and end > start):
        raise ValueError(f"end ({end:g}) must be after start ({start:g})")
    for value in (id, video):
        if not is_storable(value):
            raise ValueError(
                f"id ({value!r:.80}) must not be empty or hold white space or a slash or control characters, be . or"
                f" .., or be longer than {MAX_ID_BYTES} bytes"
            )
    return video, Segment(id, start, end, line)


def check_videos(path: str | Path, known: Container[str]) -> None:
    """Raise UsageError, which names the lines, if segments are of videos that are not `known`."""
    unknown = [(s.line, video) for video, rows in read_segments(path).items() if video not in known for s in rows]
    if unknown:
        lines = "; ".join(f"line {line}: {video}" for line, video in sorted(unknown)[:SHOWN])
        raise UsageError(
            f"{path}: {len(unknown)} segments are of videos that the collection does not have: {lines}; take these"
            " lines out, or add the videos"
        )


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of each line that should hold a segment."""
    first = True  # which may be the header
    with path.open(encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, 1):
                if not line.strip() or line.startswith("#"):
                    continue
                fields = [field.strip() for field in line.rstrip("\r\n").split("\t")]
                if not (first and len(fields) >= 4 and not any(map(_is_number, fields[2:4]))):
                    yield number, fields
                first = False
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def rows_of(segment: Segment, seconds: NDArray[np.float64]) -> tuple[slice, bool]:
    """The rows of a video that a segment contains.

    Args:
        segment: The interval.
        seconds: (T,) times of the rows, ascending.

    Returns:
        The rows, and False; if the segment contains none, the row nearest to its middle, and True.
    """
    start, stop = np.searchsorted(seconds, [segment.start, segment.end], side="left")
    if stop > start:
        return slice(int(start), int(stop)), False
    nearest = int(np.argmin(np.abs(seconds - (segment.start + segment.end) / 2)))
    return slice(nearest, nearest + 1), True


_cached_table = lru_cache(maxsize=1)(read_segments)  # read once by each worker process


def segments(timeline: Timeline, *, file: str, fps: float = 2) -> NDArray[np.int64]:
    """A sampler: `fps` frames per second, and the middle frame of each segment that contains none of these.

    Args:
        timeline: Its `video` says which segments of the table count.
        file: The table of segments.
        fps: Frames per second.

    Raises:
        SamplerError: `fps` is not positive, or times are unknown.
        UsageError: The table cannot be read.
    """
    videos = _cached_table(file)
    regular = samplers.fps(timeline, fps=fps)
    if not len(timeline):
        return regular
    chosen = timeline.seconds[regular]
    middles = []
    for segment in videos.get(timeline.video, []):
        if rows_of(segment, chosen)[1]:
            inside = rows_of(segment, timeline.seconds)[0]
            middles.append((inside.start + inside.stop) // 2)
    return np.union1d(regular, np.array(middles, np.int64))
