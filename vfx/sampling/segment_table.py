"""Segments: intervals of videos, such as shots, which are pooled and retrieved on their own.

A table has a segment id, a video id, start and end in seconds, tab separated, a line each; lines that begin with #
and a header (whose start and end are no numbers) are passed over. An interval is half open, [start, end).
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

SHOWN = 5
FORM = "a line is segment id, video id, start and end in seconds, with tabs between"


class Segment(NamedTuple):
    """`[start, end)` seconds of a video. `line`: where the table has it."""

    id: str
    start: float
    end: float
    line: int


Table = dict[str, list[Segment]]  # by video id


def read_segments(path: str | Path) -> Table:
    """The segments of each video, in the order of the table.

    Raises UsageError that names the lines which are not of that form, where end <= start, or whose id is repeated.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise UsageError(f"segments ({path}) is not a file; it must be a table of segment id, video id, start, end")
    videos: Table = {}
    seen: dict[str, int] = {}
    wrong = []
    for number, fields in _lines(path):
        try:
            id, video, start, end = fields[0], fields[1], float(fields[2]), float(fields[3])
        except (IndexError, ValueError):
            wrong.append(f"line {number}: not segment id, video id, start, end")
            continue
        if not (math.isfinite(start) and math.isfinite(end) and end > start):
            wrong.append(f"line {number}: end ({end:g}) must be after start ({start:g})")
        elif bad := [value for value in (id, video) if not is_storable(value)]:
            wrong.append(
                f"line {number}: id ({bad[0]!r:.80}) must not be empty or hold white space or a slash or control"
                f" characters, be . or .., or be longer than {MAX_ID_BYTES} bytes"
            )
        elif id in seen:
            wrong.append(f"line {number}: id {id} is that of line {seen[id]}")
        else:
            seen[id] = number
            videos.setdefault(video, []).append(Segment(id, start, end, number))
    if wrong:
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise UsageError(f"{path}: " + "; ".join(wrong[:SHOWN]) + more + f"; mend these lines ({FORM})")
    if not videos:
        raise UsageError(f"{path} holds no segment; {FORM}")
    return videos


def check_videos(path: str | Path, known: Container[str]) -> None:
    """Raise UsageError that names the lines whose video is not `known`."""
    unknown = [(s.line, video) for video, rows in read_segments(path).items() if video not in known for s in rows]
    if unknown:
        lines = "; ".join(f"line {line}: {video}" for line, video in sorted(unknown)[:SHOWN])
        raise UsageError(
            f"{path}: {len(unknown)} segments are of videos that the collection does not have: {lines}; take these"
            " lines out, or add the videos"
        )


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    header_possible = True
    with path.open(encoding="utf-8-sig") as file:
        try:
            for number, line in enumerate(file, 1):
                if not line.strip() or line.startswith("#"):
                    continue
                fields = [field.strip() for field in line.rstrip("\r\n").split("\t")]
                if header_possible and len(fields) >= 4 and not (_is_number(fields[2]) or _is_number(fields[3])):
                    header_possible = False
                    continue
                header_possible = False
                yield number, fields
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is not UTF-8 text: {error}; save it as UTF-8") from error


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def rows_of(segment: Segment, seconds: NDArray[np.float64]) -> tuple[slice, bool]:
    """The rows of a video, at ascending `seconds` (T,), that a segment holds; where it holds none, the one nearest
    to its middle, and True."""
    start, stop = np.searchsorted(seconds, [segment.start, segment.end], side="left")
    if stop > start:
        return slice(int(start), int(stop)), False
    nearest = int(np.argmin(np.abs(seconds - (segment.start + segment.end) / 2)))
    return slice(nearest, nearest + 1), True


def segments(timeline: Timeline, *, file: str, fps: float = 2) -> NDArray[np.int64]:
    """A sampler: `fps` frames a second, and the middle frame of every segment of this video, as
    `timeline.video` names it, that they miss. Raises SamplerError, UsageError."""
    videos = _table(file)
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


@lru_cache(maxsize=1)
def _table(file: str) -> Table:
    return read_segments(file)  # once a worker
