"""Damage of AVI (Microsoft's specification; OpenDML extensions): nested RIFF chunks."""

from __future__ import annotations

import re
from functools import partial

from vfx.decoding.container_damage.walk import ContainerDamage, FileBytes, walk


def find_damage(file: FileBytes) -> ContainerDamage:
    """Walk over all chunks, into the lists that hold packets."""
    streams = b"|".join(b"%02d" % n for n in range(min(int.from_bytes(file.at(56, 4), "little"), 100)))
    known = re.compile(rb"LIST|JUNK|PAD |idx1|ix\d\d|(%s)[a-z]{2}" % streams)
    return walk(file, 0, None, step=partial(_step, known=known), mark=re.compile(rb"\d\d(dc|db)"))


def _step(file: FileBytes, position: int, *, known: re.Pattern[bytes]) -> int | None:
    head = file.at(position, 8)
    if head[:4] == b"RIFF" or (head[:4] == b"LIST" and file.at(position + 8, 4) in (b"movi", b"rec ")):
        return position + 12
    size = int.from_bytes(head[4:], "little")
    return position + 8 + size + size % 2 if known.match(head) else None
