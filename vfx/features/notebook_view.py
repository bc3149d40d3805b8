"""What a notebook shows of a feature file: a table, for light and dark themes."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from vfx.errors import OutputError
from vfx.features.reader import FeatureReader
from vfx.text import SHOWN

LONGEST = 160  # characters of what is named
# No colour is set, so that the theme's own apply. Labels are half transparent.
TABLE = "border-collapse:collapse;font-size:0.92em;color:inherit"
NAME = "text-align:left;vertical-align:top;white-space:nowrap;font-weight:normal;opacity:0.65;padding:0.15em 1.2em 0 0"
VALUE = "text-align:left;vertical-align:top;white-space:normal;overflow-wrap:anywhere;padding:0.15em 0"


def html(file: FeatureReader) -> str:
    """The table, as HTML, or the message of the error where the file cannot be read.

    It reads a few rows of the file only, and escapes all text, which may come from anywhere.
    """
    try:
        facts = _facts(file)
    except OutputError as error:
        return f"<b>FeatureFile</b>: {escape(str(error))}"
    rows = (f'<tr><th style="{NAME}">{name}</th><td style="{VALUE}">{value}</td></tr>' for name, value in facts)
    return f'<table style="{TABLE}"><tbody>{"".join(rows)}</tbody></table>'


def _facts(file: FeatureReader) -> list[tuple[str, str]]:
    return [
        ("feature", f"<b>{_text(file.feature)}</b>"),
        ("collection", _text(file.attributes["collection"])),
        ("level", _text(file.level)),
        ("shape", f"{' × '.join(f'{n:,}' for n in file.features.shape)} {file.features.dtype}"),
        ("videos" if file.level == "frame" else f"{file.level}s", _lines(*_contents(file))),
        ("failures", _lines(*_failures(file)) or "none"),
        ("weights", _all_weights(file.provenance)),
        ("made", _made(file)),
        ("file", f"{_text(str(file.path))} ({file.path.stat().st_size / 1e6:,.1f} MB)"),
    ]


def _text(text: str) -> str:
    return escape(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


def _contents(file: FeatureReader) -> tuple[int, list[str]]:
    """The number of videos, or of rows at another level, and the first of them."""
    if file.level != "frame":
        ids, total = file.peek("ids", SHOWN)
        return total, [_text(id) for id in ids]
    videos, total = file.peek("videos/ids", SHOWN)
    offsets, _ = file.peek("videos/offsets", SHOWN + 1)
    shown = []
    for video, start, stop in zip(videos, offsets, offsets[1:], strict=False):
        (last,), _ = file.peek("seconds", 1, start=stop - 1)
        until = "" if math.isnan(last) else f", the last at {last:.2f} s"
        shown.append(f"{_text(video)}: {stop - start} frame{'s' * (stop - start != 1)}{until}")
    return total, shown


def _failures(file: FeatureReader) -> tuple[int, list[str]]:
    found, total = file.peek("failures", SHOWN)
    return total, [f"{_text(id)}: {_text(stage)}, {_text(error)}" for id, stage, error in found]


def _lines(total: int, shown: list[str]) -> str:
    """A count, the items shown, and how many more there are; empty for a count of 0."""
    more = [f"and {total - len(shown):,} more"] if total > len(shown) else []
    return "<br>".join([f"{total:,}", *shown, *more]) if total else ""


def _all_weights(provenance: dict[str, Any]) -> str:
    """The weights of the network, or of each part of a concatenation. The provenance may hold anything."""
    parts = provenance.get("parts")
    if not isinstance(parts, dict):
        return _weights(provenance.get("weights"))
    shown = [f"{_text(name)}: {_weights(weights)}" for name, weights in list(parts.items())[:SHOWN]]
    return "<br>".join([*shown, *([f"and {len(parts) - SHOWN} more"] if len(parts) > SHOWN else [])])


def _weights(weights: Any) -> str:
    """Their source, as a link if it is a URL, and their licence."""
    if not isinstance(weights, dict):
        return "not stated"
    source = str(weights.get("source"))
    shown = _text(source)
    if source.startswith(("https://", "http://")):
        shown = f'<a href="{escape(source)}" rel="noopener" style="color:inherit">{shown}</a>'
    return f"{shown}<br>licence: {_text(str(weights.get('licence')))}"


def _made(file: FeatureReader) -> str:
    versions = file.provenance.get("versions")
    by = f" by vfx {_text(str(versions['vfx']))}" if isinstance(versions, dict) and "vfx" in versions else ""
    sampler = file.provenance["recipe"].get("sampler")
    of = f", sampler {_text(str(sampler['name']))}" if isinstance(sampler, dict) and "name" in sampler else ""
    return f"{_text(file.attributes['created'])}{by}{of}"
