"""Whether the picture in a packet of a GIF is whole: FFmpeg shows what there is of it over the one before, and says
nothing."""

from __future__ import annotations

EXTENSION, PICTURE, TRAILER = b"!,;"
PADDING = 1  # bytes behind a picture that some encoders leave


def is_whole(packet: bytes) -> bool:
    """Whether blocks (GIF89a, 12 to 27) lead to a picture, that ends within the packet, and no junk follows it."""
    try:
        at = 0
        if packet.startswith(b"GIF"):
            at = 13 + _table(packet[10])
        while packet[at] == EXTENSION:
            at = _behind_blocks(packet, at + 2)
        if packet[at] != PICTURE:
            return False
        at = _behind_blocks(packet, at + 11 + _table(packet[at + 9]))
    except IndexError:
        return False
    return len(packet) - at <= PADDING or packet[at] in (EXTENSION, PICTURE, TRAILER)


def _table(flags: int) -> int:
    """The bytes of a table of colours."""
    return 3 << (flags & 7) + 1 if flags & 128 else 0


def _behind_blocks(packet: bytes, at: int) -> int:
    """Where sub-blocks end: each begins with its length, and one of length 0 is the last. Raises IndexError."""
    while length := packet[at]:
        at += 1 + length
    return at + 1
