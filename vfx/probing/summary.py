"""What a user is shown of a probed collection: counts, a table as wide as the terminal, and what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from tqdm import tqdm

from vfx.probing.prober import Record

MOST_COMMON = 6  # codecs, sizes and the like that a line names
ID_SHARE = 3  # an id takes no more than a third of a line
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


class Overview:
    """Counts records as they come, and keeps the first `show` of them, and of those with a problem."""

    def __init__(self, show: int) -> None:
        self.problems: Counter[str] = Counter()
        self.videos = self.bad = self.rows = 0
        self._show = show
        self._first: list[Record] = []
        self._first_bad: list[Record] = []
        self._bytes = self._copies = self._copied = 0
        self._seconds = 0.0
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in ("codecs", "sizes", "decoders", "of note")}

    def add(self, record: Record) -> None:
        self.videos += 1
        self.rows += record.rows or 0
        self._bytes += record.bytes
        self._seconds += record.seconds or 0.0
        if len(self._first) < self._show:
            self._first.append(record)
        if record.problem:
            self.bad += 1
            self.problems.update(record.problem.split("+"))
            if len(self._first_bad) < self._show:
                self._first_bad.append(record)
        if record.twin:
            self._copies += 1
            self._copied += record.bytes
        self._counts["codecs"].update(filter(None, [record.codec]))
        self._counts["sizes"].update([_size(record)] if record.width else [])
        self._counts["decoders"].update(filter(None, record.decoders.split("+")))
        self._counts["of note"].update(_traits(record))

    def lines(self, name: str, others: Counter[str], *, width: int, table: str) -> list[str]:
        """Lines to show; those of a single video have at most `width` characters.

        `others`: files that are no videos, by suffix; `table`: where all is.
        """
        made = [
            f"{name}: {self.videos} videos, {nbytes(self._bytes)}, {tqdm.format_interval(self._seconds)} of video"
            + (f"; other files passed over: {_counted(others)}" if others else "")
        ]
        if self.videos <= self._show:
            made += _table(self._first, width)
        made += [f"{what}: {_counted(counts)}" for what, counts in self._counts.items() if counts]
        made += [f"copies of other files: {self._copies} ({nbytes(self._copied)})"] if self._copies else []
        made.append(f"problems: {_counted(self.problems) or 'none'}")
        for record in self._first_bad:
            made.append(cut(f"  {record.id}: {record.error}", width))
        if self.bad > len(self._first_bad):
            made.append(f"  and {self.bad - len(self._first_bad)} more, see {table}")
        return made


def _table(records: Sequence[Record], width: int) -> list[str]:
    head = ["id", "codec", "size", "fps", "length", "frames", "rows", "notes"]
    rows = [head, *(_cells(record) for record in records)]
    kept = [n for n in range(len(head)) if any(row[n] for row in rows[1:])]
    rows = [[row[n] for n in kept] for row in rows]
    widths = [max(len(row[n]) for row in rows) for n in range(len(kept))]
    widths[0] = min(widths[0], max(len("id"), width // ID_SHARE))
    aligned = ["<" if head[n] in ("id", "codec", "notes") else ">" for n in kept]
    lines = ("  ".join(f"{cut(c, w):{a}{w}}" for c, w, a in zip(row, widths, aligned, strict=True)) for row in rows)
    return [cut(line.rstrip(), width) for line in lines]


def _cells(record: Record) -> list[str]:
    count = record.decoded if record.decoded is not None else record.frames
    notes = [f"copy of {record.twin}"] if record.twin else []
    return [
        record.id,
        record.codec,
        _size(record) if record.width else "",
        f"{record.rate:.4g}" if record.rate else "",
        "" if record.seconds is None else f"{record.seconds:.1f} s",
        "" if count is None else str(count),
        "" if record.rows is None else str(record.rows),
        ", ".join([*filter(None, record.problem.split("+")), *notes, *_traits(record)]),
    ]


def _traits(record: Record) -> list[str]:
    """What a user may want to know of a video, which is no problem."""
    traits = {
        "variable rate": bool(record.variable),
        f"turned by {record.rotation}": bool(record.rotation),
        f"{record.bits} bits": (record.bits or 8) > 8,
        "sound": bool(record.audio),
    }
    return [trait for trait, there in traits.items() if there]


def _size(record: Record) -> str:
    return f"{record.width}x{record.height}"


def _counted(counts: Counter[str]) -> str:
    """`5 h264, 1 vp9`, the most common first."""
    named = [
        f"{n} {what or 'without suffix'}" for what, n in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]
    rest = [f"and {len(named) - MOST_COMMON} more"] if len(named) > MOST_COMMON else []
    return ", ".join(named[:MOST_COMMON] + rest)


def nbytes(size: float) -> str:
    """1234567 -> 1.2 MB, in powers of ten."""
    unit = 0
    while size >= 1000 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.0f} {UNITS[0]}" if unit == 0 else f"{size:.3g} {UNITS[unit]}"


def cut(text: str, width: int) -> str:
    """At most `width` characters of a text."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"


def tab_separated(columns: Iterable[str], rows: Iterable[tuple[object, ...]]) -> Iterable[str]:
    """The lines of a table with a header; nothing stands for None."""
    yield "\t".join(columns)
    for row in rows:
        yield "\t".join(_text(value) for value in row)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return "" if value is None else str(value)
