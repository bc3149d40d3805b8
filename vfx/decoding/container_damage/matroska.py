"""Damage of Matroska and WebM (RFC 8794, RFC 9559): EBML elements, most of them within clusters."""

from __future__ import annotations

import re
import sys
from dataclasses import replace

from vfx.decoding.container_damage.walk import ContainerDamage, FileBytes, walk

SEGMENT, CLUSTER = b"\x18\x53\x80\x67", b"\x1f\x43\xb6\x75"
PADDING = {b"\xec", b"\xbf"}  # and check sums
IN_SEGMENT = PADDING | {
    *(b"\x1a\x45\xdf\xa3", b"\x11\x4d\x9b\x74", b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b"),
    *(b"\x1c\x53\xbb\x6b", b"\x19\x41\xa4\x69", b"\x10\x43\xa7\x70", b"\x12\x54\xc3\x67"),
}
IN_CLUSTER = PADDING | {b"\xe7", b"\xa3", b"\xa0", b"\xab", b"\xa7", b"\x58\x54", b"\xaf"}


def find_damage(file: FileBytes) -> ContainerDamage:
    """Walk over all elements of the segment."""
    id, _, end = _element(file, _element(file, 0)[2] or 0)
    found = walk(file, 0, end if id == SEGMENT else None, step=_Step(), mark=re.compile(re.escape(CLUSTER)))
    return replace(found, missing_bytes=max(end - file.size, 0)) if id == SEGMENT and end else found


class _Step:
    """Steps over elements, and into segments and clusters; remembers where the current cluster ends."""

    def __init__(self) -> None:
        self._cluster_end = 0

    def __call__(self, file: FileBytes, position: int) -> int | None:
        id, content, end = _element(file, position)
        if id == CLUSTER:
            self._cluster_end = end or sys.maxsize
        if id in (SEGMENT, CLUSTER):
            return content
        inside = end is not None and end <= self._cluster_end
        return end if id in IN_SEGMENT or (id in IN_CLUSTER and inside) else None


def _element(file: FileBytes, position: int) -> tuple[bytes, int, int | None]:
    """An element's id, where its content begins, and where that ends (None if that is left open)."""
    head = file.at(position, 12)
    width = 9 - head[0].bit_length() if head else 9
    id, rest = head[:width], head[width:]
    length = 9 - rest[0].bit_length() if rest else 9
    if length > min(8, len(rest)):
        return b"", position, None
    content = position + width + length
    size = int.from_bytes(rest[:length], "big") & (1 << 7 * length) - 1
    return id, content, None if size == (1 << 7 * length) - 1 else content + size
