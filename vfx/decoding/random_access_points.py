"""Where decoding can begin within a stream: at packets that build on nothing before them, told by what they hold.

A container's mark of a key frame says less: MPEG-TS and AVI also mark pictures behind which others refer to what came
before, and a mark may be wrong.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

START = re.compile(b"\0\0\1(?=.)", re.DOTALL)
SCAN_OF_JPEG = b"\xff\xda"
TABLES_OF_JPEG = (b"\xff\xc4", b"\xff\xdb")


class Syntax(NamedTuple):
    """How a codec lays out its packets.

    `units`: for each unit of a packet, where the one before ends and where it begins. `kind`: of a unit, by its first
    byte. `headers`: kinds that pictures go by. `pictures`: kinds with which a picture begins. `refreshes`: whether
    such a unit is of a picture that builds on no other, as does all that is sent and shown after it. `needed`: the
    header that must stand before it, since a decoder that is flushed forgets it.
    """

    units: Callable[[memoryview], Iterator[tuple[int, int]]]
    kind: Callable[[int], int]
    headers: frozenset[int]
    pictures: frozenset[int]
    refreshes: Callable[[memoryview], bool]
    needed: int | None = None

    def look(self, packet: memoryview) -> tuple[frozenset[bytes], bool]:
        """The headers in a packet, and whether decoding can begin with its picture."""
        headers: set[bytes] = set()
        lacking = self.needed is not None
        header = None  # where one begins
        for end, begin in self.units(packet):
            if header is not None:
                headers.add(bytes(packet[header:end]).rstrip(b"\0"))
            kind = self.kind(packet[begin])
            if kind in self.pictures:
                return frozenset(headers), not lacking and self.refreshes(packet[begin:])
            header = begin if kind in self.headers else None
            lacking = lacking and kind != self.needed
        return frozenset(headers), False


class Entries:
    """Told of a stream's packets in the order of storage, says of each whether it is an entry.

    A decoder that has had the first packet of all, and is flushed and goes on from an entry, gives the frames that are
    shown from the entry on as if it had been sent what lies between, too. Those that are sent behind an entry and
    shown before it belong to the entry before. Nothing is an entry in a codec that is not known here, nor in any once
    headers have changed in mid-stream: they may be needed later. `codec` is FFmpeg's name.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._syntax = _syntax(codec, extradata or b"")
        self._refreshes = WITHOUT_HEADERS.get(codec)
        self._headers: frozenset[bytes] | None = None  # those of the first packet
        self._latest = -math.inf
        self._closed = False

    def __call__(self, packet: memoryview, pts: int | None, *, key: bool, changed: bool) -> bool:
        """`key`: the container marks the packet. `changed`: it brings headers of the container's with it."""
        later = pts is not None and pts > self._latest
        self._latest = max(self._latest, math.inf if pts is None else pts)
        headers, refreshes = self._look(packet, key)
        if self._headers is None:
            self._headers = headers
        elif changed or not headers <= self._headers:
            self._closed = True
        return key and refreshes and later and not self._closed

    def _look(self, packet: memoryview, key: bool) -> tuple[frozenset[bytes], bool]:
        if self._syntax is not None:
            return self._syntax.look(packet)
        return frozenset(), key and self._refreshes is not None and self._refreshes(packet)


def _syntax(codec: str, extradata: bytes) -> Syntax | None:
    match codec:
        case "h264":
            lengths = len(extradata) > 4 and extradata[0] == 1  # ISO/IEC 14496-15, 5.3.3.1
            units = partial(_by_lengths, size=(extradata[4] & 3) + 1) if lengths else _by_start_codes
            return H264._replace(units=units)
        case "hevc":
            lengths = len(extradata) > 21 and (any(extradata[:2]) or extradata[2] > 1)  # 8.3.3.1
            units = partial(_by_lengths, size=(extradata[21] & 3) + 1) if lengths else _by_start_codes
            return HEVC._replace(units=units)
    return SYNTAXES.get(codec)


def _by_start_codes(packet: memoryview) -> Iterator[tuple[int, int]]:
    return (found.span() for found in START.finditer(packet))


def _by_lengths(packet: memoryview, *, size: int) -> Iterator[tuple[int, int]]:
    """Each unit stands behind its length, of `size` bytes."""
    if packet[:4] == b"\0\0\0\1":  # FFmpeg takes this for a start code, whatever the container says
        yield from _by_start_codes(packet)
        return
    at = 0
    while at + size < len(packet):
        yield at, at + size
        at += size + int.from_bytes(packet[at : at + size], "big")


def _by_obus(packet: memoryview) -> Iterator[tuple[int, int]]:
    """AV1 bitstream specification, 5.3."""
    at = 0
    while at < len(packet):
        yield at, at
        begin, size = _payload(packet[at:])
        at += begin + size


def _payload(obu: memoryview) -> tuple[int, int]:
    """Where the payload of an OBU begins, and its size."""
    at = 2 if obu[0] & 4 else 1
    if not obu[0] & 2:
        return at, len(obu) - at
    size = 0
    for i, byte in enumerate(obu[at : at + 8]):
        size |= (byte & 127) << 7 * i
        if not byte & 128:
            return at + i + 1, size
    return len(obu), 0


def _begins(at: int, mask: int, value: int, unit: memoryview) -> bool:
    """Whether the bits of `mask` have this value in the byte at `at`."""
    return len(unit) > at and unit[at] & mask == value


def _shows_key_frame(obu: memoryview) -> bool:
    """AV1 bitstream specification, 5.9.2: show_existing_frame 0, frame_type KEY_FRAME, show_frame 1."""
    return _begins(_payload(obu)[0], 0xF0, 0x10, obu)


def _is_key_frame_of_vp9(packet: memoryview) -> bool:
    """VP9 bitstream specification, 6.2: frame_marker 2, show_existing_frame 0, frame_type KEY_FRAME."""
    third_profile = packet[0] & 0x30 == 0x30  # which has one bit more
    return packet[0] >> 6 == 2 and not packet[0] & (0x06 if third_profile else 0x0C)


def _has_tables(packet: memoryview) -> bool:
    """Whether a JPEG brings all that decodes it: some leave their tables to a picture before."""
    scan = re.search(SCAN_OF_JPEG, packet)
    head = bytes(packet[: scan.start()]) if scan else b""
    return all(table in head for table in TABLES_OF_JPEG)


H264 = Syntax(
    units=_by_start_codes,
    kind=lambda byte: byte & 31,
    headers=frozenset({7, 8, 13, 15}),  # sequence and picture parameter sets
    pictures=frozenset(range(1, 6)),
    refreshes=lambda unit: unit[0] & 31 == 5,  # IDR; behind other intra pictures references may reach back
)
HEVC = Syntax(
    units=_by_start_codes,
    kind=lambda byte: byte >> 1 & 63,
    headers=frozenset({32, 33, 34}),
    pictures=frozenset(range(32)),
    refreshes=lambda unit: 16 <= unit[0] >> 1 & 63 <= 21,  # IRAP (ITU-T H.265, 7.4.2.2)
)
MPEG_1_AND_2 = Syntax(
    units=_by_start_codes,
    kind=int,
    headers=frozenset({0xB3, 0xB5}),  # and their extensions
    pictures=frozenset({0x00}),
    refreshes=partial(_begins, 2, 0x38, 0x08),  # picture_coding_type I
    needed=0xB3,
)
SYNTAXES = {
    "mpeg1video": MPEG_1_AND_2,
    "mpeg2video": MPEG_1_AND_2,
    "mpeg4": Syntax(
        units=_by_start_codes,
        kind=int,
        headers=frozenset({*range(0x30), 0xB0, 0xB2, 0xB5}),  # the user's data too: decoders tell encoders by them
        pictures=frozenset({0xB6}),
        refreshes=partial(_begins, 1, 0xC0, 0x00),  # vop_coding_type I
    ),
    "av1": Syntax(
        units=_by_obus,
        kind=lambda byte: byte >> 3 & 15,
        headers=frozenset({1}),
        pictures=frozenset({3, 6}),
        refreshes=_shows_key_frame,
        needed=1,
    ),
}
WITHOUT_HEADERS: dict[str, Callable[[memoryview], bool]] = {
    "vp8": lambda packet: not packet[0] & 1,  # RFC 6386, 9.1
    "vp9": _is_key_frame_of_vp9,
    "mjpeg": _has_tables,
    **dict.fromkeys(("prores", "dnxhd", "png", "jpeg2000", "dvvideo"), lambda packet: True),
}
