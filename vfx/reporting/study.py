"""What a report says of one feature: its statistics, a map, similar videos, and which frames to show."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vfx.analysis.pca_map import Map, draw_map
from vfx.analysis.rows import read_normalized, read_rows
from vfx.analysis.similarity import Pair, SelfSimilarity, near_duplicates, self_similarities
from vfx.analysis.statistics import Statistics, gather
from vfx.analysis.thumbnails import MIDDLE, FrameKey
from vfx.features.feature_file import FeatureFile
from vfx.outputs import throughput
from vfx.outputs.throughput import Interval
from vfx.reporting.map_chart import MapLayout, lay_out

POINTS = 1200  # on a map
MAP_PICTURES = 70
PAIRS = 12
VIDEO_PICTURES = 5  # beside the self-similarity of a video


@dataclass(frozen=True)
class Options:
    """How much a report shows.

    Args:
        pictures: Pictures in all.
        videos: Videos whose self-similarity is shown.
        duplicate: The least cosine between rows of near-duplicate videos.
        seed: Draws the samples.
    """

    pictures: int = 240
    videos: int = 16
    duplicate: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Study:
    """What a report says of one feature. `ids` to `groups` have an entry for each point of the map.

    Args:
        file: The feature.
        statistics: Of all rows.
        map: A sample of the rows on a plane.
        layout: The map's points on the page.
        ids: The id of each point.
        videos: The video of each point; at segment level the id.
        keys: The frame that pictures each point; None where there is none.
        seconds: The presentation time of each point; NaN where there is none.
        groups: The number of each point's video.
        similarities: Self-similarities of some videos; frame level.
        pairs: The most similar near-duplicates among the rows of the map.
        pair_count: The number of all of them.
        intervals: The throughput of the extraction over time; empty where it is unknown.
    """

    file: FeatureFile
    statistics: Statistics
    map: Map
    layout: MapLayout
    ids: list[str]
    videos: list[str]
    keys: list[FrameKey | None]
    seconds: list[float]
    groups: NDArray[np.int64]
    similarities: list[SelfSimilarity]
    pairs: list[Pair]
    pair_count: int
    intervals: list[Interval]


def study(file: FeatureFile, options: Options) -> Study:
    """Study a feature: one pass through the file, and a sample of its rows.

    Raises:
        OutputError: The file is damaged.
    """
    statistics = gather(file)
    map_ = draw_map(file, size=POINTS, seed=options.seed)
    vectors = read_normalized(file, map_.rows)
    ids = [id.decode("utf-8", "replace") for id in read_rows(file, "ids", map_.rows)]
    videos, seconds = ids, [float("nan")] * len(ids)
    keys: list[FrameKey | None] = [None] * len(ids)
    similarities: list[SelfSimilarity] = []
    if file.level == "frame":
        similarities = self_similarities(file, size=options.videos, seed=options.seed)
        index = read_rows(file, "index", map_.rows).tolist()
        videos = [id.rpartition("_")[0] for id in ids]
        seconds = read_rows(file, "seconds", map_.rows).tolist()
        keys = [*zip(videos, index, strict=True)]
    elif file.level == "video":
        keys = [(id, MIDDLE) for id in ids]
    groups = np.unique(np.array(videos, object), return_inverse=True)[1]
    pairs, pair_count = near_duplicates(vectors, groups, threshold=options.duplicate, most=PAIRS)
    return Study(
        file=file,
        statistics=statistics,
        map=map_,
        layout=lay_out(map_.points, most=MAP_PICTURES, seed=options.seed),
        ids=ids,
        videos=videos,
        keys=keys,
        seconds=seconds,
        groups=groups,
        similarities=similarities,
        pairs=pairs,
        pair_count=pair_count,
        intervals=throughput.read(file.path.parent / throughput.NAME),
    )


def wanted_frames(studies: Sequence[Study], options: Options) -> list[FrameKey]:
    """The frames to show, the most important first: at most `options.pictures`."""
    ranked: list[list[FrameKey | None]] = []
    for each in studies:
        ranked.append([each.keys[row] for pair in each.pairs for row in (pair.a, pair.b)])
        ranked.append([(video.video, int(video.index[n])) for video in each.similarities for n in evenly(video)])
        ranked.append([each.keys[i] for i in each.layout.shown])
    for each in studies:
        order = np.random.default_rng(options.seed).permutation(len(each.ids)).tolist()
        ranked.append([each.keys[i] for i in order])
    unique = dict.fromkeys(key for keys in ranked for key in keys if key is not None)
    return list(itertools.islice(unique, options.pictures))


def evenly(video: SelfSimilarity) -> list[int]:
    """A few of the compared frames of a video, taken evenly."""
    t = len(video.index)
    return sorted({int((n + 0.5) * t / VIDEO_PICTURES) for n in range(VIDEO_PICTURES)})
