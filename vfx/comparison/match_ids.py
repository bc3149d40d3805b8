"""Matches the rows of two features by their ids."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from vfx.collection.ids import split_frame_id
from vfx.text import SHOWN

Ids = Callable[[], Iterator[str]]  # goes through all ids, anew at each call


@dataclass(frozen=True)
class CountedIds:
    """How many ids there are, and the first few of them."""

    count: int = 0
    first: tuple[str, ...] = ()

    def with_more(self, ids: list[str]) -> CountedIds:
        return CountedIds(self.count + len(ids), (*self.first, *ids)[:SHOWN])

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.first) else ""
        return f"{self.count} ({', '.join(self.first)}{more})" if self.count else "0"


@dataclass(frozen=True, eq=False)
class MatchedRows:
    """Which rows of two features have the same id.

    Args:
        a: (n,) int64, the positions of the matched rows in `a`, ascending.
        b: (n,) int64, their positions in `b`.
        only_a: The ids that only `a` has.
        only_b: The ids that only `b` has.
        repeated: In each feature, the number of rows with the id of an earlier row. The first row counts, as in
            video-cnn-feat.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    only_a: CountedIds = CountedIds()
    only_b: CountedIds = CountedIds()
    repeated: tuple[int, int] = (0, 0)

    @property
    def same_order(self) -> bool:
        """Whether the ids have the same order in both features."""
        return bool((np.diff(self.b) > 0).all())


def match_ids(a: Ids, b: Ids, rows: tuple[int, int]) -> MatchedRows:
    """Match rows by id.

    Args:
        a: The ids of one feature.
        b: The ids of the other.
        rows: How many they are.
    """
    if rows[0] == rows[1] and all(x == y for x, y in zip(a(), b(), strict=True)):
        return MatchedRows(np.arange(rows[0]), np.arange(rows[0]))
    unique_a, first_a = np.unique(_digests(a, rows[0]), return_index=True)
    unique_b, first_b = np.unique(_digests(b, rows[1]), return_index=True)
    _, both_a, both_b = np.intersect1d(unique_a, unique_b, assume_unique=True, return_indices=True)
    order = np.argsort(first_a[both_a])
    return MatchedRows(
        first_a[both_a][order],
        first_b[both_b][order],
        _counted(a, np.delete(first_a, both_a)),
        _counted(b, np.delete(first_b, both_b)),
        (rows[0] - len(unique_a), rows[1] - len(unique_b)),
    )


def ids_at(ids: Ids, positions: NDArray[np.int64], rows: int) -> Iterator[str]:
    """The ids at ascending positions, of `rows` ids."""
    wanted = np.zeros(rows, bool)
    wanted[positions] = True
    return itertools.compress(ids(), wanted)


def index_offset(a: Ids, b: Ids) -> int | None:
    """How much larger each frame index of `b` is than that of `a`, row by row. Both have equally many rows.

    Returns:
        None if this is not one number for all rows, or 0, or the ids are not those of the same videos' frames.
    """
    found = 0
    for x, y in zip(a(), b(), strict=True):
        try:
            (video, i), (other, j) = split_frame_id(x), split_frame_id(y)
        except ValueError:
            return None
        if video != other or i == j or found not in (0, j - i):
            return None
        found = j - i
    return found or None


def _digests(ids: Ids, rows: int) -> NDArray[np.bytes_]:
    # Not the ids themselves: as text those of millions of frames would fill the memory.
    return np.fromiter((blake2b(id.encode(), digest_size=16).digest() for id in ids()), "S16", rows)


def _counted(ids: Ids, positions: NDArray[np.int64]) -> CountedIds:
    positions.sort()
    first = positions[:SHOWN]
    return CountedIds(len(positions), tuple(ids_at(ids, first, int(first[-1]) + 1)) if len(first) else ())
