"""Charts as SVG, and heat maps as PNG, from plain numbers. The page's CSS colours the SVG."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vfx.text import clock, number

WIDTH, HEIGHT = 360, 150  # units of a chart; about as many pixels on a phone, so that its text can be read there
LEFT, RIGHT, TOP, BOTTOM = 44, 6, 10, 26
# Dark blue over teal to yellow, after viridis. Lightness rises, so that colour-blind readers and prints see it too.
STOPS = [(20, 22, 62), (38, 74, 122), (32, 120, 134), (56, 164, 120), (148, 204, 92), (246, 232, 110)]


def histogram(edges: NDArray[np.float64], counts: NDArray[np.int64], *, unit: str, whole: bool = False) -> str:
    """Draw a histogram, without the empty bins at either end; "" where all are empty.

    Args:
        edges: (n+1,). Bins are [edges[i], edges[i+1]).
        counts: (n,).
        unit: What is counted, for the tip of each bar.
        whole: Whether the values are whole numbers.
    """
    filled = np.flatnonzero(counts)
    if not len(filled):
        return ""
    first, last = int(filled[0]), int(filled[-1]) + 1
    edges, counts = edges[first : last + 1], counts[first:last]
    while not whole and len(counts) > max(16, 4 * np.cbrt(counts.sum())):  # few values in many bins are a comb
        odd = len(counts) % 2
        counts = np.pad(counts, (0, odd)).reshape(-1, 2).sum(axis=1)
        edges = np.append(edges, [2 * edges[-1] - edges[-2]] * odd)[::2]
    if len(counts) < 8:  # one lonely bar would fill the chart
        pad = 8 - len(counts)
        width = float(edges[1] - edges[0])
        before = 0 if whole and edges[0] < 1 else pad // 2
        edges = edges[0] - before * width + width * np.arange(9)
        counts = np.concatenate([np.zeros(before, int), counts, np.zeros(pad - before, int)])
    svg, x, y = _frame(float(edges[0]), float(edges[-1]), float(counts.max()), whole=whole)
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        if count:
            span = _whole(low, high) if whole else f"{number(low)} to {number(high)}"
            bar = SubElement(svg, "rect", {"class": "bar", **_box(x(low) + 0.5, y(count), x(high) - 0.5, y(0))})
            SubElement(bar, "title").text = f"{span}: {count:,} {unit}"
    return tostring(svg, encoding="unicode")


def area(values: NDArray[np.float64], *, unit: str) -> str:
    """Draw shares (n,), from 0 to 1, as an area over [0, n). Several that fall on one point are averaged.

    Args:
        values: The shares, in the order of the axis.
        unit: What they are, for the tip.
    """
    n = len(values)
    groups = np.array_split(values, min(n, WIDTH - LEFT - RIGHT))
    svg, x, y = _frame(0, n, 1.0, percent=True, whole=True)
    _steps(svg, x, y, np.cumsum([0, *map(len, groups)]), [group.mean() for group in groups], unit)
    return tostring(svg, encoding="unicode")


def steps(lengths: Sequence[float], values: Sequence[float], *, unit: str, breaks: Iterable[int] = ()) -> str:
    """Draw a value over time, which is constant within each interval.

    Args:
        lengths: The seconds of each interval.
        values: The value in each interval.
        unit: What the value is, for the tip.
        breaks: The intervals before which the work was interrupted.
    """
    ends = np.cumsum([0.0, *lengths])
    svg, x, y = _frame(0, float(ends[-1]), max(values), seconds=True)
    _steps(svg, x, y, ends, values, unit)
    _breaks(svg, [x(ends[b]) for b in breaks])
    return tostring(svg, encoding="unicode")


def stacked_shares(
    lengths: Sequence[float], parts: Sequence[tuple[str, Sequence[float]]], *, breaks: Iterable[int] = ()
) -> str:
    """Draw how each interval of time is divided, as stacked areas.

    Args:
        lengths: The seconds of each interval.
        parts: The parts from the bottom up: CSS class, and share of each interval, from 0 to 1.
        breaks: The intervals before which the work was interrupted.
    """
    ends = np.cumsum([0.0, *lengths])
    svg, x, y = _frame(0, float(ends[-1]), 1.0, seconds=True, percent=True)
    floor = np.zeros(len(lengths))
    for name, values in parts:
        top = np.minimum(floor + np.asarray(values), 1)
        up = [f"{x(e):.1f},{y(t):.1f}" for i, t in enumerate(top) for e in ends[i : i + 2]]
        down = [f"{x(e):.1f},{y(f):.1f}" for i, f in reversed(list(enumerate(floor))) for e in ends[[i + 1, i]]]
        SubElement(svg, "path", {"class": f"part {name}", "d": "M" + " L".join([*up, *down]) + "Z"})
        floor = top
    _breaks(svg, [x(ends[b]) for b in breaks])
    return tostring(svg, encoding="unicode")


def heat_map(cosines: NDArray[np.float32], *, low: float) -> str:
    """Draw cosines (h, w), from `low` to 1, as a PNG of h by w pixels, a data URI. NaN is transparent."""
    scaled = (np.nan_to_num(cosines, nan=low) - low) / max(1 - low, 1e-6)
    level = np.clip(np.round(scaled * 254), 0, 254).astype(np.uint8)
    level[np.isnan(cosines)] = 255
    image = Image.fromarray(level, "L").convert("P")
    at = np.linspace(0, len(STOPS) - 1, 255)
    colours = np.stack([np.interp(at, range(len(STOPS)), [stop[c] for stop in STOPS]) for c in range(3)], axis=1)
    image.putdata(level.ravel())
    image.putpalette([*colours.round().astype(np.uint8).ravel().tolist(), 0, 0, 0])
    file = BytesIO()
    image.save(file, "png", optimize=True, transparency=255)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def _frame(
    low: float, high: float, top: float, *, whole: bool = False, percent: bool = False, seconds: bool = False
) -> tuple[Element, _Scale, _Scale]:
    """An empty chart with its axes, and the scales of x and y."""
    svg = Element("svg", {"viewBox": f"0 0 {WIDTH} {HEIGHT}", "class": "chart", "role": "img"})
    x = _Scale(low, max(high, low + 1e-12), LEFT, WIDTH - RIGHT)
    y = _Scale(0, max(top, 1e-12), HEIGHT - BOTTOM, TOP)
    for tick in [0.0, 0.5, 1.0] if percent else ticks(0, top, 3):
        place = f"{y(tick):.1f}"
        SubElement(svg, "line", {"class": "grid", "x1": str(LEFT), "x2": str(WIDTH - RIGHT), "y1": place, "y2": place})
        text = SubElement(
            svg, "text", {"class": "tick", "x": str(LEFT - 6), "y": place, "dy": ".32em", "text-anchor": "end"}
        )
        text.text = f"{100 * tick:.0f} %" if percent else _short(tick)
    for tick in ticks(low, high, 4):
        if whole and tick != round(tick):
            continue
        anchor = "start" if x(tick) < LEFT + 8 else "end" if x(tick) > WIDTH - RIGHT - 12 else "middle"
        text = SubElement(
            svg, "text", {"class": "tick", "x": f"{x(tick):.1f}", "y": str(HEIGHT - 8), "text-anchor": anchor}
        )
        text.text = clock(tick).removesuffix(".0") if seconds else _short(tick)
    return svg, x, y


def _steps(svg: Element, x: _Scale, y: _Scale, ends: NDArray[Any], values: Sequence[float], unit: str) -> None:
    """Draw the area under `values`, each constant from one of `ends` to the next."""
    path = [f"M{x(0):.1f},{y(0):.1f}"]
    for begin, end, value in zip(ends[:-1], ends[1:], values, strict=True):
        path.append(f"L{x(begin):.1f},{y(value):.1f} L{x(end):.1f},{y(value):.1f}")
    shape = SubElement(svg, "path", {"class": "area", "d": " ".join([*path, f"L{x(ends[-1]):.1f},{y(0):.1f}Z"])})
    SubElement(shape, "title").text = unit


class _Scale:
    """Maps values linearly to places in the chart."""

    def __init__(self, low: float, high: float, start: float, stop: float) -> None:
        self._low, self._start = low, start
        self._slope = (stop - start) / (high - low)

    def __call__(self, value: float) -> float:
        return self._start + (float(value) - self._low) * self._slope


def ticks(low: float, high: float, about: int) -> list[float]:
    """About `about` round values in [low, high]. Steps are 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [n * step for n in range(first, first + 20) if n * step <= high + 1e-9 * step]


def _short(value: float) -> str:
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= size:
            return f"{value / (1e3 if letter == 'k' else size):.3g}{letter}"
    return number(value)


def _whole(low: float, high: float) -> str:
    first, last = math.ceil(low), math.ceil(high) - 1
    return f"{first:,}" if first >= last else f"{first:,} to {last:,}"


def _breaks(svg: Element, places: Iterable[float]) -> None:
    for place in places:
        at = f"{place:.1f}"
        line = SubElement(
            svg, "line", {"class": "break", "x1": at, "x2": at, "y1": str(TOP), "y2": str(HEIGHT - BOTTOM)}
        )
        SubElement(line, "title").text = "interrupted, and resumed later"


def _box(left: float, top: float, right: float, bottom: float) -> dict[str, str]:
    return {
        "x": f"{left:.2f}",
        "y": f"{top:.2f}",
        "width": f"{max(right - left, 0.5):.2f}",
        "height": f"{max(bottom - top, 0.8):.2f}",
    }
