"""Damage of FLV (Adobe's specification, annex E): a sequence of tags."""

from __future__ import annotations

import re

from vfx.decoding.container_damage.walk import ContainerDamage, FileBytes, walk


def find_damage(file: FileBytes) -> ContainerDamage:
    """Walk over all tags."""
    begin = int.from_bytes(file.at(5, 4), "big") + 4
    return walk(file, begin, None, step=_step, mark=re.compile(rb"[\x08\x09\x12].{7}\0\0\0", re.DOTALL))


def _step(file: FileBytes, position: int) -> int | None:
    tag = file.at(position, 11)
    if len(tag) < 11:
        return position + 11
    if tag[0] & 31 not in (8, 9, 18) or tag[8:] != b"\0\0\0":
        return None
    end = position + 11 + int.from_bytes(tag[1:4], "big")
    return max(end, min(end + 4, file.size))  # the size behind the last tag is no loss
