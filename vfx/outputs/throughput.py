"""How the work on an output went over time: what was done and where the time went, in a bounded number of intervals.

Each process at work keeps a course of its own beside its parts, `parts/throughput-*.tsv`, so that a kill loses the last
seconds of it alone. When the parts become `features.h5`, all of them, those of earlier runs, of other ranks and of
shards too, are added up in `throughput.tsv`. It is a picture of the work, and no part of the result: where a disk
refuses it, or it is damaged, there is none.
"""

from __future__ import annotations

import itertools
import logging
import math
import time
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vfx.errors import OutputError
from vfx.outputs.counters import RunCounters
from vfx.system.files import write_text

NAME = "throughput.tsv"
PIECES = "throughput-*.tsv"
LIMIT = 256  # intervals, however long the work
FIRST_STEP = 0.5  # seconds between two marks, until there are too many
WRITE_SECONDS = 30.0
COUNTERS = ("videos", "frames", "failures", "waiting", "network", "writing", "decode", "threads")

log = logging.getLogger(__name__)


class Interval(NamedTuple):
    """What was done from `begin` to `end`, seconds since 1970. Somebody was at work for `seconds` of it, all processes
    together for `work`, and the others are what a RunCounters counts, of all of them.
    """

    begin: float
    end: float
    seconds: float
    work: float
    videos: float
    frames: float
    failures: float
    waiting: float
    network: float
    writing: float
    decode: float
    threads: float


class Recorder:
    """Marks now and then what a process has counted, and keeps that in each of `folders`, those of its parts."""

    def __init__(
        self, counters: RunCounters, folders: Sequence[Path], *, limit: int = LIMIT, step: float = FIRST_STEP
    ) -> None:
        self._counters = counters
        name = PIECES.replace("*", uuid.uuid4().hex[:12])
        self._paths = [folder / name for folder in folders]
        self._limit, self._step = limit, step
        self._offset = time.time() - time.monotonic()  # a clock that is set meanwhile changes nothing
        self._marks = [self._mark()]
        self._written = time.monotonic()

    def note(self) -> None:
        """To be called often: marks where it is time, and writes where that was long ago."""
        now = time.monotonic()
        if now - self._marks[-1][0] >= self._step:
            self._marks.append(self._mark())
            if len(self._marks) > self._limit + 1:  # marks count from the beginning, so any may be left out
                self._marks = self._marks[::2]
                self._step *= 2
        if now - self._written >= WRITE_SECONDS:
            self._written = now
            self._write(self.course())

    def close(self) -> None:
        """Write all up to now."""
        self._write(self.course())

    def course(self) -> list[Interval]:
        """What happened between the marks, and since the last."""
        marks = [*self._marks, self._mark()]
        if len(marks) > 2 and marks[-1][0] - marks[-2][0] < self._step / 2:  # no interval of an instant
            del marks[-2]
        rows = []
        for before, after in itertools.pairwise(np.array(marks)):
            length = float(after[0] - before[0])
            if length > 0:
                begin, end = before[0] + self._offset, after[0] + self._offset
                rows.append(Interval(begin, end, length, length, *(after[1:] - before[1:]).tolist()))
        return rows

    def _mark(self) -> tuple[float, ...]:
        counters = self._counters
        counts = [counters.failures.total() if name == "failures" else getattr(counters, name) for name in COUNTERS]
        return (time.monotonic(), *map(float, counts))

    def _write(self, course: list[Interval]) -> None:
        for path in self._paths:
            if path.parent.is_dir():  # one that was removed stays so
                write(path, course)


def keep(folder: Path, pieces: Iterable[Path]) -> None:
    """Add courses to the one of an output's folder, which then holds them, and remove them."""
    there = sorted(pieces)
    if there and write(folder / NAME, added_up([read(path) for path in (folder / NAME, *there)])):
        for path in there:
            path.unlink(missing_ok=True)


def compact(parts: Path) -> None:
    """Make one of the courses that earlier runs have left among their parts: there may be many."""
    there = sorted(parts.glob(PIECES))
    if len(there) > 1 and write(there[0], added_up([read(path) for path in there])):
        for path in there[1:]:
            path.unlink(missing_ok=True)


def added_up(courses: Iterable[list[Interval]], *, limit: int = LIMIT) -> list[Interval]:
    """All that was done in several courses, at once or one after the other, in at most `limit` intervals.

    What was counted in an interval is taken to have come evenly. Where there would be more intervals, they are joined
    so that each holds about as much work; time in which nobody worked has none.
    """
    tables = [np.array(course, np.float64) for course in courses if course]
    if not tables:
        return []
    edges = np.unique(np.concatenate([table[:, :2].ravel() for table in tables]))
    counted = sum(_counted(table, edges) for table in tables)  # (edges, quantities), each from 0 up
    assert not isinstance(counted, int)
    # of those who worked at once, the seconds count once
    seconds = np.minimum(np.diff(counted[:, 0]), np.diff(edges))
    counted[:, 0] = np.concatenate([[0.0], np.cumsum(seconds)])
    work = counted[:, 1]
    chosen: NDArray[np.intp] = np.arange(len(edges))
    if len(edges) > limit + 1:
        chosen = np.unique(np.searchsorted(work, np.linspace(0, work[-1], limit + 1)))
        chosen[-1] = len(edges) - 1
    return [
        Interval(float(edges[i]), float(edges[j]), *np.maximum(counted[j] - counted[i], 0).tolist())
        for i, j in itertools.pairwise(chosen)
        if work[j] > work[i]
    ]


def _counted(table: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of each quantity of a course has been counted at given times."""
    times = table[:, :2].ravel()
    totals = np.cumsum(table[:, 2:], axis=0)
    at_ends = np.repeat(totals, 2, axis=0)
    at_ends[::2] -= table[:, 2:]  # at the beginning of an interval all that came before
    return np.stack([np.interp(edges, times, column) for column in at_ends.T], axis=1)


def write(path: Path, course: list[Interval]) -> bool:
    """Write a course, tab separated, times in UTC; whether the disk took it."""
    lines = ["\t".join(Interval._fields)]
    for row in course:
        lines.append("\t".join([_stamp(row.begin), _stamp(row.end), *(f"{value:.6g}" for value in row[2:])]))
    try:
        write_text(path, "\n".join(lines) + "\n")
    except OutputError as error:
        log.warning("how the run goes is not kept: %s", error)
        return False
    return True


def read(path: Path) -> list[Interval]:
    """A course as `write` left it; none where there is no such file, or it is not one."""
    try:
        head, *lines = path.read_text(encoding="utf-8").splitlines()
        if head.split("\t") != list(Interval._fields) or len(lines) > 100 * LIMIT:
            raise ValueError("it has other columns, or far too many lines")
        rows = [Interval(*map(_moment, line.split("\t")[:2]), *map(float, line.split("\t")[2:])) for line in lines]
        if not all(math.isfinite(value) and value >= 0 for row in rows for value in row):
            raise ValueError("it holds values that are no measures")
        if any(row.end < row.begin for row in rows) or any(a.end > b.begin for a, b in itertools.pairwise(rows)):
            raise ValueError("its times do not ascend")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        log.warning("%s does not say how the work went: %s", path, error)
        return []
    return rows


def _stamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="microseconds")


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
