"""The map of a report as SVG: a dot for each row, and pictures where there is room for them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np
from numpy.typing import NDArray

from vfx.reporting.gallery import Picture

WIDTH, MARGIN, PICTURE = 720, 36, 46  # units of the SVG
HEIGHTS = (240, 400)  # least and largest, without the margins
GAP = 24.0  # units between two dots, at most
ROUNDS = 60  # of moving dots apart
BLOCK = 256  # dots that are compared with all others at once


@dataclass(frozen=True)
class MapLayout:
    """Where the points of a map lie.

    Args:
        places: (n, 2), in units of the SVG, from its top left corner.
        height: Of the map; it is WIDTH wide.
        shown: The points that have room for a picture.
    """

    places: NDArray[np.float64]
    height: float
    shown: list[int]


def lay_out(points: NDArray[np.float32], *, most: int, seed: int = 0) -> MapLayout:
    """Lay out points (n, 2), both axes in one scale. Points that would cover each other are moved apart a little.

    Args:
        points: Their coordinates.
        most: How many pictures there may be.
        seed: Draws which points have a picture.
    """
    span = np.ptp(points.astype(np.float64), axis=0)
    inner = WIDTH - 2 * MARGIN
    height = float(np.clip(inner * span[1] / max(span[0], 1e-12), *HEIGHTS)) + 2 * MARGIN
    scale = min(inner / max(span[0], 1e-12), (height - 2 * MARGIN) / max(span[1], 1e-12))
    scale = scale if span.any() else 0.0
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    places = (points - middle) * [scale, -scale] + [WIDTH / 2, height / 2]
    places = _spread(places, gap=min(GAP, 0.34 * math.sqrt(inner * height / max(1, len(points)))), seed=seed)
    places = np.clip(places, MARGIN / 2, [WIDTH - MARGIN / 2, height - MARGIN / 2])
    shown: list[int] = []
    for i in np.random.default_rng(seed).permutation(len(points)).tolist():
        if len(shown) == most:
            break
        if all(np.abs(places[i] - places[j]).max() > PICTURE for j in shown):
            shown.append(i)
    return MapLayout(places, height, shown)


def _spread(places: NDArray[np.float64], *, gap: float, seed: int) -> NDArray[np.float64]:
    """Push points (n, 2) away from each other, a little at a time, until few are nearer than `gap`."""
    places = places + np.random.default_rng(seed).normal(scale=0.01, size=places.shape)  # some may be at one place
    for _ in range(ROUNDS):
        push = np.zeros_like(places)
        near = 0
        for start in range(0, len(places), BLOCK):
            away = places[start : start + BLOCK, None] - places[None]
            distance = np.hypot(away[..., 0], away[..., 1])
            distance[np.arange(len(away)), np.arange(start, start + len(away))] = np.inf
            overlap = np.maximum(gap - distance, 0)
            near += int((overlap > 0.1 * gap).sum())
            push[start : start + BLOCK] = (away * (overlap / np.maximum(distance, 1e-9))[..., None]).sum(axis=1)
        if not near:
            break
        length = np.hypot(push[:, 0], push[:, 1])[:, None]
        places = places + 0.4 * push * np.minimum(1, gap / np.maximum(length, 1e-9))
    return places


def draw_map(layout: MapLayout, groups: Sequence[int], pictures: Mapping[int, Picture], *, colours: int | None) -> str:
    """Draw a map as SVG. Dots carry their number as `data-i` and their group as `data-g`.

    Args:
        layout: Where the points lie.
        groups: (n,), the group of each point, from 0 up.
        pictures: Pictures in the page, by point.
        colours: The number of colours, which groups have in turn; None for one colour.
    """
    box = f"0 0 {WIDTH} {layout.height:.0f}"
    svg = Element("svg", {"viewBox": box, "class": "map", "tabindex": "0", "role": "application"})
    for i in layout.shown:
        if i in pictures:
            picture = pictures[i]
            scale = PICTURE / max(picture.width, picture.height)
            x, y = layout.places[i] - np.multiply([picture.width, picture.height], scale) / 2
            place = f"translate({x:.1f} {y:.1f}) scale({scale:.4f})"
            use = {"href": f"#{picture.name}", "class": "thumb", "transform": place, "data-i": str(i)}
            SubElement(svg, "use", use)
    for i, ((x, y), group) in enumerate(zip(layout.places, groups, strict=True)):
        colour = "" if colours is None else f" g{group % colours}"
        dot = {"class": f"dot{colour}", "cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "4"}
        SubElement(svg, "circle", {**dot, "data-i": str(i), "data-g": str(group)})
    return tostring(svg, encoding="unicode")
