"""Tells whether the picture in a packet of a GIF is complete: FFmpeg shows incomplete ones without a word."""

from __future__ import annotations

EXTENSION, PICTURE, TRAILER = b"!,;"
PADDING = 1  # bytes that some encoders leave after a picture


def is_whole(packet: bytes) -> bool:
    """Whether the packet's blocks (GIF89a, 12 to 27) lead to a picture that ends within it, and no junk follows."""
    try:
        at = 0
        if packet.startswith(b"GIF"):
            at = 13 + _colour_table_size(packet[10])
        while packet[at] == EXTENSION:
            at = _skip_sub_blocks(packet, at + 2)
        if packet[at] != PICTURE:
            return False
        at = _skip_sub_blocks(packet, at + 11 + _colour_table_size(packet[at + 9]))
    except IndexError:
        return False
    return len(packet) - at <= PADDING or packet[at] in (EXTENSION, PICTURE, TRAILER)


def _colour_table_size(flags: int) -> int:
    """Size of a colour table in bytes."""
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _skip_sub_blocks(packet: bytes, at: int) -> int:
    """Where the sub-blocks from `at` on end: each begins with its length, and the last one has length 0."""
    while length := packet[at]:
        at += 1 + length
    return at + 1
