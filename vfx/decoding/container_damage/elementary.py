"""Damage of streams without a container: FFmpeg takes what is left of other files for one of them."""

from __future__ import annotations

import re

from vfx.decoding.container_damage.walk import BLOCK, ContainerDamage, FileBytes


def find_damage(file: FileBytes) -> ContainerDamage:
    """A file that does not begin with a start code is damaged as a whole."""
    begins = re.match(rb"\x00{2,}\x01", file.at(0, BLOCK))
    return ContainerDamage() if begins else ContainerDamage(((0, file.size),))
