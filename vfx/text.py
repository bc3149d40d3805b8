"""Text for people: tables, sizes, durations and numbers, as a terminal shows them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

SHOWN = 5  # how many offenders, files or rows a message names before it counts the others
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")
CONTROLS = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}


def table(
    rows: Iterable[Sequence[str]],
    *,
    align: str = "<",
    width: int | None = None,
    first_width: int | None = None,
    skip_empty: bool = False,
    empty: str = "",
) -> Iterator[str]:
    """Lay rows out in columns, two spaces apart. Widths are those on a terminal, also of East Asian characters.

    Args:
        rows: of cells, all of one length; the first row is the head.
        align: `<` (left) or `>` (right) for each column; the last one goes for all columns that follow.
        width: of the longest line, in columns of a terminal; longer lines are cut.
        first_width: the same of the first column.
        skip_empty: leave out the columns that have no text below the head.
        empty: text of an empty cell.

    Returns:
        The lines, without spaces at the end.
    """
    import wcwidth  # late, as it takes longer than what most commands show

    cells = [[clean(cell) for cell in row] for row in rows]
    kept = [n for n in range(len(cells[0])) if not skip_empty or any(row[n] for row in cells[1:])]
    cells = [[row[n] or empty for n in kept] for row in cells]
    widths = [max(map(wcwidth.width, column)) for column in zip(*cells, strict=True)]
    if first_width is not None:
        widths[0] = min(widths[0], first_width)
        cells = [[cut(first, first_width), *others] for first, *others in cells]
    justify = [wcwidth.ljust if align[min(n, len(align) - 1)] == "<" else wcwidth.rjust for n in kept]
    for row in cells:
        line = "  ".join(just(cell, size) for just, cell, size in zip(justify, row, widths, strict=True)).rstrip()
        yield line if width is None else cut(line, width)


def cut(text: str, width: int) -> str:
    """At most `width` columns of a text on a terminal, the last of them an ellipsis where something is left out."""
    import wcwidth  # late, see above

    return text if wcwidth.width(text) <= width else wcwidth.clip(text, 0, max(0, width - 1)) + "…"


def clean(text: str) -> str:
    """A text in which control characters and invalid UTF-8 are spelled out, safe for any table and terminal."""
    return text.encode("utf-8", "backslashreplace").decode().translate(CONTROLS)


def first_few(names: Sequence[str]) -> str:
    """The first SHOWN names, and an ellipsis if there are more: `a, b, c, d, e, ...`."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def nbytes(size: float) -> str:
    """A size in bytes with a decimal unit and three digits: 1234567 -> `1.23 MB`."""
    unit = 0
    while size >= 1000 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {UNITS[0]}" if unit == 0 else f"{size:.3g} {UNITS[unit]}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: `4.2 s`, `3 min 20 s`, `5 h 07 min`; infinity is `unknown time`."""
    if seconds == float("inf"):
        return "unknown time"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def interval(seconds: float) -> str:
    """Seconds as a progress bar shows them: `00:28`, `1:02:03`."""
    from tqdm import tqdm  # late, as in `table`

    return tqdm.format_interval(seconds)


def clock(seconds: float) -> str:
    """Seconds as a video player shows them: `0:07.5`, `12:34`, `1:02:03`."""
    if seconds < 60:
        return f"0:{seconds:04.1f}"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes < 60 else f"{minutes // 60}:{minutes % 60:02}:{rest:02}"


def number(value: float) -> str:
    """A number as people read it: `1,234,567`, `12.3`, `0.00123`."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}" if abs(value) < 1e15 else f"{value:.3g}"
    return f"{value:.3g}"
