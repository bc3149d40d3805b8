"""What a feature looks like in numbers, gathered in one pass over its rows: norms, dimensions, lengths of videos."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vfx.analysis.pca_map import merged
from vfx.features import schema
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import BLOCK_BYTES, Failure

BINS = 64
BLOCK = 1 << 16  # rows of a column that is read by itself
SHOWN = 500  # failures that are kept, of however many there are


@dataclass
class Histogram:
    """Counts of values in BINS bins of one width, which doubles when a value lies outside; so nothing is read twice.

    `low`: where the first bin begins. `width`: of a bin; 0 until values tell. Bins are `[begin, end)`.
    """

    low: float = 0.0
    width: float = 0.0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: NDArray[Any]) -> None:
        """Count finite values, (n,)."""
        if not len(values):
            return
        least, most = float(values.min()), float(values.max())
        if not self.width:
            self.width = max((most - least) / BINS * 1.001, abs(most) * 1e-6, 1e-30)
            self.low = least
        while most >= self.low + BINS * self.width:
            self.counts = np.concatenate([self.counts.reshape(-1, 2).sum(axis=1), np.zeros(BINS // 2, np.int64)])
            self.width *= 2
        while least < self.low:
            self.counts = np.concatenate([np.zeros(BINS // 2, np.int64), self.counts.reshape(-1, 2).sum(axis=1)])
            self.low -= BINS * self.width
            self.width *= 2
        bins = ((values - self.low) / self.width).astype(np.int64)
        self.counts += np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)

    @property
    def edges(self) -> NDArray[np.float64]:
        """Where bins begin and the last ends, (BINS+1,)."""
        return np.asarray(self.low + self.width * np.arange(BINS + 1), np.float64)


@dataclass
class Moments:
    """Number, extremes, mean and deviation of values that come in blocks (Chan, Golub and LeVeque 1979)."""

    count: int = 0
    least: float = math.inf
    most: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0

    def add(self, values: NDArray[Any]) -> None:
        if not len(values):
            return
        mean, squares = float(values.mean()), float(((values - values.mean()) ** 2).sum())
        total = self.count + len(values)
        apart = mean - self.mean
        self.squares += squares + apart**2 * self.count * len(values) / total
        self.mean += apart * len(values) / total
        self.count = total
        self.least, self.most = min(self.least, float(values.min())), max(self.most, float(values.max()))

    @property
    def deviation(self) -> float:
        """Of the population."""
        return math.sqrt(self.squares / self.count) if self.count else math.nan


@dataclass
class Statistics:
    """`norms`, `spread`: of the Euclidean lengths of the rows that are finite; `unsound`: rows that are not, `empty`:
    rows of zeros. Of ten crops kept apart, the mean is taken for the row.

    `low`, `high`, `used` (D,): of each dimension the least and the largest value, and how many rows are not 0 there.
    Frame level alone: `videos`, `lengths` (rows of each), and `seconds`, the presentation times of the last rows of
    the videos added up, of those that are known; `timed`: of how many videos that is.
    `failures`: the first SHOWN; `failed`: how many there are at each stage.
    """

    rows: int
    dims: int
    norms: Histogram
    spread: Moments
    unsound: int
    empty: int
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    used: NDArray[np.int64]
    videos: int
    lengths: Histogram
    seconds: float
    timed: int
    failures: list[Failure]
    failed: Counter[str]

    @property
    def silent(self) -> NDArray[np.int64]:
        """The dimensions in which every row is 0."""
        return np.flatnonzero(self.used == 0)

    @property
    def constant(self) -> NDArray[np.int64]:
        """The dimensions in which all rows have one value, and not 0; of a single row that says nothing."""
        same = (self.low == self.high) & (self.used > 0) & (self.rows - self.unsound > 1)
        return np.flatnonzero(same)


def gather(file: FeatureFile, *, on_rows: Callable[[int], None] = lambda rows: None) -> Statistics:
    """Read a file whole, in blocks; `on_rows` is told the rows of each. Raises OutputError where it is damaged."""
    rows, *shape = file.features.shape
    dims = shape[-1]
    found = Statistics(
        rows, dims, Histogram(), Moments(), 0, 0,
        np.full(dims, np.inf, np.float32), np.full(dims, -np.inf, np.float32), np.zeros(dims, np.int64),
        0, Histogram(0.5, 1), 0.0, 0, [], Counter(),
    )  # fmt: skip
    size = max(1, BLOCK_BYTES // (4 * math.prod(shape)))
    for start in range(0, rows, size):
        with schema.reading(file.path):
            block = merged(file.features[start : start + size])
        on_rows(len(block))
        sound = np.isfinite(block).all(axis=1)
        found.unsound += int((~sound).sum())
        block = block[sound]
        if len(block):
            found.low = np.minimum(found.low, block.min(axis=0))
            found.high = np.maximum(found.high, block.max(axis=0))
            found.used += (block != 0).sum(axis=0)
            lengths = np.linalg.norm(block.astype(np.float64), axis=1)
            found.empty += int((lengths == 0).sum())
            found.norms.add(lengths)
            found.spread.add(lengths)
    if file.level == "frame":
        _videos(file, found)
    for records in column(file, "failures"):
        for record in records.tolist():
            failure = Failure(*(text.decode("utf-8", "replace") for text in record))
            found.failed[failure.stage] += 1
            if len(found.failures) < SHOWN:
                found.failures.append(failure)
    return found


def _videos(file: FeatureFile, found: Statistics) -> None:
    """Count the rows of each video, and add up when their last rows are shown."""
    last = np.empty(0, np.int64)  # of the block before
    for block in column(file, "videos/offsets"):
        offsets = np.concatenate([last, block])
        last, ends, lengths = offsets[-1:], offsets[1:], np.diff(offsets)
        found.lengths.add(lengths)
        found.videos += len(lengths)
        lasts = at(file, "seconds", ends - 1)
        known = lasts[np.isfinite(lasts)]
        found.seconds += float(known.sum())
        found.timed += len(known)


def column(file: FeatureFile, name: str, size: int = BLOCK) -> Iterator[NDArray[Any]]:
    """A column of a file in blocks, as HDF5 has it: text as bytes."""
    with schema.reading(file.path):
        data = file.column(name)
        for start in range(0, len(data), size):
            yield data[start : start + size]


def at(file: FeatureFile, name: str, rows: NDArray[np.int64]) -> NDArray[Any]:
    """A column's values at ascending positions, (n,); what lies between them is read too where it is little."""
    found = []
    with schema.reading(file.path):
        data = file.column(name)
        for run in np.split(rows, np.flatnonzero(np.diff(rows) > 64) + 1):
            if len(run):
                found.append(data[run[0] : run[-1] + 1][run - run[0]])
    return np.concatenate(found) if found else np.empty(0, data.dtype)
