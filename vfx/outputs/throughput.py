"""Throughput over time: what a run did and where its time went, in a limited number of intervals.

Each process records its own intervals beside its parts, in `parts/throughput-*.tsv`, so that a kill loses only the
last seconds. When the parts become `features.h5`, all these files, also of earlier runs, other ranks and shards, are
added up in `throughput.tsv`. It is not part of the result: if the disk refuses it or it is damaged, there is none.
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
PATTERN = "throughput-*.tsv"  # of the files beside the parts
LIMIT = 256  # intervals, however long the work
FIRST_STEP = 0.5  # seconds between two samples, until there are too many
WRITE_SECONDS = 30.0
COUNTERS = ("videos", "frames", "failures", "waiting", "network", "writing", "decode", "threads")

log = logging.getLogger(__name__)


class Interval(NamedTuple):
    """What was done in some time.

    Args:
        begin: Seconds since 1970.
        end: Seconds since 1970.
        seconds: For how much of it any process was working.
        work: The working time of all processes together, in seconds.
        videos, frames, failures, waiting, network, writing, decode, threads: As in RunCounters, summed over processes.
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
    """Samples the counters of a process over time, and writes the intervals between samples to files.

    Args:
        counters: Of the process.
        folders: The folders of its parts, each of which gets a file.
        limit: How many intervals there are at most.
        step: Seconds between two samples. It doubles whenever there are too many.
    """

    def __init__(
        self, counters: RunCounters, folders: Sequence[Path], *, limit: int = LIMIT, step: float = FIRST_STEP
    ) -> None:
        self._counters = counters
        name = PATTERN.replace("*", uuid.uuid4().hex[:12])
        self._paths = [folder / name for folder in folders]
        self._limit, self._step = limit, step
        self._offset = time.time() - time.monotonic()  # a clock that is set meanwhile changes nothing
        self._samples = [self._now()]
        self._written = time.monotonic()

    def sample(self) -> None:
        """Take a sample and write the file if it is time to. Call this often."""
        now = time.monotonic()
        if now - self._samples[-1][0] >= self._step:
            self._samples.append(self._now())
            if len(self._samples) > self._limit + 1:  # samples count from the beginning, so any may be left out
                self._samples = self._samples[::2]
                self._step *= 2
        if now - self._written >= WRITE_SECONDS:
            self._written = now
            self._write(self.intervals())

    def close(self) -> None:
        """Write what has happened up to now."""
        self._write(self.intervals())

    def intervals(self) -> list[Interval]:
        """What happened between the samples, and since the last one."""
        samples = [*self._samples, self._now()]
        if len(samples) > 2 and samples[-1][0] - samples[-2][0] < self._step / 2:  # no interval of an instant
            del samples[-2]
        rows = []
        for before, after in itertools.pairwise(np.array(samples)):
            length = float(after[0] - before[0])
            if length > 0:
                begin, end = before[0] + self._offset, after[0] + self._offset
                rows.append(Interval(begin, end, length, length, *(after[1:] - before[1:]).tolist()))
        return rows

    def _now(self) -> tuple[float, ...]:
        counters = self._counters
        counts = [counters.failures.total() if name == "failures" else getattr(counters, name) for name in COUNTERS]
        return (time.monotonic(), *map(float, counts))

    def _write(self, intervals: list[Interval]) -> None:
        for path in self._paths:
            if path.parent.is_dir():  # a folder that was removed is not made again
                write(path, intervals)


def merge(folder: Path, paths: Iterable[Path]) -> None:
    """Add up files of intervals in `throughput.tsv` of a folder, with what it holds already, and remove them."""
    files = sorted(paths)
    if files and write(folder / NAME, add_up([read(path) for path in (folder / NAME, *files)])):
        for path in files:
            path.unlink(missing_ok=True)


def compact(parts: Path) -> None:
    """Add up the files that earlier runs left beside the parts in one of them, since there may be many."""
    files = sorted(parts.glob(PATTERN))
    if len(files) > 1 and write(files[0], add_up([read(path) for path in files])):
        for path in files[1:]:
            path.unlink(missing_ok=True)


def add_up(recordings: Iterable[list[Interval]], *, limit: int = LIMIT) -> list[Interval]:
    """Add up what several processes did, at the same time or one after the other.

    What was counted in an interval is spread evenly over it. If there would be too many intervals, they are joined so
    that each holds about the same work.

    Args:
        recordings: The intervals of each process.
        limit: How many intervals there may be.

    Returns:
        The intervals in which any process was working.
    """
    tables = [np.array(recording, np.float64) for recording in recordings if recording]
    if not tables:
        return []
    edges = np.unique(np.concatenate([table[:, :2].ravel() for table in tables]))
    counted = sum(_totals_at(edges, table) for table in tables)  # (edges, quantities), each from 0 up
    assert not isinstance(counted, int)
    # the seconds of processes that worked at the same time count once
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


def _totals_at(edges: NDArray[np.float64], table: NDArray[np.float64]) -> NDArray[np.float64]:
    """How much of each quantity of some intervals has been counted at given times."""
    times = table[:, :2].ravel()
    totals = np.cumsum(table[:, 2:], axis=0)
    at_ends = np.repeat(totals, 2, axis=0)
    at_ends[::2] -= table[:, 2:]  # at the beginning of an interval all that came before
    return np.stack([np.interp(edges, times, column) for column in at_ends.T], axis=1)


def write(path: Path, intervals: list[Interval]) -> bool:
    """Write intervals as a table, tab separated, with times in UTC. Returns whether the disk took it."""
    lines = ["\t".join(Interval._fields)]
    for row in intervals:
        lines.append("\t".join([_stamp(row.begin), _stamp(row.end), *(f"{value:.6g}" for value in row[2:])]))
    try:
        write_text(path, "\n".join(lines) + "\n")
    except OutputError as error:
        log.warning("how the run goes is not kept: %s", error)
        return False
    return True


def read(path: Path) -> list[Interval]:
    """Read intervals that `write` wrote. [] if there is no such file or it is damaged, which is logged."""
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
