"""Tells which decoded frames are intact, in a stream of which some packets are damaged or lost."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from fractions import Fraction

import av

from vfx.decoding import gif


class DamageTracker:
    """Follows packets and frames, and withholds the frames that damage may have changed.

    A packet that cannot be decoded spoils all packets that are sent after it, up to the next key frame: their frames
    come out of the decoder, but show rubbish. The same holds for packets that are lost or incomplete, for frames that
    the decoder calls corrupt, for incomplete pictures of a GIF, and in AV1 for packets that give no frame.

    Args:
        codec: FFmpeg's name.
        time_base: Seconds per tick of the packets' times.
        damaged_ranges: Ranges `[begin, end)` of the file's bytes in which packets are lost, ascending.
    """

    def __init__(self, codec: str, time_base: Fraction, damaged_ranges: Sequence[tuple[int, int]]) -> None:
        self.message = ""  # the first damage that was met
        self._codec = codec
        self._time_base = time_base
        self._ranges = deque(damaged_ranges)
        self._begun = False  # a key frame was sent
        self._broken = False  # packets build on damage until the next key frame is sent
        self._group: list[int | None] = []  # times of the intact packets sent since the last key frame
        self._spoilt: set[int | None] = set()  # times of the packets that are damaged or build on damage
        self._resumed: int | None = None  # time of the key frame that followed the last damage
        self._awaited: deque[int | None] = deque()  # AV1: times of the packets whose frames have yet to come out

    def sent(self, packet: av.Packet) -> None:
        """Take note of a packet before it is decoded."""
        torn = self._pass_ranges(packet)
        if packet.is_keyframe:
            self._begun = True
            if self._broken:
                self._resumed, self._broken = packet.pts, False
            self._group.clear()
        # Frames that are sent after a key frame but shown before it may build on what was lost (open GOP).
        leading = self._resumed is not None and packet.pts is not None and packet.pts < self._resumed
        if self._broken or leading:
            self._spoilt.add(packet.pts)
        else:
            self._group.append(packet.pts)
        if torn:
            self.spoil(packet.pts, "the file is damaged")
        if packet.is_corrupt or (self._codec == "gif" and not gif.is_whole(bytes(packet))):
            self.spoil(packet.pts, "a packet of the file is incomplete")
        if self._codec == "av1" and self._begun and not packet.is_discard:
            self._awaited.append(packet.pts)

    def is_intact(self, frame: av.VideoFrame) -> bool:
        """Whether a frame that came out of the decoder shows what was encoded."""
        if frame.pts in self._awaited:  # dav1d may fail on a packet without a word
            while (lost := self._awaited.popleft()) != frame.pts:
                self.spoil(lost, "a packet gave no frame")
        if frame.is_corrupt:
            self.spoil(frame.pts, "the decoder found a frame corrupt")
            return False
        return frame.pts not in self._spoilt

    def flushed(self) -> None:
        """Take note that the decoder has given all frames of the packets that were sent."""
        while self._awaited:
            self.spoil(self._awaited.popleft(), "a packet gave no frame")

    def restart(self) -> None:
        """Forget what the packets after a jump do not build on."""
        self._group.clear()
        self._broken, self._resumed = False, None

    def spoil(self, pts: int | None, why: str) -> None:
        """Give up the packet of this time and those sent after it, up to the next key frame."""
        self.message = self.message or why + self._at(pts)
        if pts not in self._spoilt and pts in self._group:
            begin = self._group.index(pts)
            self._spoilt.update(self._group[begin:])
            del self._group[begin:]
            self._broken = True

    def _pass_ranges(self, packet: av.Packet) -> bool:
        """Give up what builds on packets that are lost before this one; return whether it begins in a damaged range."""
        while self._ranges and packet.pos is not None and packet.pos >= self._ranges[0][0]:
            inside = packet.pos < self._ranges[0][1]
            if inside or self._begun:
                self._broken = True
                self.message = self.message or "the file is damaged" + self._at(packet.pts)
            if inside:
                return True
            self._ranges.popleft()
        return False

    def _at(self, pts: int | None) -> str:
        return "" if pts is None else f" at {float(pts * self._time_base):.2f} s"
