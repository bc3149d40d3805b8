"""Chooses which packets a decoder may skip when only some frames are wanted."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

import av
import numpy as np

from vfx.sampling.timeline import Timeline

CHECKED_FRAMES = 8
"""So many frames are decoded without a gap before any packet is skipped: they show whether the times are right."""


class Target(NamedTuple):
    """A wanted frame.

    Args:
        start: Time in ticks of the random access point that leads to the frame; -inf for the start of the video.
        pts: The frame's own time in ticks.
    """

    start: float
    pts: int


def targets_of(timeline: Timeline, indices: Sequence[int]) -> list[Target]:
    """The targets for the frames at `indices` of a timeline that has presentation times."""
    assert timeline.pts is not None
    points = np.flatnonzero([] if timeline.random_access is None else timeline.random_access)
    before = np.searchsorted(points, indices, side="right") - 1
    times = [-math.inf, *timeline.pts[points].tolist()]
    return [Target(times[i + 1], int(timeline.pts[index])) for i, index in zip(before, indices, strict=True)]


class SkipPlan:
    """Tells, packet by packet, which packets the target frames need.

    Once all packets of a target have been sent, the packets up to the random access point of the next target are
    passed over (a jump). Packets that no other packet builds on may be skipped wherever no target is among them.

    Args:
        targets: The wanted frames, ascending; None if all frames are wanted.
        codec: FFmpeg's name. AV1's decoder cannot skip single packets.
    """

    def __init__(self, targets: Sequence[Target] | None, codec: str) -> None:
        self.jump_to: float | None = None  # time of the packet at which decoding goes on; inf if it need not
        self.jumping = False  # whether packets before `jump_to` have been passed over
        self._targets = None if targets is None else deque(targets)
        self._codec = codec
        self._unsent = {target.pts for target in targets or ()}
        self._latest = -math.inf  # of the times that were sent
        self._leading_until: int | None = None  # packets with times before this build on what was passed over

    @property
    def jump_distance(self) -> float:
        """Ticks from the latest packet that was sent to the one at which decoding goes on."""
        return 0 if self.jump_to is None else self.jump_to - self._latest

    def passes_over(self, packet: av.Packet, *, shown: bool) -> bool:
        """Whether a packet comes before the one at which decoding goes on."""
        if self.jump_to is not None:
            if packet.pts != self.jump_to or not packet.is_keyframe or not shown:
                return True
            self._leading_until = packet.pts if self.jumping else None
            self.jump_to, self.jumping = None, False
        return False

    def is_leading(self, packet: av.Packet) -> bool:
        """Whether a packet is sent after a random access point, shown before it, and builds on what was passed over."""
        if self._leading_until is not None and packet.pts is not None:
            if packet.pts < self._leading_until:
                return True
            if packet.pts > self._leading_until:
                self._leading_until = None
        return False

    def may_drop(self, packet: av.Packet, *, frames_out: int) -> bool | None:
        """Whether the decoder may drop the packet if no other builds on it; None if it decodes all packets."""
        if self._targets is None or self._codec == "av1":
            return None
        return packet.pts not in self._unsent and frames_out >= CHECKED_FRAMES

    def sent(self, packet: av.Packet, *, shown: bool, frames_out: int) -> None:
        """Plan what comes after a packet that was sent: the next packet, a jump, or nothing (`jump_to` is inf)."""
        if self._targets is None:
            return
        if packet.pts is not None and shown:
            self._latest = max(self._latest, packet.pts)
            self._unsent.discard(packet.pts)
        while self._targets and self._targets[0].pts not in self._unsent:
            self._targets.popleft()
        start = self._targets[0].start if self._targets else math.inf
        if start > self._latest and frames_out >= CHECKED_FRAMES:
            self.jump_to = start
