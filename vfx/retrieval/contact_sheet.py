"""A contact sheet: the query and the hits of a search as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from vfx.system.files import replace_durably, writing

CELL, GAP, MARGIN = 240, 20, 32
COLUMNS = 5
LINE = 24  # pixels from one line of text to the next
PAPER, INK, FAINT, EMPTY, BAR = "#ffffff", "#1d2733", "#68768a", "#eef1f5", "#2f6fde"


@dataclass(frozen=True)
class Cell:
    """A picture over lines of text.

    Args:
        picture: The picture; None draws an empty box.
        lines: The text.
        score: From 0 to 1, drawn as a bar between them; None draws no bar.
    """

    picture: Image.Image | None
    lines: Sequence[str]
    score: float | None = None


def draw(query: Cell, hits: Sequence[Cell], *, title: str, note: str) -> Image.Image:
    """Draw a sheet: the query on the left, the hits in rows of COLUMNS on the right.

    Args:
        query: The query.
        hits: The hits, the nearest first.
        title: The first line.
        note: The second line.
    """
    columns = max(1, min(COLUMNS, len(hits)))
    rows = max(1, -(-len(hits) // columns))
    high = CELL * 3 // 4
    step = high + 3 * LINE + 2 * GAP
    top = MARGIN + 2 * LINE + GAP
    left = MARGIN + CELL + 2 * GAP
    width = left + columns * (CELL + GAP) - GAP + MARGIN
    sheet = Image.new("RGB", (width, top + max(rows * step, CELL + 3 * LINE + GAP) - GAP + MARGIN // 2), PAPER)
    canvas = ImageDraw.Draw(sheet)
    _text(canvas, (MARGIN, MARGIN - 6), title, size=22, fill=INK, room=width - 2 * MARGIN)
    _text(canvas, (MARGIN, MARGIN + LINE), note, size=15, fill=FAINT, room=width - 2 * MARGIN)
    _cell(sheet, canvas, query, (MARGIN, top), CELL)
    canvas.line([(left - GAP, top), (left - GAP, sheet.height - MARGIN)], fill=EMPTY, width=2)
    for n, hit in enumerate(hits):
        row, column = divmod(n, columns)
        _cell(sheet, canvas, hit, (left + column * (CELL + GAP), top + row * step), high)
    return sheet


def save(sheet: Image.Image, target: Path, *, quality: int) -> None:
    """Write a sheet to a file, whole or not at all: PNG for the suffix `.png`, else JPEG of this quality.

    Raises:
        OutputError: The file could not be written.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    with writing(target):
        try:
            sheet.save(temporary, "png" if target.suffix.lower() == ".png" else "jpeg", quality=quality)
            replace_durably(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


def _cell(sheet: Image.Image, canvas: ImageDraw.ImageDraw, cell: Cell, at: tuple[int, int], high: int) -> None:
    x, y = at
    canvas.rectangle([x, y, x + CELL - 1, y + high - 1], fill=EMPTY)
    if cell.picture is None:
        _text(canvas, (x + 12, y + high // 2 - 10), "no picture", size=15, fill=FAINT, room=CELL - 24)
    else:
        scale = min(CELL / cell.picture.width, high / cell.picture.height)
        size = (max(1, round(cell.picture.width * scale)), max(1, round(cell.picture.height * scale)))
        fitted = cell.picture.convert("RGB").resize(size, Image.Resampling.LANCZOS)
        sheet.paste(fitted, (x + (CELL - size[0]) // 2, y + (high - size[1]) // 2))
    if cell.score is not None:
        canvas.rectangle([x, y + high, x + CELL - 1, y + high + 4], fill=EMPTY)
        canvas.rectangle([x, y + high, x + round((CELL - 1) * min(1, max(0, cell.score))), y + high + 4], fill=BAR)
    for n, line in enumerate(cell.lines):
        at_line = (x, y + high + 10 + n * LINE)
        _text(canvas, at_line, line, size=15 if n else 18, fill=FAINT if n else INK, room=CELL)


def _text(canvas: ImageDraw.ImageDraw, at: tuple[int, int], text: str, *, size: int, fill: str, room: int) -> None:
    """Draw a line of text. Its middle is left out where it is wider than `room` pixels."""
    font = ImageFont.load_default(size)
    shown, keep = text, len(text)
    while canvas.textlength(shown, font=font) > room and keep > 2:
        keep -= 1
        shown = f"{text[: (keep + 1) // 2]}…{text[len(text) - keep // 2 :]}"
    canvas.text(at, shown, font=font, fill=fill)
