"""Damage of MP4 and MOV (ISO 14496-12, 4.2): only a missing end, as an index leads to the packets."""

from __future__ import annotations

import re

from vfx.decoding.container_damage.walk import ContainerDamage, FileBytes


def find_damage(file: FileBytes) -> ContainerDamage:
    """Go from box to box of the file, and compare where the last one ends with the file's size."""
    position = 0
    while len(head := file.at(position, 16)) >= 8 and re.match(rb"[ -~]{4}", head[4:]):
        size = int.from_bytes(head[8:16] if head[:4] == b"\0\0\0\1" else head[:4], "big")
        if size == 0:
            return ContainerDamage()
        if position + size > file.size:
            return ContainerDamage(missing_bytes=position + size - file.size)
        position += size
    return ContainerDamage()
