"""What a user is shown of a probed collection: counts, a table as wide as the terminal, and what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from vfx.probing.prober import Record
from vfx.text import cut, interval, nbytes, table

MOST_COMMON = 6  # codecs, sizes and the like that a line names
ID_SHARE = 3  # an id takes no more than a third of a line
HEAD = ("id", "codec", "size", "fps", "length", "frames", "rows", "notes")
ALIGN = "<<>>>>><"


class Overview:
    """Counts records as they come, and keeps the first `show` of them, and of those with a problem."""

    def __init__(self, show: int) -> None:
        self.problems: Counter[str] = Counter()
        self.videos = self.bad = self.rows = self.bytes = 0
        self._show = show
        self._first: list[Record] = []
        self._first_bad: list[Record] = []
        self._copies = self._copied = 0
        self._seconds = 0.0
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in ("codecs", "sizes", "decoders", "of note")}

    def add(self, record: Record) -> None:
        self.videos += 1
        self.rows += record.rows or 0
        self.bytes += record.bytes
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

    def lines(self, name: str, others: Counter[str], *, width: int, path: str) -> list[str]:
        """Lines to show; those of a single video have at most `width` characters.

        `others`: files that are no videos, by suffix; `path`: the table that has all of them.
        """
        made = [
            f"{name}: {self.videos} videos, {nbytes(self.bytes)}, {interval(self._seconds)} of video"
            + (f"; other files passed over: {_counted(others)}" if others else "")
        ]
        if self.videos <= self._show:
            rows = [HEAD, *map(_cells, self._first)]
            id_width = max(len(HEAD[0]), width // ID_SHARE)
            made += table(rows, align=ALIGN, width=width, first_width=id_width, skip_empty=True)
        made += [f"{what}: {_counted(counts)}" for what, counts in self._counts.items() if counts]
        made += [f"copies of other files: {self._copies} ({nbytes(self._copied)})"] if self._copies else []
        made.append(f"problems: {_counted(self.problems) or 'none'}")
        for record in self._first_bad:
            made.append(cut(f"  {record.id}: {record.error}", width))
        if self.bad > len(self._first_bad):
            made.append(f"  and {self.bad - len(self._first_bad)} more, see {path}")
        return made


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
