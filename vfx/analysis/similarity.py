"""How alike the rows of a feature are: over the time of a video, and between videos that may be copies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfx.analysis.pca_map import drawn, unit_rows
from vfx.analysis.statistics import at
from vfx.features.feature_file import FeatureFile

COLUMNS = 128  # frames of a video that are compared; of a longer one they are taken evenly
BLOCK = 256


@dataclass(frozen=True)
class Strip:
    """A video against itself: `index`, `seconds` (t,) of some of its frames, evenly, of `frames` that have rows, and
    `cosines` (t,t) between them.
    """

    video: str
    frames: int
    index: NDArray[np.int64]
    seconds: NDArray[np.float64]
    cosines: NDArray[np.float32]


def strips(file: FeatureFile, *, size: int, seed: int = 0) -> list[Strip]:
    """At most `size` videos of a frame-level file against themselves, drawn by `seed`, in the order of the file."""
    found = []
    for v in drawn(len(file), size, seed=seed).tolist():
        start, stop = at(file, "videos/offsets", np.array([v, v + 1])).tolist()
        picked = np.arange(start, stop)
        if len(picked) > COLUMNS:
            picked = np.unique(np.linspace(start, stop - 1, COLUMNS).round().astype(np.int64))
        rows = unit_rows(file, picked)
        video = at(file, "videos/ids", np.array([v]))[0].decode("utf-8", "replace")
        cosines = np.clip(rows @ rows.T, -1, 1)
        found.append(Strip(video, stop - start, at(file, "index", picked), at(file, "seconds", picked), cosines))
    return found


@dataclass(frozen=True)
class Pair:
    """Two groups of rows (videos), and of their rows the two that are most alike, by position in the sample."""

    a: int
    b: int
    cosine: float
    pairs: int


def near_duplicates(
    rows: NDArray[np.float32], groups: NDArray[np.int64], *, threshold: float, most: int
) -> tuple[list[Pair], int]:
    """The pairs of groups with rows whose cosine is at least `threshold`, most alike first: at most `most`, and how
    many there are.

    `rows` (n,D) of length 1, `groups` (n,): which group each is of. Every two rows are compared.
    """
    firsts, seconds, cosines = [], [], []
    for start in range(0, len(rows), BLOCK):
        block = rows[start : start + BLOCK]
        likeness = block @ rows[start:].T
        likeness[groups[start : start + BLOCK, None] == groups[None, start:]] = -2
        i, j = np.nonzero(np.triu(likeness >= threshold, 1))
        firsts.append(i + start)
        seconds.append(j + start)
        cosines.append(likeness[i, j])
    a, b, cosine = np.concatenate(firsts), np.concatenate(seconds), np.concatenate(cosines)
    order = np.argsort(-cosine, kind="stable")
    a, b, cosine = a[order], b[order], cosine[order]
    keys = np.sort(np.stack([groups[a], groups[b]], axis=1), axis=1)
    _, first, counts = np.unique(keys, axis=0, return_index=True, return_counts=True)
    best = np.argsort(first)[:most]
    pairs = [Pair(int(a[f]), int(b[f]), float(min(1, cosine[f])), int(c)) for f, c in zip(first[best], counts[best])]  # noqa: B905
    return pairs, len(first)
