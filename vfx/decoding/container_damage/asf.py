"""Damage of ASF and WMV (Microsoft's specification, 3.2): only a missing end."""

from __future__ import annotations

from vfx.decoding.container_damage.walk import BLOCK, ContainerDamage, FileBytes

FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def find_damage(file: FileBytes) -> ContainerDamage:
    """Compare the file's size with what its header states, which broadcasts leave open."""
    head = file.at(0, BLOCK)
    at = head.find(FILE_PROPERTIES)
    if at < 0 or len(head) < at + 92 or head[at + 88] & 1:
        return ContainerDamage()
    return ContainerDamage(missing_bytes=max(0, int.from_bytes(head[at + 40 : at + 48], "little") - file.size))
