"""Damage of MPEG transport streams (ISO 13818-1, 2.4.3): packets of 188 bytes, numbered within each stream."""

from __future__ import annotations

import re

import numpy as np
from numpy.typing import NDArray

from vfx.decoding.container_damage.walk import BLOCK, ContainerDamage, FileBytes

PACKET = 188  # bytes; in M2TS, a time of 4 bytes stands before each packet
HEADER = 6  # bytes that are looked at: the header, and the beginning of an adaptation field
SYNC = ord("G")


def find_damage(file: FileBytes, stream_id: int) -> ContainerDamage:
    """Look for packets that are out of place, and for jumps of the continuity counter of one stream."""
    size = PACKET if file.at(0, 1) == b"G" else PACKET + 4
    prefix = size - PACKET
    mark = re.compile(rb"G(?=.{%d}G)" % (size - 1), re.DOTALL)
    counter = _ContinuityCounter(stream_id)
    position = max(file.find(mark, 0) - prefix, 0)
    while rows := len(data := file.at(position, BLOCK)) // size:
        table = (
            np.frombuffer(data, np.uint8, rows * size).reshape(rows, size)[:, prefix : prefix + HEADER].astype(np.int64)
        )
        strange = np.flatnonzero(table[:, 0] != SYNC)
        table = table[: strange[0]] if len(strange) else table
        counter.read(table, position + np.arange(len(table)) * size)
        position += len(table) * size
        if len(strange):
            position = max(file.find(mark, position + prefix + 1) - prefix, position + 1)
            counter.torn = True
    if counter.torn:
        counter.ranges.append((counter.unit, file.size))
    return ContainerDamage(
        tuple(counter.ranges), missing_bytes=-(file.size - position) % size if position < file.size else 0
    )


class _ContinuityCounter:
    """Follows the packets of one stream, which are numbered in four bits."""

    def __init__(self, stream_id: int) -> None:
        self.ranges: list[tuple[int, int]] = []  # from the frame before a jump to the packet behind it
        self.unit = 0  # where the last frame of the stream begins
        self.torn = False  # whether something else than a packet stood behind the last packet
        self._stream_id = stream_id
        self._count: int | None = None  # of the last packet

    def read(self, headers: NDArray[np.int64], positions: NDArray[np.int64]) -> None:
        """Take note of the headers (n, 6) of packets that follow each other, at `positions` (n,) of the file."""
        ids, has_payload = headers[:, 1] % 32 * 256 + headers[:, 2], headers[:, 3] & 16 > 0
        ours = np.flatnonzero((ids == self._stream_id) & has_payload)
        if not len(ours):
            return
        headers, positions = headers[ours], positions[ours]
        flags, counts = headers[:, 3], headers[:, 3] % 16
        is_announced = (flags & 32 > 0) & (headers[:, 4] > 0) & (headers[:, 5] & 128 > 0)  # discontinuity_indicator
        expected = counts[0] - 1 if self._count is None else self._count
        steps = np.diff(counts, prepend=counts[0] + 1 if self.torn else expected) % 16
        units = np.maximum.accumulate(np.where(headers[:, 1] & 64 > 0, positions, self.unit))
        for n in np.flatnonzero((steps > 1) & ~is_announced):
            self.ranges.append((int(units[n - 1]) if n else self.unit, int(positions[n])))
        self.unit, self._count, self.torn = int(units[-1]), int(counts[-1]), False
