"""Walks from element to element of a container, and notes where no element follows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from os import SEEK_END
from typing import IO

BLOCK = 1 << 20  # bytes that are read at once in a search
LONGEST_MARK = 256  # bytes that the pattern of a search may look at


@dataclass(frozen=True)
class ContainerDamage:
    """Where a file is damaged.

    Args:
        ranges: Ranges `[begin, end)` of bytes, ascending, in which the structure is lost. Packets that begin there are
            none or are damaged, and packets may be missing.
        missing_bytes: How many bytes are announced beyond the file's end.
    """

    ranges: tuple[tuple[int, int], ...] = ()
    missing_bytes: int = 0

    @property
    def description(self) -> str:
        """The damaged ranges in words, "" if there are none."""
        places = f"in {len(self.ranges)} places, the first " if len(self.ranges) > 1 else ""
        return f"file is damaged {places}at byte {self.ranges[0][0]}" if self.ranges else ""


class FileBytes:
    """Random access to the bytes of a file."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.size = stream.seek(0, SEEK_END)

    def at(self, position: int, count: int) -> bytes:
        """The `count` bytes at a position, fewer where the file ends."""
        self._stream.seek(position)
        return self._stream.read(count)

    def find(self, pattern: re.Pattern[bytes], position: int) -> int:
        """Where the next match from `position` on begins; the file's size if there is none."""
        while data := self.at(position, BLOCK + LONGEST_MARK):
            if found := pattern.search(data):
                return position + found.start()
            position += BLOCK
        return self.size


Step = Callable[[FileBytes, int], int | None]
"""Gives, for the position of an element, that of the next element; None if no element begins there."""


def walk(file: FileBytes, begin: int, end: int | None, *, step: Step, mark: re.Pattern[bytes]) -> ContainerDamage:
    """Walk from element to element.

    Args:
        file: The bytes of the file.
        begin: Where the first element begins.
        end: Where the elements end; None for the end of the file.
        step: Leads from one element to the next.
        mark: Where to go on after an element that leads nowhere: at the next match.
    """
    ranges: list[tuple[int, int]] = []
    before = position = begin  # the element before may be the one that claims too much
    while position < min(end or file.size, file.size):
        follower = step(file, position)
        if follower is None or follower > file.size:
            resumed = file.find(mark, position + 1)
            if follower is not None and follower <= (end or follower) and resumed == file.size:
                return ContainerDamage(tuple(ranges), follower - file.size)
            if ranges and before == position:  # no element began where the mark was found
                before = ranges.pop()[0]
            ranges.append((before, resumed))
            before = position = resumed
        else:
            before, position = position, follower
    return ContainerDamage(tuple(ranges))
