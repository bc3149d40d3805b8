"""The packets of a video stream, on their way to the decoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from vfx.decoding.pyav.container import demux_packets, time_base

KEYLESS = 500
"""A stream whose first key frame does not come within so many packets is taken to have none, or to mark none."""


@dataclass
class PacketSource:
    """The packets of a stream and what decodes them.

    Args:
        packets: Packets in the order of storage, without empty ones.
        decoder: The stream's codec context.
        time_base: Seconds per tick of the packets' times.
        seek: Goes to the packet of the key frame at a time in ticks; None if the source cannot seek.
        seek_distance: Ticks from which on seeking is cheaper than reading on.
    """

    packets: Iterator[av.Packet]
    decoder: VideoCodecContext
    time_base: Fraction
    seek: Callable[[int], None] | None = None
    seek_distance: float = math.inf

    @classmethod
    def of_stream(cls, container: InputContainer, stream: VideoStream) -> PacketSource:
        """All packets of an open stream."""
        filled = (
            packet for packet in demux_packets(container, stream) if packet.size
        )  # an empty one would end the decoding
        return cls(filled, stream.codec_context, time_base(stream))


def is_shown(packet: av.Packet, decoder: VideoCodecContext) -> bool:
    """Whether a packet shows a frame.

    False for packets that an edit list hides, and for VP8's invisible frames (RFC 6386, 9.1: bit 4), which only other
    frames build on.
    """
    return not packet.is_discard and (decoder.codec.canonical_name != "vp8" or bool(memoryview(packet)[0] >> 4 & 1))


def from_first_key(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """The packets from the first key frame on, or all if none comes soon: some decoders invent frames before it."""
    waiting: list[av.Packet] = []
    for packet in packets:
        waiting.append(packet)
        if packet.is_keyframe or len(waiting) > KEYLESS:
            break
    yield from waiting[-1:] if waiting and waiting[-1].is_keyframe else waiting
    yield from packets
