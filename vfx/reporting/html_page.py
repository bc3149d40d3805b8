"""Writes a report as one self-contained HTML page.

The page loads nothing: styles, script and pictures are part of it, and its content security policy forbids the rest.
Ids and messages, which may come from anywhere, are escaped.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from vfx import __version__
from vfx.analysis.similarity import COLUMNS
from vfx.analysis.statistics import FAILURES
from vfx.analysis.thumbnails import Thumbnail
from vfx.reporting import provenance_table
from vfx.reporting.feature_view import LONGEST_TEXT, feature_view, shorten
from vfx.reporting.gallery import Gallery
from vfx.reporting.study import PAIRS, POINTS, Options, Study
from vfx.system.optional_imports import need

TEMPLATES = Path(__file__).parent / "templates"
MOST_BYTES = 12 << 20  # of a page


def render(
    studies: Sequence[Study],
    thumbnails: Iterable[Thumbnail],
    *,
    options: Options,
    without: str = "",
    most_bytes: int = MOST_BYTES,
) -> str:
    """Render the page of some features, side by side. Needs the extra `report`.

    Args:
        studies: The features.
        thumbnails: Pictures of their frames, the most important first. Those beyond a size are left out.
        options: What the studies were made with.
        without: Why there are no pictures; "" where there are.
        most_bytes: The size of the page as UTF-8. A page that is larger with pictures has none.

    Raises:
        UsageError: jinja2 is not installed.
    """
    page = _render(studies, Gallery(thumbnails), options, without)
    if len(page.encode()) > most_bytes:
        page = _render(studies, Gallery([]), options, f"with them it would have more than {most_bytes >> 20} MiB")
    return page


def _render(studies: Sequence[Study], gallery: Gallery, options: Options, without: str) -> str:
    jinja2 = need("jinja2", extra="report", for_="vfx.report")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["shorten"] = shorten
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8").strip()
    views = [feature_view(study, gallery, n) for n, study in enumerate(studies)]
    provenances = [study.file.provenance for study in studies]
    return environment.get_template("report.html").render(
        views=views,
        collection=shorten(studies[0].file.attributes["collection"]),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        style=(TEMPLATES / "report.css").read_text(encoding="utf-8"),
        images=gallery.images,
        without=without,
        options=options,
        fact_names=list(dict.fromkeys(name for view in views for name in view["facts"])),
        recipe=provenance_table.rows([provenance.get("recipe", {}) for provenance in provenances]),
        origin=provenance_table.rows([provenance_table.origin(provenance) for provenance in provenances]),
        longest_value=LONGEST_TEXT,
        version=__version__,
        limits={"bytes": MOST_BYTES >> 20, "points": POINTS, "failures": FAILURES, "columns": COLUMNS, "pairs": PAIRS},
        data=[view["data"] for view in views],
    )
