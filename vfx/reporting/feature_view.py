"""What the template of a report shows of one feature: texts, charts, and the data for the page's script.

Ids and messages may come from anywhere. Here they are cut to a length; the template escapes them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vfx.analysis.similarity import Pair, SelfSimilarity
from vfx.analysis.statistics import Moments, Statistics
from vfx.outputs.throughput import Interval
from vfx.reporting import svg_charts
from vfx.reporting.gallery import Gallery
from vfx.reporting.map_chart import draw_map
from vfx.reporting.provenance_table import licences
from vfx.reporting.study import Study, evenly
from vfx.text import clock, duration, nbytes, number

COLOURS = 10  # of videos on a map
LONGEST = 120  # characters of an id or a name
LONGEST_TEXT = 400  # characters of a message or of a value of a recipe
LONGEST_CONFIG = 20_000
DIMENSIONS = 24  # that are named
STAGES = 8  # of failures that are named


def feature_view(study: Study, gallery: Gallery, number_: int) -> dict[str, Any]:
    """The variables of the template for one feature, the `number_`-th of the report."""
    low = min((float(video.cosines.min()) for video in study.similarities), default=0.0)
    videos = [_self_similarity(video, gallery, low) for video in study.similarities]
    stats = study.statistics
    return {
        "n": number_,
        "feature": shorten(study.file.feature),
        "level": study.file.level,
        "unit": study.file.level,
        "facts": _facts(study),
        **_map(study, gallery),
        "strips": videos,
        "low": f"{low:.2f}",
        "pairs": [_pair(pair, study, gallery) for pair in study.pairs],
        "pair_count": study.pair_count,
        "statistics": stats,
        **_numbers(stats),
        "failures": [[shorten(f.id), shorten(f.stage), shorten(f.error, LONGEST_TEXT)] for f in stats.failures],
        "failed": sum(stats.failed.values()),
        "stages": [(shorten(stage), count) for stage, count in stats.failed.most_common(STAGES)],
        "work": _work(study.intervals),
        "config": shorten(study.file.attributes["config"], LONGEST_CONFIG),
        "data": {"points": _points(study, gallery), "strips": [video["data"] for video in videos]},
    }


def shorten(text: str, most: int = LONGEST) -> str:
    """At most `most` characters of a text, ending with an ellipsis where it was longer. Control characters are spelled
    out."""
    shown = text[: most - 1] + "…" if len(text) > most else text
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in shown)


def _map(study: Study, gallery: Gallery) -> dict[str, Any]:
    pictures = {i: picture for i, key in enumerate(study.keys) if (picture := gallery[key]) is not None}
    names = sorted(set(study.videos))
    coloured = study.file.level == "frame" and len(names) <= COLOURS
    return {
        "map": draw_map(study.layout, study.groups.tolist(), pictures, colours=COLOURS if coloured else None),
        "legend": [(g, shorten(name)) for g, name in enumerate(names)] if coloured and len(names) > 1 else [],
        "sampled": len(study.ids),
        "pictured": len(pictures),
        "shares": [f"{100 * share:.0f} %" for share in study.map.plane.shares],
    }


def _points(study: Study, gallery: Gallery) -> list[list[Any]]:
    """For each point of the map: id, time, name of its picture, and number of its video."""
    rows = zip(study.ids, study.seconds, study.keys, study.groups, strict=True)
    return [
        [shorten(id), _time(seconds), "" if (picture := gallery[key]) is None else picture.name, int(group)]
        for id, seconds, key, group in rows
    ]


def _facts(study: Study) -> dict[str, str]:
    stats, file = study.statistics, study.file
    shape = file.features.shape
    facts: dict[str, str] = {"level": file.level}
    if file.level == "frame":
        facts["videos"] = f"{stats.videos:,}"
    facts[f"{file.level}s"] = f"{stats.rows:,}"
    facts["dimensions"] = f"{stats.dims:,}" + (f" × {shape[1]} crops" if len(shape) == 3 else "")
    facts["type"] = file.features.dtype.name
    facts["on disk"] = nbytes(file.path.stat().st_size)
    if stats.timed:
        untimed = "" if stats.timed == stats.videos else f" of {stats.timed:,} videos"
        facts["video"] = duration(stats.seconds) + untimed
    facts["failures"] = f"{sum(stats.failed.values()):,}"
    if frames := sum(interval.frames for interval in study.intervals):
        facts["frames/s"] = number(frames / max(1e-9, sum(interval.seconds for interval in study.intervals)))
    norms = stats.norm_moments
    facts["norm"] = f"{number(norms.mean)} ± {number(norms.deviation)}" if norms.count else "none"
    facts["dead dimensions"] = f"{len(stats.always_zero) + len(stats.constant):,}"
    facts["near-duplicates"] = f"{study.pair_count:,}"
    facts["licence of the weights"] = shorten(", ".join(licences(file.provenance)))
    facts["created"] = shorten(file.attributes["created"]).replace("T", " ").removesuffix("+00:00")
    return facts


def _self_similarity(video: SelfSimilarity, gallery: Gallery, low: float) -> dict[str, Any]:
    times = [_time(seconds) for seconds in video.seconds.tolist()]
    pictures = [(times[n], gallery[video.video, int(video.index[n])]) for n in evenly(video)]
    cosines = video.cosines[~np.eye(len(video.cosines), dtype=bool)]
    return {
        "video": shorten(video.video),
        "frames": video.frames,
        "compared": len(video.index),
        "picture": svg_charts.heat_map(video.cosines, low=low) if len(video.index) > 1 else "",
        "mean": f"{cosines.mean():.2f}" if len(cosines) else "",
        "first": times[0],
        "last": times[-1],
        "data": {
            "video": shorten(video.video),
            "frames": f"{len(video.index):,} of {video.frames:,} frames",
            "first": times[0],
            "last": times[-1],
            "pictures": [[time, picture.name] for time, picture in pictures if picture],
        },
    }


def _pair(pair: Pair, study: Study, gallery: Gallery) -> dict[str, Any]:
    sides = [
        {"id": shorten(study.ids[i]), "time": _time(study.seconds[i]), "picture": gallery[study.keys[i]], "i": i}
        for i in (pair.a, pair.b)
    ]
    return {"sides": sides, "cosine": f"{pair.cosine:.3f}", "count": pair.pairs}


def _numbers(stats: Statistics) -> dict[str, Any]:
    used = np.sort(stats.used)[::-1] / max(1, stats.rows - stats.not_finite)
    return {
        "lengths": svg_charts.histogram(stats.lengths.edges, stats.lengths.counts, unit="videos", whole=True),
        "norms": svg_charts.histogram(stats.norms.edges, stats.norms.counts, unit="rows"),
        "norm": _range(stats.norm_moments),
        "used": svg_charts.area(used, unit="share of rows that are not 0 there"),
        "always_zero": _named(stats.always_zero),
        "constant": _named(stats.constant),
    }


def _work(intervals: list[Interval]) -> dict[str, Any] | None:
    """Charts of the throughput over time; None where it is unknown."""
    intervals = [interval for interval in intervals if interval.seconds > 0 and interval.work > 0]
    if not intervals:
        return None
    lengths = [interval.seconds for interval in intervals]
    breaks = [i for i in range(1, len(intervals)) if intervals[i].begin - intervals[i - 1].end > 1]
    parts = {
        name: [min(1.0, getattr(interval, name) / interval.work) for interval in intervals]
        for name in ("network", "waiting", "writing")
    }
    work = sum(interval.work for interval in intervals)
    return {
        "rates": svg_charts.steps(
            lengths, [i.frames / i.seconds for i in intervals], unit="frames a second", breaks=breaks
        ),
        "shares": svg_charts.stacked_shares(lengths, list(parts.items()), breaks=breaks),
        "totals": {name: f"{100 * sum(getattr(each, name) for each in intervals) / work:.0f} %" for name in parts},
        "runs": len(breaks) + 1,
        "seconds": duration(sum(lengths)),
        "ranks": max(1, round(work / sum(lengths))),
        "intervals": len(intervals),
    }


def _range(norms: Moments) -> str:
    if not norms.count:
        return "no row is finite"
    return (
        f"{number(norms.least)} to {number(norms.most)}, mean {number(norms.mean)}, deviation {number(norms.deviation)}"
    )


def _named(dimensions: NDArray[np.int64]) -> str:
    more = f" and {len(dimensions) - DIMENSIONS:,} more" if len(dimensions) > DIMENSIONS else ""
    return ", ".join(map(str, dimensions[:DIMENSIONS].tolist())) + more


def _time(seconds: float) -> str:
    return clock(seconds) if np.isfinite(seconds) and seconds >= 0 else ""
