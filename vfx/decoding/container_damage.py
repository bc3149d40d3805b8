"""Where the structure of a file is lost, or ends early: FFmpeg goes on at the next place that it knows, says nothing,
and its decoders build what follows on what came before.

Of a container only that is read which leads from one packet to the next.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from os import SEEK_END
from pathlib import Path
from typing import IO

import numpy as np

from vfx.errors import VideoError

CHUNK = 1 << 20
MARK = 256  # bytes that a mark may look at


@dataclass(frozen=True)
class Structure:
    """`holes`: ranges `[begin, end)` of bytes, ascending, in which it is lost: what begins there is none or is damaged,
    and something may be missing. `lacking`: bytes that are announced behind the file's end."""

    holes: tuple[tuple[int, int], ...] = ()
    lacking: int = 0

    @property
    def told(self) -> str:
        """The holes in words, "" if there is none."""
        places = f"in {len(self.holes)} places, the first " if len(self.holes) > 1 else ""
        return f"file is damaged {places}at byte {self.holes[0][0]}" if self.holes else ""


def examine(path: Path, container: str, stream: int) -> Structure:
    """The structure of a file of this container, by FFmpeg's name; of those that are not in WALKS nothing is known.

    `stream`: that of which something may be missing, in MPEG-TS, where the others are told apart from it.
    Raises VideoError if the file cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as opened:  # little is read here and there
            file = _File(opened)
            return _transport(file, stream) if container == "mpegts" else WALKS.get(container, _unknown)(file)
    except OSError as error:
        raise VideoError(f"{path.name} cannot be read: {error.strerror}") from error


class _File:
    """Bytes at positions, fewer where the file ends."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.size = stream.seek(0, SEEK_END)

    def at(self, position: int, count: int) -> bytes:
        self._stream.seek(position)
        return self._stream.read(count)

    def find(self, pattern: re.Pattern[bytes], position: int) -> int:
        """Where the next match begins, the file's size if there is none."""
        while data := self.at(position, CHUNK + MARK):
            if found := pattern.search(data):
                return position + found.start()
            position += CHUNK
        return self.size


Step = Callable[[_File, int], int | None]  # from the position of an element to that of the next; None: it is none


def _walk(file: _File, begin: int, end: int | None, *, step: Step, mark: re.Pattern[bytes]) -> Structure:
    """Go from element to element in bytes `[begin, end)`, and on from the next `mark` where one leads nowhere."""
    holes: list[tuple[int, int]] = []
    before = position = begin  # the element before may be the one that claims too much
    while position < min(end or file.size, file.size):
        follower = step(file, position)
        if follower is None or follower > file.size:
            resumed = file.find(mark, position + 1)
            if follower is not None and follower <= (end or follower) and resumed == file.size:
                return Structure(tuple(holes), follower - file.size)
            if holes and before == position:  # what was found was none
                before = holes.pop()[0]
            holes.append((before, resumed))
            before = position = resumed
        else:
            before, position = position, follower
    return Structure(tuple(holes))


# Matroska and WebM (RFC 8794, RFC 9559)

SEGMENT, CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
PADDING = {b"\xec", b"\xbf"}  # and check sums
IN_SEGMENT = PADDING | {
    *(b"\x1a\x45\xdf\xa3", b"\x11\x4d\x9b\x74", b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b"),
    *(b"\x1c\x53\xbb\x6b", b"\x19\x41\xa4\x69", b"\x10\x43\xa7\x70", b"\x12\x54\xc3\x67"),
}
IN_CLUSTER = PADDING | {b"\xe7", b"\xa3", b"\xa0", b"\xab", b"\xa7", b"\x58\x54", b"\xaf"}


def _element(file: _File, position: int) -> tuple[bytes, int, int | None]:
    """An element's id, where its content begins, and where that ends, None if that is left open."""
    head = file.at(position, 12)
    width = 9 - head[0].bit_length() if head else 9
    id, rest = head[:width], head[width:]
    length = 9 - rest[0].bit_length() if rest else 9
    if length > min(8, len(rest)):
        return b"", position, None
    content = position + width + length
    size = int.from_bytes(rest[:length], "big") & (1 << 7 * length) - 1
    return id, content, None if size == (1 << 7 * length) - 1 else content + size


def _matroska(file: _File) -> Structure:
    cluster_end = 0

    def step(file: _File, position: int) -> int | None:
        nonlocal cluster_end
        id, content, end = _element(file, position)
        if id == CLUSTER:
            cluster_end = end or sys.maxsize
        if id in (SEGMENT, CLUSTER):
            return content
        inside = end is not None and end <= cluster_end
        return end if id in IN_SEGMENT or (id in IN_CLUSTER and inside) else None

    id, _, end = _element(file, _element(file, 0)[2] or 0)
    found = _walk(file, 0, end if id == SEGMENT else None, step=step, mark=re.compile(re.escape(CLUSTER)))
    return replace(found, lacking=max(end - file.size, 0)) if id == SEGMENT and end else found


# FLV (Adobe's specification, annex E)


def _flv_step(file: _File, position: int) -> int | None:
    tag = file.at(position, 11)
    if len(tag) < 11:
        return position + 11
    if tag[0] & 31 not in (8, 9, 18) or tag[8:] != b"\0\0\0":
        return None
    end = position + 11 + int.from_bytes(tag[1:4], "big")
    return max(end, min(end + 4, file.size))  # the size behind the last tag is no loss


def _flv(file: _File) -> Structure:
    begin = int.from_bytes(file.at(5, 4), "big") + 4
    return _walk(file, begin, None, step=_flv_step, mark=re.compile(rb"[\x08\x09\x12].{7}\0\0\0", re.DOTALL))


# MPEG program streams (ISO 13818-1, 2.5; ISO 11172-1)


def _program_step(file: _File, position: int) -> int | None:
    head = file.at(position, 14)
    if head[:4] == b"\0\0\1\xb9":
        padded = not file.at(position + 4, CHUNK).strip(b"\0")
        return file.size if padded else position + 4
    if head[:3] != b"\0\0\1" or len(head) < 6 or head[3] < 0xBA:
        return None
    if head[3] == 0xBA:
        return position + (12 if head[4] >> 4 == 2 else 14 + (head[-1] & 7))
    return position + 6 + int.from_bytes(head[4:6], "big")


def _program(file: _File) -> Structure:
    return _walk(file, 0, None, step=_program_step, mark=re.compile(rb"\x00\x00\x01\xba"))


# AVI (Microsoft's specification; OpenDML extensions)


def _avi_step(file: _File, position: int, *, known: re.Pattern[bytes]) -> int | None:
    head = file.at(position, 8)
    if head[:4] == b"RIFF" or (head[:4] == b"LIST" and file.at(position + 8, 4) in (b"movi", b"rec ")):
        return position + 12
    size = int.from_bytes(head[4:], "little")
    return position + 8 + size + size % 2 if known.match(head) else None


def _avi(file: _File) -> Structure:
    streams = b"|".join(b"%02d" % n for n in range(min(int.from_bytes(file.at(56, 4), "little"), 100)))
    known = re.compile(rb"LIST|JUNK|PAD |idx1|ix\d\d|(%s)[a-z]{2}" % streams)
    return _walk(file, 0, None, step=partial(_avi_step, known=known), mark=re.compile(rb"\d\d(dc|db)"))


# MPEG transport streams (ISO 13818-1, 2.4.3)


def _transport(file: _File, stream: int) -> Structure:
    """Packets of 188 bytes, of 192 with a time before each (M2TS); those of a stream are counted in four bits."""
    size = 188 if file.at(0, 1) == b"G" else 192
    skip = size - 188
    mark = re.compile(rb"G(?=.{%d}G)" % (size - 1), re.DOTALL)
    holes: list[tuple[int, int]] = []
    unit = 0  # where the last unit of the stream began
    count: int | None = None  # that of its last packet
    torn = False  # behind that packet stood something else
    position = max(file.find(mark, 0) - skip, 0)
    while rows := len(data := file.at(position, CHUNK)) // size:
        table = np.frombuffer(data, np.uint8, rows * size).reshape(rows, size)[:, skip:].astype(np.int64)
        strange = np.flatnonzero(table[:, 0] != ord("G"))
        table = table[: strange[0]] if len(strange) else table
        ours = np.flatnonzero((table[:, 1] % 32 * 256 + table[:, 2] == stream) & (table[:, 3] & 16 > 0))
        if len(ours):
            flags, counts = table[ours, 3], table[ours, 3] % 16
            anew = (flags & 32 > 0) & (table[ours, 4] > 0) & (table[ours, 5] & 128 > 0)
            expected = counts[0] - 1 if count is None else count
            steps = np.diff(counts, prepend=counts[0] + 1 if torn else expected) % 16
            units = np.maximum.accumulate(np.where(table[ours, 1] & 64 > 0, position + ours * size, unit))
            for n in np.flatnonzero((steps > 1) & ~anew):
                holes.append((int(units[n - 1]) if n else unit, int(position + ours[n] * size)))
            unit, count, torn = int(units[-1]), int(counts[-1]), False
        position += len(table) * size
        if len(strange):
            position, torn = max(file.find(mark, position + skip + 1) - skip, position + 1), True
    if torn:
        holes.append((unit, file.size))
    return Structure(tuple(holes), lacking=-(file.size - position) % size if position < file.size else 0)


# Streams without a container, of which only the beginning is looked at: FFmpeg finds some in what is left of others

ELEMENTARY = ("mpegvideo", "m4v", "h264", "hevc")


def _elementary(file: _File) -> Structure:
    """They begin with a start code."""
    begins = re.match(rb"\x00{2,}\x01", file.at(0, CHUNK))
    return Structure() if begins else Structure(((0, file.size),))


# Those of which only the end is looked at: their packets are found by an index, or counted


def _boxes(file: _File) -> Structure:
    """MP4 (ISO 14496-12, 4.2)."""
    position = 0
    while len(head := file.at(position, 16)) >= 8 and re.match(rb"[ -~]{4}", head[4:]):
        size = int.from_bytes(head[8:16] if head[:4] == b"\0\0\0\1" else head[:4], "big")
        if size == 0:
            return Structure()
        if position + size > file.size:
            return Structure(lacking=position + size - file.size)
        position += size
    return Structure()


FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def _asf(file: _File) -> Structure:
    """ASF (Microsoft's specification, 3.2), but for broadcasts."""
    head = file.at(0, CHUNK)
    at = head.find(FILE_PROPERTIES)
    if at < 0 or len(head) < at + 92 or head[at + 88] & 1:
        return Structure()
    return Structure(lacking=max(0, int.from_bytes(head[at + 40 : at + 48], "little") - file.size))


def _unknown(_: _File) -> Structure:
    return Structure()


WALKS: dict[str, Callable[[_File], Structure]] = {
    "matroska,webm": _matroska,
    "flv": _flv,
    "mpeg": _program,
    "avi": _avi,
    "mov,mp4,m4a,3gp,3g2,mj2": _boxes,
    "asf": _asf,
    **dict.fromkeys(ELEMENTARY, _elementary),
}
