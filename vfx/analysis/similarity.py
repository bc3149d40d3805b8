"""How similar the rows of a feature are: over the time of a video, and between videos that may be copies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfx.analysis.rows import read_normalized, read_rows, sample
from vfx.features.reader import FeatureReader

COLUMNS = 128  # frames of a video that are compared; of a longer one they are taken evenly
BLOCK_ROWS = 256


@dataclass(frozen=True)
class SelfSimilarity:
    """The cosines between the frames of one video.

    Args:
        video: Its id.
        frames: The number of its frames that have rows.
        index: (t,), the index of each compared frame; of many frames, COLUMNS taken evenly.
        seconds: (t,), its presentation time.
        cosines: (t, t), the cosines between the compared frames.
    """

    video: str
    frames: int
    index: NDArray[np.int64]
    seconds: NDArray[np.float64]
    cosines: NDArray[np.float32]


def self_similarities(file: FeatureReader, *, size: int, seed: int = 0) -> list[SelfSimilarity]:
    """Compute the self-similarity of at most `size` videos, drawn by `seed`, in the order of the file.

    Raises:
        OutputError: The file is damaged.
    """
    found = []
    for v in sample(len(file), size, seed=seed).tolist():
        start, stop = read_rows(file, "videos/offsets", np.array([v, v + 1])).tolist()
        picked = np.arange(start, stop)
        if len(picked) > COLUMNS:
            picked = np.unique(np.linspace(start, stop - 1, COLUMNS).round().astype(np.int64))
        rows = read_normalized(file, picked)
        found.append(
            SelfSimilarity(
                video=read_rows(file, "videos/ids", np.array([v]))[0].decode("utf-8", "replace"),
                frames=stop - start,
                index=read_rows(file, "index", picked),
                seconds=read_rows(file, "seconds", picked),
                cosines=np.clip(rows @ rows.T, -1, 1),
            )
        )
    return found


@dataclass(frozen=True)
class Pair:
    """Two videos with similar rows.

    Args:
        a: The row of the one video, by position in the sample.
        b: The row of the other that is most similar to it.
        cosine: The cosine between the two rows.
        pairs: How many pairs of rows of these videos are similar.
    """

    a: int
    b: int
    cosine: float
    pairs: int


def near_duplicates(
    rows: NDArray[np.float32], groups: NDArray[np.int64], *, threshold: float, most: int
) -> tuple[list[Pair], int]:
    """Find the pairs of videos that have rows whose cosine is at least `threshold`. All pairs of rows are compared.

    Args:
        rows: (n, D), L2-normalised.
        groups: (n,), the number of the video that each row is of.
        threshold: The least cosine.
        most: How many pairs to return.

    Returns:
        The most similar pairs, in descending order of their cosine, and the number of all.
    """
    firsts, seconds, cosines = [], [], []
    for start in range(0, len(rows), BLOCK_ROWS):
        block = rows[start : start + BLOCK_ROWS]
        similarity = block @ rows[start:].T
        similarity[groups[start : start + BLOCK_ROWS, None] == groups[None, start:]] = -2
        i, j = np.nonzero(np.triu(similarity >= threshold, 1))
        firsts.append(i + start)
        seconds.append(j + start)
        cosines.append(similarity[i, j])
    a, b, cosine = np.concatenate(firsts), np.concatenate(seconds), np.concatenate(cosines)
    order = np.argsort(-cosine, kind="stable")
    a, b, cosine = a[order], b[order], cosine[order]
    keys = np.sort(np.stack([groups[a], groups[b]], axis=1), axis=1)
    _, first, counts = np.unique(keys, axis=0, return_index=True, return_counts=True)
    best = np.argsort(first)[:most]
    pairs = [Pair(int(a[f]), int(b[f]), float(min(1, cosine[f])), int(c)) for f, c in zip(first[best], counts[best])]  # noqa: B905
    return pairs, len(first)
