"""Finds random access points: packets that build on nothing before them, so that decoding can begin there.

The container's mark of a key frame says less: MPEG-TS and AVI also mark pictures after which others refer to what came
before, and a mark may be wrong. So the packets themselves are parsed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

START_CODE = re.compile(b"\0\0\1(?=.)", re.DOTALL)
JPEG_SCAN = b"\xff\xda"
JPEG_TABLES = (b"\xff\xc4", b"\xff\xdb")


class Syntax(NamedTuple):
    """How a codec lays out its packets.

    Args:
        units: Splits a packet into units (NAL units, OBUs): pairs of where the unit before ends and where one begins.
        kind: The kind of a unit, from its first byte.
        headers: Kinds of units that pictures depend on, such as parameter sets.
        pictures: Kinds of units that begin a picture.
        refreshes: Whether a unit belongs to a picture that builds on no other, as does all that is sent and shown
            after it.
        needed: The kind of header that must stand before the picture, since a flushed decoder forgets it; None if
            decoders remember all headers.
    """

    units: Callable[[memoryview], Iterator[tuple[int, int]]]
    kind: Callable[[int], int]
    headers: frozenset[int]
    pictures: frozenset[int]
    refreshes: Callable[[memoryview], bool]
    needed: int | None = None

    def parse(self, packet: memoryview) -> tuple[frozenset[bytes], bool]:
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


class RandomAccessDetector:
    """Tells of each packet of a stream whether it is a random access point.

    A decoder that has had the first packet of the stream, is flushed, and goes on from a random access point gives, for
    all frames that are shown from there on, the same pixels as if it had decoded everything. Frames that are sent after
    such a point and shown before it belong to the point before.

    There are no random access points in unknown codecs, nor after headers have changed in mid-stream: the old ones
    might be needed later.

    Args:
        codec: FFmpeg's name.
        extradata: The codec's headers as the container stores them.
    """

    def __init__(self, codec: str, extradata: bytes | None) -> None:
        self._syntax = _syntax(codec, extradata or b"")
        self._refreshes = WITHOUT_HEADERS.get(codec)
        self._headers: frozenset[bytes] | None = None  # those of the first packet
        self._latest = -math.inf
        self._headers_changed = False

    def __call__(self, packet: memoryview, pts: int | None, *, key: bool, changed: bool) -> bool:
        """Whether a packet is a random access point. Every packet must be given, in the order of storage.

        Args:
            packet: The packet's bytes.
            pts: Its presentation time in ticks.
            key: Whether the container marks it as a key frame.
            changed: Whether the container sends new headers with it.
        """
        later = pts is not None and pts > self._latest
        self._latest = max(self._latest, math.inf if pts is None else pts)
        headers, refreshes = self._parse(packet, key)
        if self._headers is None:
            self._headers = headers
        elif changed or not headers <= self._headers:
            self._headers_changed = True
        return key and refreshes and later and not self._headers_changed

    def _parse(self, packet: memoryview, key: bool) -> tuple[frozenset[bytes], bool]:
        if self._syntax is not None:
            return self._syntax.parse(packet)
        return frozenset(), key and self._refreshes is not None and self._refreshes(packet)


def _syntax(codec: str, extradata: bytes) -> Syntax | None:
    # With such headers, lengths stand before units (ISO/IEC 14496-15, 5.3.3.1 and 8.3.3.1), else start codes.
    if codec == "h264" and len(extradata) > 4 and extradata[0] == 1:
        return H264._replace(units=partial(_by_lengths, size=(extradata[4] & 3) + 1))
    if codec == "hevc" and len(extradata) > 21 and (any(extradata[:2]) or extradata[2] > 1):
        return HEVC._replace(units=partial(_by_lengths, size=(extradata[21] & 3) + 1))
    return SYNTAXES.get(codec)


def _by_start_codes(packet: memoryview) -> Iterator[tuple[int, int]]:
    return (found.span() for found in START_CODE.finditer(packet))


def _by_lengths(packet: memoryview, *, size: int) -> Iterator[tuple[int, int]]:
    """Each unit follows its length, a number of `size` bytes."""
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


def _has_bits(at: int, mask: int, value: int, unit: memoryview) -> bool:
    """Whether the bits of `mask` have this value in the byte at `at`."""
    return len(unit) > at and unit[at] & mask == value


def _shows_key_frame(obu: memoryview) -> bool:
    """AV1 bitstream specification, 5.9.2: show_existing_frame 0, frame_type KEY_FRAME, show_frame 1."""
    return _has_bits(_payload(obu)[0], 0xF0, 0x10, obu)


def _is_vp9_key_frame(packet: memoryview) -> bool:
    """VP9 bitstream specification, 6.2: frame_marker 2, show_existing_frame 0, frame_type KEY_FRAME."""
    third_profile = packet[0] & 0x30 == 0x30  # whose header has one bit more
    return packet[0] >> 6 == 2 and not packet[0] & (0x06 if third_profile else 0x0C)


def _has_tables(packet: memoryview) -> bool:
    """Whether a JPEG has the tables that decode it: some pictures use those of a picture before."""
    scan = re.search(JPEG_SCAN, packet)
    head = bytes(packet[: scan.start()]) if scan else b""
    return all(table in head for table in JPEG_TABLES)


H264 = Syntax(
    units=_by_start_codes,
    kind=lambda byte: byte & 31,
    headers=frozenset({7, 8, 13, 15}),  # sequence and picture parameter sets
    pictures=frozenset(range(1, 6)),
    refreshes=lambda unit: unit[0] & 31 == 5,  # IDR; after other intra pictures, references may reach back
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
    refreshes=partial(_has_bits, 2, 0x38, 0x08),  # picture_coding_type I
    needed=0xB3,
)
SYNTAXES = {
    "h264": H264,
    "hevc": HEVC,
    "mpeg1video": MPEG_1_AND_2,
    "mpeg2video": MPEG_1_AND_2,
    "mpeg4": Syntax(
        units=_by_start_codes,
        kind=int,
        headers=frozenset({*range(0x30), 0xB0, 0xB2, 0xB5}),  # user data too: decoders recognise encoders by it
        pictures=frozenset({0xB6}),
        refreshes=partial(_has_bits, 1, 0xC0, 0x00),  # vop_coding_type I
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
    "vp9": _is_vp9_key_frame,
    "mjpeg": _has_tables,
    **dict.fromkeys(("prores", "dnxhd", "png", "jpeg2000", "dvvideo"), lambda packet: True),
}
