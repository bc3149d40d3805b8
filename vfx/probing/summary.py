"""What a user is shown of a probed collection: counts, a table as wide as the terminal, and what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from vfx.probing.record import Record
from vfx.text import cut, interval, nbytes, table

MOST_COMMON = 6  # codecs, sizes and the like that a line names
ID_SHARE = 3  # an id takes no more than a third of a line
HEAD = ("id", "codec", "size", "fps", "length", "frames", "rows", "notes")
ALIGN = "<<>>>>><"


class Summary:
    """Counts records as they come.

    Args:
        show: how many of the first records it keeps, to show a table of all, and of those with a problem.

    Attributes:
        videos: how many there are.
        bytes: of their files.
        rows: that the sampler takes.
        bad: how many have a problem.
        problems: how many have each.
    """

    def __init__(self, show: int) -> None:
        self.problems: Counter[str] = Counter()
        self.videos = self.bytes = self.rows = self.bad = 0
        self._show = show
        self._first: list[Record] = []
        self._first_bad: list[Record] = []
        self._copies = self._copied = 0
        self._seconds = 0.0
        self._counts: dict[str, Counter[str]] = {name: Counter() for name in ("codecs", "sizes", "decoders", "of note")}

    def add(self, record: Record) -> None:
        self.videos += 1
        self.bytes += record.bytes
        self.rows += record.rows or 0
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

    def lines(self, name: str, others: Counter[str], *, width: int, path: str) -> Iterator[str]:
        """The lines to show.

        Args:
            name: of the collection.
            others: how many files are no videos, by suffix.
            width: columns of a terminal, which no line of a single video exceeds.
            path: of the table that has all videos.
        """
        seen = f"{self.videos} videos, {nbytes(self.bytes)}, {interval(self._seconds)} of video"
        yield f"{name}: {seen}" + (f"; other files passed over: {_counted(others)}" if others else "")
        if self.videos <= self._show:
            rows = [HEAD, *map(_cells, self._first)]
            id_width = max(len(HEAD[0]), width // ID_SHARE)
            yield from table(rows, align=ALIGN, width=width, first_width=id_width, skip_empty=True)
        yield from (f"{what}: {_counted(counts)}" for what, counts in self._counts.items() if counts)
        if self._copies:
            yield f"copies of other files: {self._copies} ({nbytes(self._copied)})"
        yield f"problems: {_counted(self.problems) or 'none'}"
        yield from (cut(f"  {record.id}: {record.error}", width) for record in self._first_bad)
        if self.bad > len(self._first_bad):
            yield f"  and {self.bad - len(self._first_bad)} more, see {path}"


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
