"""Searches a feature for a query, and lists what is found."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np

from vfx.analysis.rows import read_rows
from vfx.errors import UsageError
from vfx.features.feature_file import FeatureFile
from vfx.retrieval import exact_search, faiss_index
from vfx.retrieval.exact_search import NO_ROWS, Hit
from vfx.retrieval.query import Query


@dataclass(frozen=True)
class Result:
    """A row that a search found, or a video.

    Args:
        rank: From 1 up.
        score: The cosine to the query.
        id: Of the row, or of the video.
        video: The id of its video; None at segment level.
        index: The index of the frame; None at the other levels.
        seconds: Its presentation time; None where it is unknown, and at the other levels.
    """

    rank: int
    score: float
    id: str
    video: str | None
    index: int | None
    seconds: float | None


def find_nearest(
    file: FeatureFile,
    query: Query,
    *,
    top: int,
    same_video: bool,
    one_per_video: bool,
    index: Literal["auto", "exact", "faiss"],
) -> tuple[list[Result], str]:
    """Search a feature for the rows nearest to a query, or for the nearest videos if the query is a whole video.

    Args:
        file: The feature.
        query: What to look for.
        top: How many to find, at most.
        same_video: Whether to find rows of the query's own video too.
        one_per_video: Frame level: whether to find only the nearest frame of each video.
        index: How to search; "auto" takes FAISS for large features.

    Returns:
        The results, the nearest first, and how they were found, in words.

    Raises:
        UsageError: FAISS is asked for, and is not installed, or not for such a query or feature.
        OutputError: The file is damaged.
    """
    total = file.features.shape[0]
    if query.whole_video:
        if index == "faiss":
            raise UsageError(f"index=faiss cannot compare whole videos: pool first, and search in mean_{file.feature}")
        own = None if same_video else int(file.videos.tolist().index(query.own_id))
        hits = exact_search.nearest_videos(file, query.vector, k=top, without=own)
        how = f"exact, means of {len(file)} videos"
    else:
        offsets = file.offsets if one_per_video else None
        without = NO_ROWS if same_video else query.own_rows
        # At the other levels the query's own row is left out afterwards.
        k = top + int(file.level != "frame" and query.own_id is not None)
        if index == "faiss" or (index == "auto" and total >= faiss_index.LARGE):
            found = faiss_index.open_index(file)
            hits = found.nearest(query.vector, k=k, without=without, offsets=offsets)
            recall = f"recall@{faiss_index.TOP} {found.about.recall:.3f} by {found.about.queries} queries"
            how = f"faiss, {total:,} rows, {recall}"
        else:
            (hits,) = exact_search.nearest(file, query.vector[None], k=k, without=[without], offsets=offsets)
            how = f"exact, {total:,} rows"
    return _results(file, query, hits, same_video=same_video)[:top], how


def to_text(results: Sequence[Result], suffix: str) -> str:
    """Results as the text of a file: a list in JSON for the suffix `.json`, else a table in TSV."""
    rows = [asdict(result) for result in results]
    if suffix == ".json":
        return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Result.__dataclass_fields__), delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _results(file: FeatureFile, query: Query, hits: list[Hit], *, same_video: bool) -> list[Result]:
    results: list[Result] = []
    for hit in hits:
        row = np.array([hit.row])
        id = read_rows(file, "videos/ids" if query.whole_video else "ids", row)[0].decode("utf-8", "replace")
        video, index, seconds = None, None, None
        if file.level == "frame" and not query.whole_video:
            video, index = id.rpartition("_")[0], int(read_rows(file, "index", row)[0])
            time = float(read_rows(file, "seconds", row)[0])
            seconds = None if math.isnan(time) else time
        elif file.level != "segment":
            video = id
        if same_video or file.level == "frame" or id != query.own_id:
            results.append(Result(len(results) + 1, hit.cosine, id, video, index, seconds))
    return results
