"""Statistics of a feature in one pass over its rows: norms, use of dimensions, lengths of videos, failures."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vfx.analysis.rows import COLUMN_ROWS, average_crops, read_blocks, read_rows
from vfx.features import schema
from vfx.features.reader import FeatureReader
from vfx.features.rows import BLOCK_BYTES, Failure

BINS = 64
FAILURES = 500  # that are kept, of however many there are


@dataclass
class Histogram:
    """Counts of values in BINS bins of equal width, which doubles when a value lies outside. So one pass is enough.

    Args:
        low: Where the first bin begins. Bins are [begin, end).
        width: The width of a bin; 0 until the first values set it.
        counts: (BINS,).
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
        """(BINS+1,): where each bin begins, and where the last ends."""
        return np.asarray(self.low + self.width * np.arange(BINS + 1), np.float64)


@dataclass
class Moments:
    """Count, extremes, mean and standard deviation of values that come in blocks (Chan, Golub and LeVeque 1979)."""

    count: int = 0
    least: float = math.inf
    most: float = -math.inf
    mean: float = 0.0
    squares: float = 0.0  # sum of the squared differences from the mean

    def add(self, values: NDArray[Any]) -> None:
        """Add values, (n,), n at least 1."""
        mean, squares = float(values.mean()), float(((values - values.mean()) ** 2).sum())
        total = self.count + len(values)
        change = mean - self.mean
        self.squares += squares + change**2 * self.count * len(values) / total
        self.mean += change * len(values) / total
        self.count = total
        self.least, self.most = min(self.least, float(values.min())), max(self.most, float(values.max()))

    @property
    def deviation(self) -> float:
        """The standard deviation, of the population."""
        return math.sqrt(self.squares / self.count) if self.count else math.nan


class Statistics:
    """Statistics of the rows of a feature; of ten crops kept apart, of their mean.

    Attributes:
        rows: The number of rows.
        dims: The number of dimensions, D.
        norms: The Euclidean norms of the finite rows, as a histogram.
        norm_moments: Their moments.
        not_finite: The number of rows that hold NaN or infinity. The other statistics leave them out.
        zero: The number of rows that are zero.
        low: (D,), the least value of each dimension.
        high: (D,), the largest value of each dimension.
        used: (D,), the number of rows that are not 0 in each dimension.
        videos: The number of videos that have rows; frame level, like those that follow.
        lengths: Their numbers of rows, as a histogram.
        seconds: The presentation times of their last rows, added up over those that are known.
        timed: The number of videos whose times are known.
        failures: The first FAILURES failures.
        failed: The number of failures at each stage.
    """

    def __init__(self, rows: int, dims: int) -> None:
        self.rows = rows
        self.dims = dims
        self.norms = Histogram()
        self.norm_moments = Moments()
        self.not_finite = 0
        self.zero = 0
        self.low = np.full(dims, np.inf, np.float32)
        self.high = np.full(dims, -np.inf, np.float32)
        self.used = np.zeros(dims, np.int64)
        self.videos = 0
        self.lengths = Histogram(0.5, 1)
        self.seconds = 0.0
        self.timed = 0
        self.failures: list[Failure] = []
        self.failed: Counter[str] = Counter()

    @property
    def always_zero(self) -> NDArray[np.int64]:
        """The dimensions in which every row is 0."""
        return np.flatnonzero(self.used == 0)

    @property
    def constant(self) -> NDArray[np.int64]:
        """The dimensions in which all rows have one value other than 0. None where there is only one row."""
        return np.flatnonzero((self.low == self.high) & (self.used > 0) & (self.rows - self.not_finite > 1))

    def add_rows(self, rows: NDArray[np.float32]) -> None:
        """Add rows, (n, D)."""
        finite = np.isfinite(rows).all(axis=1)
        self.not_finite += int((~finite).sum())
        rows = rows[finite]
        if not len(rows):
            return
        self.low = np.minimum(self.low, rows.min(axis=0))
        self.high = np.maximum(self.high, rows.max(axis=0))
        self.used += (rows != 0).sum(axis=0)
        norms = np.linalg.norm(rows.astype(np.float64), axis=1)
        self.zero += int((norms == 0).sum())
        self.norms.add(norms)
        self.norm_moments.add(norms)

    def add_videos(self, lengths: NDArray[np.int64], last_seconds: NDArray[np.float64]) -> None:
        """Add videos, (v,): their numbers of rows, and the presentation times of their last rows."""
        self.lengths.add(lengths)
        self.videos += len(lengths)
        known = last_seconds[np.isfinite(last_seconds)]
        self.seconds += float(known.sum())
        self.timed += len(known)


def gather(file: FeatureReader, *, block_bytes: int = BLOCK_BYTES, column_rows: int = COLUMN_ROWS) -> Statistics:
    """Compute the statistics of a file.

    Args:
        file: The file.
        block_bytes: The size of the blocks in which the features are read, as float32.
        column_rows: The rows of the other columns that are read at once.

    Raises:
        OutputError: The file is damaged.
    """
    rows, *shape = file.features.shape
    found = Statistics(rows, shape[-1])
    size = max(1, block_bytes // (4 * math.prod(shape)))
    for start in range(0, rows, size):
        with schema.reading(file.path):
            block = average_crops(file.features[start : start + size])
        found.add_rows(block)
    if file.level == "frame":
        last = np.empty(0, np.int64)  # the last offset of the block before
        for block in read_blocks(file, "videos/offsets", size=column_rows):
            offsets = np.concatenate([last, block])
            last = offsets[-1:]
            found.add_videos(np.diff(offsets), read_rows(file, "seconds", offsets[1:] - 1))
    for records in read_blocks(file, "failures", size=column_rows):
        failures = [Failure(*(text.decode("utf-8", "replace") for text in record)) for record in records.tolist()]
        found.failed.update(failure.stage for failure in failures)
        found.failures += failures[: FAILURES - len(found.failures)]
    return found
