"""Damage of MPEG program streams (ISO 13818-1, 2.5; ISO 11172-1): packs and packets with start codes."""

from __future__ import annotations

import re

from vfx.decoding.container_damage.walk import BLOCK, ContainerDamage, FileBytes, walk


def find_damage(file: FileBytes) -> ContainerDamage:
    """Walk over all packs and packets."""
    return walk(file, 0, None, step=_step, mark=re.compile(rb"\x00\x00\x01\xba"))


def _step(file: FileBytes, position: int) -> int | None:
    head = file.at(position, 14)
    if head[:4] == b"\0\0\1\xb9":
        padded = not file.at(position + 4, BLOCK).strip(b"\0")
        return file.size if padded else position + 4
    if head[:3] != b"\0\0\1" or len(head) < 6 or head[3] < 0xBA:
        return None
    if head[3] == 0xBA:
        return position + (12 if head[4] >> 4 == 2 else 14 + (head[-1] & 7))
    return position + 6 + int.from_bytes(head[4:6], "big")
