"""Makes the timeline of a video from its packets, or from its decoded frames where packets mislead."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vfx.decoding.container_damage import ELEMENTARY, ContainerDamage, find_damage
from vfx.decoding.frame import DamageError
from vfx.decoding.pyav.container import FALLBACK_RATE, frame_rate, open_video, tagged_duration, time_base
from vfx.decoding.pyav.frame_decoder import FrameDecoder
from vfx.decoding.pyav.packets import PacketSource
from vfx.errors import VideoError
from vfx.sampling.timeline import Timeline

SLACK = 1.0
"""Seconds by which a header's duration may exceed the last frame's time before the file counts as cut short."""

STRAY = 0.1
"""If more than this share of a video's times are out of order, the other times are not believed either."""

COUNTED = ("avi", *ELEMENTARY)
"""Containers that store no times: the time of a frame is the number of frames before it."""


class PacketInfo(NamedTuple):
    """What the timeline needs to know of a packet.

    Args:
        pts: Presentation time in ticks.
        shown: Whether the packet shows a frame.
        key: Whether the container marks it as a key frame.
        random_access: Whether decoding can begin with it.
        position: The byte of the file at which it begins, or at which the container's packet begins that holds it.
    """

    pts: int | None
    shown: bool
    key: bool
    random_access: bool
    position: int


def packet_timeline(
    path: Path, container: InputContainer, stream: VideoStream, packets: list[PacketInfo], *, empty: int
) -> Timeline:
    """The timeline that the packets of a stream announce.

    Args:
        path: The file.
        container: The file, opened and demuxed.
        stream: The stream that the packets are of.
        packets: All packets that hold something, in the order of storage.
        empty: How many empty packets there are, which a header counts too.

    Raises:
        VideoError: The file holds no frame, cannot be read, or no frame can be placed in time.
    """
    visible = sum(packet.shown for packet in packets)
    if not visible:
        raise VideoError(f"{path.name} holds no frame")
    first = next((i for i, packet in enumerate(packets) if packet.key), 0)
    shown = [packet for packet in packets[first:] if packet.shown]
    promised = stream.frames - empty - (len(packets) - visible) if stream.frames else len(shown)
    damage = find_damage(path, container.format.name, stream.id)
    counted = container.format.name in COUNTED
    if counted and stream.frames and visible == promised:
        damage = ContainerDamage()  # some files lack a byte here and there, but no frame
    placed = _placeable(shown, damage, container, stream)
    pts = _presentation_times([packet.pts for packet in placed], container, stream)
    if not placed or (counted and pts is None and first):
        raise VideoError(f"{path.name} is damaged from its first frame on")
    told = damage.description
    if lost := len(shown) - len(placed):
        told += f": the {lost} frames behind cannot be placed"
    timeline = _in_display_order(placed, pts, stream)
    if not stream.frames:
        promised += _missing_frames(container, stream, float(timeline.seconds[-1]))
    if len(placed) >= promised and damage.missing_bytes:
        told = _joined(told, f"file ends {damage.missing_bytes} bytes early")
    return replace(timeline, promised=max(promised, len(placed)), damaged_ranges=damage.ranges, damage=told)


def decoded_timeline(path: Path, packets: Timeline | None = None) -> Timeline:
    """The timeline of the frames that really come out of the decoder, for files whose packets mislead.

    If only a few times are out of order, these are interpolated, and frames are known by their position.

    Args:
        path: The video file; all of it is decoded.
        packets: The timeline that the packets announced, whose damage the returned timeline has, too.

    Raises:
        VideoError: The file cannot be opened, or no frame can be decoded.
    """
    ranges, damage = (packets.damaged_ranges, packets.damage) if packets else ((), "")
    with open_video(path) as (container, stream):
        decoder = FrameDecoder(PacketSource.of_stream(container, stream), damaged_ranges=ranges)
        frames = [(frame.pts, bool(frame.key_frame)) for frame in decoder]
        if not frames:
            raise DamageError(decoder.damage or f"{path.name} holds no frame")
        count = len(frames)
        ticks = [pts for pts, _ in frames]
        keyframe = np.array([key for _, key in frames], dtype=np.bool_)
        pts = _presentation_times(ticks, container, stream)
        kept = _longest_ascent(ticks)
        if pts is not None and len(kept) == count:
            seconds = _seconds(pts, stream)
        elif len(kept) >= (1 - STRAY) * count and not _stores_decoding_times(container, stream):
            known = _seconds(np.array([ticks[i] for i in kept], dtype=np.int64), stream)
            seconds, pts = np.interp(np.arange(count), kept, known), None
            damage = _joined(damage, f"the times of {count - len(kept)} of {count} frames are out of order")
        else:
            seconds, pts = _even_seconds(count, stream), None
        return Timeline(seconds, keyframe, pts, count, rate=frame_rate(stream), damaged_ranges=ranges, damage=damage)


def _placeable(
    shown: list[PacketInfo], damage: ContainerDamage, container: InputContainer, stream: VideoStream
) -> list[PacketInfo]:
    """The packets whose times are known: where frames have no times of their own, only those before the damage."""
    counted = container.format.name in COUNTED
    ranges = [begin for begin, end in damage.ranges if counted or (shown and end > shown[0].position)]
    if not ranges:
        return shown
    placed = [packet for packet in shown if packet.position < ranges[0]]
    if counted:
        return placed
    if _presentation_times([packet.pts for packet in shown], container, stream) is not None:
        return shown
    return placed[: _first_repeated([packet.pts for packet in placed])]


def _in_display_order(shown: list[PacketInfo], pts: NDArray[np.int64] | None, stream: VideoStream) -> Timeline:
    """The timeline of packets in the order of storage, which have these times."""
    keyframe = np.array([packet.key for packet in shown], dtype=np.bool_)
    if pts is None:
        return Timeline(_even_seconds(len(shown), stream), keyframe, rate=frame_rate(stream))
    random_access = np.array([packet.random_access for packet in shown], dtype=np.bool_)
    order = np.argsort(pts)
    pts = pts[order]
    return Timeline(
        _seconds(pts, stream), keyframe[order], pts, rate=frame_rate(stream), random_access=random_access[order]
    )


def _joined(*messages: str) -> str:
    return "; ".join(filter(None, messages))


def _missing_frames(container: InputContainer, stream: VideoStream, last: float) -> int:
    """About how many frames the stated duration promises after the last frame, at `last` seconds.

    0 if no duration is stated for this very stream (audio may be longer), or if the difference is within SLACK.
    """
    duration = tagged_duration(stream)
    if not duration and len(container.streams) == 1 and container.duration:
        duration = container.duration / av.time_base
    short = duration - last
    return round(short * (stream.average_rate or FALLBACK_RATE)) if short > SLACK else 0


def _presentation_times(
    ticks: list[int | None], container: InputContainer, stream: VideoStream
) -> NDArray[np.int64] | None:
    """(n,) the times as they are, or None if they cannot be presentation times (missing, repeated, decoding times)."""
    if _stores_decoding_times(container, stream) or None in ticks or len(set(ticks)) < len(ticks):
        return None
    return np.array(ticks, dtype=np.int64)


def _stores_decoding_times(container: InputContainer, stream: VideoStream) -> bool:
    return container.format.name == "avi" and bool(stream.codec_context.has_b_frames)


def _first_repeated(ticks: Sequence[int | None]) -> int:
    """The position of the first tick that is missing or was there before; the number of ticks if there is none."""
    seen: set[int | None] = {None}
    for position, tick in enumerate(ticks):
        if tick in seen:
            return position
        seen.add(tick)
    return len(ticks)


def _longest_ascent(ticks: Sequence[int | None]) -> list[int]:
    """Positions of the longest strictly ascending subsequence (Fredman 1975); None is left out."""
    ends: list[int] = []  # the least tick that a subsequence of each length ends with
    last: list[int] = []  # and its position
    before: dict[int, int] = {}
    for position, tick in enumerate(ticks):
        if tick is None:
            continue
        length = bisect_left(ends, tick)
        before[position] = last[length - 1] if length else -1
        ends[length : length + 1], last[length : length + 1] = [tick], [position]
    positions = [last[-1]] if last else []
    while positions and before[positions[-1]] >= 0:
        positions.append(before[positions[-1]])
    return positions[::-1]


def _seconds(pts: NDArray[np.int64], stream: VideoStream) -> NDArray[np.float64]:
    base = time_base(stream)
    # One division, so one rounding: times that fall on a sampling grid do so exactly.
    return pts * base.numerator / base.denominator


def _even_seconds(n: int, stream: VideoStream) -> NDArray[np.float64]:
    rate = stream.average_rate or stream.guessed_rate or FALLBACK_RATE
    return np.arange(n) * rate.denominator / rate.numerator
