"""The report's page: features studied one by one, each by a bounded sample, and written as one self-contained HTML.

Nothing in a page comes from elsewhere: styles, script and pictures stand in it, and its policy forbids the rest. What
is shown of ids and messages, which may come from anywhere, is text to it.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vfx import __version__
from vfx.analysis import pca_map
from vfx.analysis.pca_map import Map
from vfx.analysis.similarity import COLUMNS, Pair, Strip, near_duplicates, strips
from vfx.analysis.statistics import SHOWN, Statistics, at, gather
from vfx.analysis.thumbnails import MIDDLE, Picture
from vfx.features.feature_file import FeatureFile
from vfx.outputs import throughput as course
from vfx.outputs.recipe import differences
from vfx.outputs.throughput import Interval
from vfx.reporting import svg_charts
from vfx.system.optional_imports import need
from vfx.text import clock, duration, number

TEMPLATES = Path(__file__).parent / "templates"
MOST_BYTES = 12 << 20  # of a page
PICTURE_BYTES = 4 << 20  # of all its pictures
MOST_FEATURES = 6
POINTS = 1200
THUMBS = 70  # on a map
PAIRS = 12
COLOURS = 10
STRIP_PICTURES = 5
LONGEST = 120  # characters of an id or a name that are shown
LONGEST_TEXT = 400  # of a message or a value of a recipe
LEAVES = 120
CONFIG = 20_000


@dataclass(frozen=True)
class Options:
    """How much is shown: `pictures` of a page in all, `videos` against themselves; `duplicate`: the cosine from which
    on rows of two videos are said to be near-duplicates. `seed` draws the samples.
    """

    pictures: int = 240
    videos: int = 16
    duplicate: float = 0.95
    seed: int = 0


@dataclass(frozen=True)
class Study:
    """What there is to say of one feature, but for pictures. `ids`, `videos`, `keys`, `seconds`, `groups`: of each
    point of its map; `keys` by which pictures of it can be had, None where there is none."""

    file: FeatureFile
    bytes: int
    statistics: Statistics
    layout: svg_charts.Layout
    map: Map
    ids: list[str]
    videos: list[str]
    keys: list[tuple[str, int] | None]
    seconds: list[float]
    groups: NDArray[np.int64]
    strips: list[Strip]
    pairs: list[Pair]
    pair_count: int
    course: list[Interval]


def study(file: FeatureFile, options: Options) -> Study:
    """Read a feature once, and look at a sample of it. Raises OutputError where it is damaged."""
    statistics = gather(file)
    laid = pca_map.draw_map(file, size=POINTS, seed=options.seed)
    vectors = pca_map.unit_rows(file, laid.rows)
    ids = [id.decode("utf-8", "replace") for id in at(file, "ids", laid.rows)]
    videos, seconds = ids, [float("nan")] * len(ids)
    keys: list[tuple[str, int] | None] = [None] * len(ids)
    if file.level == "frame":
        index = at(file, "index", laid.rows).tolist()
        videos = [id.rpartition("_")[0] for id in ids]
        seconds = at(file, "seconds", laid.rows).tolist()
        keys = [*zip(videos, index, strict=True)]
    elif file.level == "video":
        keys = [(id, MIDDLE) for id in ids]
    groups = np.unique(np.array(videos, object), return_inverse=True)[1]
    pairs, pair_count = near_duplicates(vectors, groups, threshold=options.duplicate, most=PAIRS)
    return Study(
        file=file,
        bytes=file.path.stat().st_size,
        statistics=statistics,
        layout=svg_charts.layout(laid.points, most=THUMBS, seed=options.seed),
        map=laid,
        ids=ids,
        videos=videos,
        keys=keys,
        seconds=seconds,
        groups=groups,
        strips=strips(file, size=options.videos, seed=options.seed) if file.level == "frame" else [],
        pairs=pairs,
        pair_count=pair_count,
        course=course.read(file.path.parent / course.NAME),
    )


def wanted(studies: Sequence[Study], options: Options) -> list[tuple[str, int]]:
    """The frames of which there should be pictures, the most wanted first: at most `options.pictures`."""
    ranked: list[list[tuple[str, int] | None]] = []
    for each in studies:
        ranked.append([each.keys[row] for pair in each.pairs for row in (pair.a, pair.b)])
        ranked.append([(strip.video, int(strip.index[n])) for strip in each.strips for n in _spread(strip)])
        ranked.append([each.keys[i] for i in each.layout.shown])
    ranked += [[each.keys[i] for i in _scattered(len(each.ids), options.seed)] for each in studies]
    unique = dict.fromkeys(key for keys in ranked for key in keys if key is not None)
    return list(itertools.islice(unique, options.pictures))


def _spread(strip: Strip) -> list[int]:
    """A few columns of a strip, evenly."""
    t = len(strip.index)
    return sorted({int((n + 0.5) * t / STRIP_PICTURES) for n in range(STRIP_PICTURES)})


def _scattered(total: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).permutation(total).tolist()


def render(studies: Sequence[Study], pictures: Iterable[Picture], *, options: Options, without: str = "") -> str:
    """The page as HTML, at most MOST_BYTES of UTF-8. `without`: why there are no pictures, "" where there are.

    Needs the extra `report`.
    """
    gallery = _Gallery(pictures)
    page = _page(studies, gallery, options, without)
    if len(page.encode()) > MOST_BYTES:
        page = _page(studies, _Gallery([]), options, f"with them it would have more than {MOST_BYTES >> 20} MiB")
    return page


class _Gallery:
    """The pictures of a page, each in it once."""

    def __init__(self, pictures: Iterable[Picture]) -> None:
        self.images: list[dict[str, Any]] = []
        self._found: dict[tuple[str, int], tuple[str, int, int]] = {}
        room = PICTURE_BYTES
        for picture in pictures:
            room -= len(picture.jpeg)
            if room < 0:
                break
            name = f"p{len(self.images)}"
            data = base64.b64encode(picture.jpeg).decode()
            self.images.append({"name": name, "w": picture.width, "h": picture.height, "data": data})
            self._found[picture.video, picture.index] = (name, picture.width, picture.height)

    def __getitem__(self, key: tuple[str, int] | None) -> tuple[str, int, int] | None:
        return None if key is None else self._found.get(key)


def _page(studies: Sequence[Study], gallery: _Gallery, options: Options, without: str) -> str:
    jinja2 = need("jinja2", extra="report", for_="vfx.report")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8").strip()
    views = [_view(each, gallery, options, n) for n, each in enumerate(studies)]
    return environment.get_template("report.html").render(
        views=views,
        collection=_cut(studies[0].file.attributes["collection"]),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        images=gallery.images,
        without=without,
        options=options,
        fact_names=list(dict.fromkeys(name for view in views for name in view["facts"])),
        recipe=_table([each.file.provenance.get("recipe", {}) for each in studies]),
        origin=_table([_origin(each.file.provenance) for each in studies]),
        version=__version__,
        limits={
            "bytes": MOST_BYTES >> 20,
            "points": POINTS,
            "failures": SHOWN,
            "columns": COLUMNS,
            "pairs": PAIRS,
            "pictures": len(gallery.images),
        },
        data=[view["data"] for view in views],
    )


def _view(each: Study, gallery: _Gallery, options: Options, n: int) -> dict[str, Any]:
    """What the template shows of one feature."""
    stats = each.statistics
    held = {i: found for i, key in enumerate(each.keys) if (found := gallery[key]) is not None}
    names = sorted(set(each.videos))
    few = each.file.level == "frame" and len(names) <= COLOURS
    low = min((float(strip.cosines.min()) for strip in each.strips), default=0.0)
    shown = [_strip(strip, gallery, low) for strip in each.strips]
    points = [
        [_cut(id), _time(seconds), held[i][0] if i in held else "", int(group)]
        for i, (id, seconds, group) in enumerate(zip(each.ids, each.seconds, each.groups, strict=True))
    ]
    return {
        "n": n,
        "feature": _cut(each.file.feature),
        "level": each.file.level,
        "facts": _facts(each),
        "unit": {"frame": "frame", "video": "video", "segment": "segment"}[each.file.level],
        "map": svg_charts.scatter(each.layout, each.groups.tolist(), held, colours=COLOURS if few else None),
        "legend": [(g, _cut(name)) for g, name in enumerate(names)] if few and len(names) > 1 else [],
        "sampled": len(each.ids),
        "pictured": len(held),
        "shares": [f"{100 * share:.0f} %" for share in each.map.plane.shares],
        "strips": shown,
        "low": f"{low:.2f}",
        "pairs": [_pair(pair, each, gallery) for pair in each.pairs],
        "pair_count": each.pair_count,
        "statistics": stats,
        "lengths": svg_charts.bars(stats.lengths.edges, stats.lengths.counts, unit="videos", whole=True),
        "norms": svg_charts.bars(stats.norms.edges, stats.norms.counts, unit="rows"),
        "norm": _spread_of(stats),
        "used": svg_charts.area(
            np.sort(stats.used)[::-1] / max(1, stats.rows - stats.unsound), unit="share of rows that are not 0 there"
        ),
        "silent": _listed(stats.silent),
        "constant": _listed(stats.constant),
        "failures": [[_cut(f.id), _cut(f.stage), _cut(f.error, LONGEST_TEXT)] for f in stats.failures],
        "failed": sum(stats.failed.values()),
        "stages": [(_cut(stage), count) for stage, count in stats.failed.most_common(8)],
        "course": _course(each.course),
        "config": _cut(each.file.attributes["config"], CONFIG),
        "data": {"points": points, "strips": [s["data"] for s in shown]},
    }


def _facts(each: Study) -> dict[str, str]:
    stats, file = each.statistics, each.file
    shape = file.features.shape
    facts: dict[str, str] = {"level": file.level}
    if file.level == "frame":
        facts["videos"] = f"{stats.videos:,}"
    facts[{"frame": "frames", "video": "videos", "segment": "segments"}[file.level]] = f"{stats.rows:,}"
    facts["dimensions"] = f"{stats.dims:,}" + (f" × {shape[1]} crops" if len(shape) == 3 else "")
    facts["type"] = file.features.dtype.name
    facts["on disk"] = _bytes(each.bytes)
    if stats.timed:
        facts["video"] = duration(stats.seconds) + (
            "" if stats.timed == stats.videos else f" of {stats.timed:,} videos"
        )
    facts["failures"] = f"{sum(stats.failed.values()):,}"
    if frames := sum(row.frames for row in each.course):
        facts["frames/s"] = number(frames / max(1e-9, sum(row.seconds for row in each.course)))
    facts["norm"] = f"{number(stats.spread.mean)} ± {number(stats.spread.deviation)}" if stats.spread.count else "none"
    facts["dead dimensions"] = f"{len(stats.silent) + len(stats.constant):,}"
    facts["near-duplicates"] = f"{each.pair_count:,}"
    facts["licence of the weights"] = _cut(", ".join(_licences(file.provenance)))
    facts["created"] = _cut(file.attributes["created"]).replace("T", " ").removesuffix("+00:00")
    return facts


def _strip(strip: Strip, gallery: _Gallery, low: float) -> dict[str, Any]:
    times = [_time(seconds) for seconds in strip.seconds.tolist()]
    spread = _spread(strip)
    found = [(times[n], gallery[strip.video, int(strip.index[n])]) for n in spread]
    cosines = strip.cosines[~np.eye(len(strip.cosines), dtype=bool)]
    return {
        "video": _cut(strip.video),
        "frames": strip.frames,
        "compared": len(strip.index),
        "picture": svg_charts.heat(strip.cosines, low=low) if len(strip.index) > 1 else "",
        "mean": f"{cosines.mean():.2f}" if len(cosines) else "",
        "first": times[0],
        "last": times[-1],
        "data": {
            "video": _cut(strip.video),
            "frames": f"{len(strip.index):,} of {strip.frames:,} frames",
            "first": times[0],
            "last": times[-1],
            "pictures": [[time, picture[0]] for time, picture in found if picture],
        },
    }


def _pair(pair: Pair, each: Study, gallery: _Gallery) -> dict[str, Any]:
    sides = [
        {"id": _cut(each.ids[row]), "time": _time(each.seconds[row]), "picture": gallery[each.keys[row]], "i": row}
        for row in (pair.a, pair.b)
    ]
    return {"sides": sides, "cosine": f"{pair.cosine:.3f}", "count": pair.pairs}


def _course(rows: list[Interval]) -> dict[str, Any] | None:
    """The charts of how the work went, None where that is not known."""
    rows = [row for row in rows if row.seconds > 0 and row.work > 0]
    if not rows:
        return None
    lengths = [row.seconds for row in rows]
    breaks = [i for i in range(1, len(rows)) if rows[i].begin - rows[i - 1].end > 1]
    parts = {
        name: [min(1.0, getattr(row, name) / row.work) for row in rows] for name in ("network", "waiting", "writing")
    }
    work = sum(row.work for row in rows)
    return {
        "rates": svg_charts.steps(
            lengths, [row.frames / row.seconds for row in rows], unit="frames a second", breaks=breaks
        ),
        "shares": svg_charts.shares(lengths, list(parts.items()), breaks=breaks),
        "totals": {name: f"{100 * sum(getattr(row, name) for row in rows) / work:.0f} %" for name in parts},
        "runs": len(breaks) + 1,
        "seconds": duration(sum(lengths)),
        "ranks": max(1, round(work / sum(lengths))),
        "intervals": len(rows),
    }


def _origin(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Of a provenance what is no recipe: weights, decoders, versions, where an import came from."""
    return {
        key: provenance[key] for key in ("weights", "parts", "decoders", "versions", "imported") if key in provenance
    }


def _licences(provenance: Mapping[str, Any]) -> list[str]:
    """That of the weights, or of a concatenation those of its parts, each once; "not told" where one does not say."""
    parts = provenance.get("parts")
    weights = [*parts.values()] if isinstance(parts, dict) and parts else [provenance.get("weights")]
    told = [isinstance(each, dict) and each.get("licence") for each in weights]
    return list(dict.fromkeys(str(licence or "not told") for licence in told))


def _table(nodes: Sequence[Any]) -> list[tuple[str, list[str], bool]]:
    """The leaves of each, a row for a key: its values side by side, and whether they differ."""
    columns = [
        {key: value for key, _, value in differences({}, node)} if isinstance(node, dict) else {} for node in nodes
    ]
    keys = list(dict.fromkeys(itertools.chain.from_iterable(columns)))
    rows = []
    for key in keys[:LEAVES]:
        values = [_cut(_plain(column[key]), LONGEST_TEXT) if key in column else "" for column in columns]
        rows.append((_cut(key), values, len(set(values)) > 1))
    return rows


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _spread_of(stats: Statistics) -> str:
    spread = stats.spread
    if not spread.count:
        return "no row is finite"
    return (
        f"{number(spread.least)} to {number(spread.most)}, mean {number(spread.mean)}, deviation"
        f" {number(spread.deviation)}"
    )


def _listed(dimensions: NDArray[np.int64], most: int = 24) -> str:
    more = f" and {len(dimensions) - most:,} more" if len(dimensions) > most else ""
    return ", ".join(map(str, dimensions[:most].tolist())) + more


def _time(seconds: float) -> str:
    return clock(seconds) if np.isfinite(seconds) and seconds >= 0 else ""


def _bytes(size: int) -> str:
    value, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 1000 or unit == "TB":
            break
        value /= 1000
    return f"{number(value)} {unit}"


def _cut(text: str, most: int = LONGEST) -> str:
    """Text of at most so many characters, with an ellipsis where there was more; control characters spelled out."""
    shown = text[: most - 1] + "…" if len(text) > most else text
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in shown)
