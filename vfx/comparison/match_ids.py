"""Which rows of two features belong together: those of one id, wherever they stand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from vfx.collection.ids import split_frame_id

SHOWN = 5  # how many ids are named

Ids = Callable[[], Iterator[str]]


@dataclass(frozen=True)
class Listed:
    """Ids: how many, and the first few."""

    count: int = 0
    first: tuple[str, ...] = ()

    def and_then(self, ids: list[str]) -> Listed:
        return Listed(self.count + len(ids), (*self.first, *ids)[:SHOWN])

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.first) else ""
        return f"{self.count} ({', '.join(self.first)}{more})" if self.count else "0"


@dataclass(frozen=True, eq=False)
class Pairing:
    """The positions of the rows that have an id on both sides, (n,) int64 each, ascending in `a`.

    `repeated`: how many rows of either side have an id that one before them has; the first one counts, as in the
    lineage.
    """

    a: NDArray[np.int64]
    b: NDArray[np.int64]
    only_a: Listed = Listed()
    only_b: Listed = Listed()
    repeated: tuple[int, int] = (0, 0)

    @property
    def in_order(self) -> bool:
        """Whether the ids of both sides come in one order."""
        return bool((np.diff(self.b) > 0).all())


def pair(a: Ids, b: Ids, rows: tuple[int, int]) -> Pairing:
    """Find the rows of one id. `a`, `b`: go through the ids of a side; `rows`: how many there are."""
    if rows[0] == rows[1] and all(x == y for x, y in zip(a(), b(), strict=True)):
        return Pairing(np.arange(rows[0]), np.arange(rows[0]))
    known_a, first_a = np.unique(_digests(a, rows[0]), return_index=True)
    known_b, first_b = np.unique(_digests(b, rows[1]), return_index=True)
    _, both_a, both_b = np.intersect1d(known_a, known_b, assume_unique=True, return_indices=True)
    order = np.argsort(first_a[both_a])
    return Pairing(
        first_a[both_a][order],
        first_b[both_b][order],
        _listed(a, np.delete(first_a, both_a)),
        _listed(b, np.delete(first_b, both_b)),
        (rows[0] - len(known_a), rows[1] - len(known_b)),
    )


def picked(ids: Ids, positions: NDArray[np.int64], rows: int) -> Iterator[str]:
    """The ids at ascending positions, of all `rows`."""
    wanted = np.zeros(rows, bool)
    wanted[positions] = True
    return itertools.compress(ids(), wanted)


def shift(a: Ids, b: Ids) -> int | None:
    """By how much every frame index of `b` is above that of `a`, row by row; None if that is not one number, or 0.

    Both have as many rows.
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


def _listed(ids: Ids, positions: NDArray[np.int64]) -> Listed:
    positions.sort()
    first = positions[:SHOWN]
    return Listed(len(positions), tuple(picked(ids, first, int(first[-1]) + 1)) if len(first) else ())
