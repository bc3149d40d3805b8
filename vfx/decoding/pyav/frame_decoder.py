"""Decodes the packets of a stream into frames, strictly, and no more of them than are needed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import av

from vfx.decoding.pyav.container import describe
from vfx.decoding.pyav.damage_tracker import DamageTracker
from vfx.decoding.pyav.packets import PacketSource, from_first_key, is_shown
from vfx.decoding.pyav.skip_plan import SkipPlan, Target

# Have decoders raise errors that they would conceal: an invented picture is worse than none.
STRICT = {"err_detect": "explode"}


class FrameDecoder:
    """Iterates over the intact frames of a stream in display order. It can be iterated over once.

    Args:
        source: The packets and their decoder.
        targets: The wanted frames, ascending; None for all frames. Frames that must be decoded on the way to a target
            come out, too.
        damaged_ranges: Ranges `[begin, end)` of the file's bytes in which packets are lost.
    """

    def __init__(
        self,
        source: PacketSource,
        *,
        targets: Sequence[Target] | None = None,
        damaged_ranges: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.skipping = False  # whether packets have been skipped, so that frames can no longer be counted
        self.sought = False  # whether packets have been passed over without reading them
        codec = source.decoder.codec.canonical_name
        self._source = source
        self._plan = SkipPlan(targets, codec)
        self._tracker = DamageTracker(codec, source.time_base, damaged_ranges)
        self._frames_out = 0
        source.decoder.thread_count = 1
        source.decoder.options = STRICT

    @property
    def damage(self) -> str:
        """The first damage that was met, "" if none."""
        return self._tracker.message

    def __iter__(self) -> Iterator[av.VideoFrame]:
        try:
            for packet in from_first_key(self._source.packets):
                shown = is_shown(packet, self._source.decoder)
                if self._plan.passes_over(packet, shown=shown):
                    if not self._plan.jumping:
                        yield from self._begin_jump()
                elif not self._plan.is_leading(packet):
                    self._tracker.sent(packet)
                    yield from self._intact(self._decode(packet))
                    self._plan.sent(packet, shown=shown, frames_out=self._frames_out)
                    if self._plan.jump_to == math.inf:
                        self.skipping = True
                        break
        except MemoryError:
            raise
        except av.FFmpegError as error:
            self._tracker.message = self._tracker.message or describe(error)
        yield from self._flush()

    def _begin_jump(self) -> Iterator[av.VideoFrame]:
        """Let the decoder hand out what it holds, and seek if the next random access point is far away."""
        assert self._plan.jump_to is not None
        self.skipping = self._plan.jumping = True
        yield from self._flush()
        self._source.decoder.flush_buffers()
        self._tracker.restart()
        if self._source.seek is not None and self._plan.jump_distance > self._source.seek_distance:
            self.sought = True
            self._source.seek(int(self._plan.jump_to))

    def _flush(self) -> Iterator[av.VideoFrame]:
        yield from self._intact(self._decode(None))
        self._tracker.flushed()

    def _decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        decoder = self._source.decoder
        if packet is not None:
            drop = self._plan.may_drop(packet, frames_out=self._frames_out)
            if drop is not None:
                decoder.skip_frame = "NONREF" if drop else "DEFAULT"
                self.skipping |= drop
        try:
            return decoder.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError as error:
            self._tracker.spoil(None if packet is None else packet.pts, describe(error))
            return []

    def _intact(self, frames: list[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for frame in frames:
            self._frames_out += 1
            if self._tracker.is_intact(frame):
                yield frame
