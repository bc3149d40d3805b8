"""A video file: its timeline, and the frames at chosen indices."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vfx.decoding.frame import DamageError, Frame, TimelineError
from vfx.decoding.limits import UNLIMITED, Limits
from vfx.decoding.pyav.container import demux_packets, frame_size, open_video, time_base
from vfx.decoding.pyav.frame_decoder import FrameDecoder
from vfx.decoding.pyav.packets import PacketSource, is_shown
from vfx.decoding.pyav.skip_plan import targets_of
from vfx.decoding.pyav.timeline import PacketInfo, packet_timeline
from vfx.decoding.random_access_points import RandomAccessDetector
from vfx.errors import VideoError
from vfx.sampling.timeline import Timeline
from vfx.system import heartbeat

CACHE_BYTES = 64 << 20
PACKET_OVERHEAD = 1 << 10
"""The packets of a video are kept from demuxing to decoding if they, with this overhead for each, take no more."""

INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers that know where their key frames lie, and whose packets have the same times after a seek."""

SEEK_BYTES = 1 << 20
"""What a disk reads in the time that a seek takes."""


class VideoFile:
    """A video file. If its packets are few, `demux` keeps them for the decoding that follows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: PacketSource | None = None

    def demux(self, limits: Limits = UNLIMITED, *, keep: bool = False) -> Timeline:
        """Read the times of all frames of the best video stream from its packets; nothing is decoded.

        Times are those of the container, its start time included. If they cannot be presentation times (missing,
        repeated, or an AVI with reordered frames, which stores decoding times), frame i is shown at i / frame rate and
        `pts` is None. Packets that show nothing are left out: those that an edit list hides, VP8's invisible frames,
        and what precedes the first key frame.

        Args:
            limits: What the video may ask of the machine.
            keep: Whether frames are going to be asked for.

        Raises:
            VideoError: The file cannot be opened or holds no frame.
            LimitError: The file exceeds the limits.
        """
        with open_video(self.path) as (container, stream):
            limits.check_size(self.path.name, *frame_size(self.path, stream))
            infos, empty = self._scan(container, stream, limits, keep)
            timeline = packet_timeline(self.path, container, stream, infos, empty=empty)
            limits.check_duration(self.path.name, float(timeline.seconds[-1] - timeline.seconds[0]))
            return timeline

    def _scan(
        self, container: InputContainer, stream: VideoStream, limits: Limits, keep: bool
    ) -> tuple[list[PacketInfo], int]:
        """Describe all packets that hold something, count the empty ones, and keep all if they are small."""
        decoder = stream.codec_context
        is_random_access_point = RandomAccessDetector(decoder.codec.canonical_name, decoder.extradata)
        infos: list[PacketInfo] = []
        kept: deque[av.Packet] | None = deque() if keep else None  # None once they are too many
        room = CACHE_BYTES
        empty = position = 0  # an AVI has an empty packet, and counts it, where a frame is shown for longer
        for packet in demux_packets(container, stream):
            limits.check_count(self.path.name, len(infos))
            if not packet.size:
                empty += packet.dts is not None
                continue
            position = position if packet.pos is None else packet.pos
            key, changed = packet.is_keyframe, packet.has_sidedata("new_extradata")
            random_access = is_random_access_point(memoryview(packet), packet.pts, key=key, changed=changed)
            infos.append(PacketInfo(packet.pts, is_shown(packet, decoder), key, random_access, position))
            if kept is not None:
                kept.append(packet)
                room -= packet.size + PACKET_OVERHEAD
                kept = kept if room >= 0 else None
        if kept is not None:
            self._kept = PacketSource(_emptied(kept), decoder, time_base(stream))
        return infos, empty

    def frames(self, timeline: Timeline, indices: NDArray[np.int64]) -> Iterator[Frame]:
        """Yield the frames at `indices`, and decode no more than they need.

        Damage is stepped over to the next key frame.

        Args:
            timeline: What `demux` returned.
            indices: (m,) ascending.

        Raises:
            DamageError: At the end, if frames are missing because of damage.
            TimelineError: As soon as intact frames are not where `timeline` has them.
        """
        reformatter = VideoReformatter()
        for index, frame in self._decode(timeline, indices):
            # By default it would start a thread for each core.
            pixels = np.asarray(reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray(), dtype=np.uint8)
            yield Frame(index, float(timeline.seconds[index]), _upright(pixels, frame.rotation))

    def check(self, timeline: Timeline, indices: NDArray[np.int64]) -> None:
        """Decode the frames at `indices` and raise what `frames` raises, or VideoError if the frame size changes."""
        size = None
        for _, frame in self._decode(timeline, np.union1d(0, indices)):
            if size not in (None, (frame.width, frame.height)):
                raise VideoError("the size of its pictures changes")
            size = frame.width, frame.height

    def _decode(self, timeline: Timeline, indices: NDArray[np.int64]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield the frames at `indices`, which are known by their times or, without times, by their positions."""
        by_count = timeline.pts is None
        labels = indices if timeline.pts is None else timeline.pts[indices]
        wanted: dict[int | None, int] = {int(label): int(index) for label, index in zip(labels, indices, strict=True)}
        last = -1
        for seek in (True, False):  # what a seek does not lead to may be there all the same
            with self._source(timeline, seek=seek) as source:
                targets = None if by_count else targets_of(timeline, list(wanted.values()))
                decoder = FrameDecoder(source, targets=targets, damaged_ranges=timeline.damaged_ranges)
                for position, frame in enumerate(decoder):
                    if by_count and decoder.damage:
                        break  # the number of lost frames is not known, nor is then the position of this one
                    label = position if by_count else frame.pts
                    times = None if decoder.damage or decoder.skipping else timeline.pts
                    if times is not None and (position >= len(times) or label != times[position]):
                        raise TimelineError(f"frame {position} came out with time {label}, and the packets say another")
                    if label in wanted:
                        if wanted[label] < last:
                            raise TimelineError("frames came out of the decoder in another order than their times'")
                        last = wanted.pop(label)
                        yield last, frame
                    if not wanted:
                        return
            if not decoder.sought:
                break
        if decoder.damage:
            raise DamageError(decoder.damage)
        raise TimelineError(f"{len(wanted)} of {len(indices)} frames did not come out of the decoder")

    @contextmanager
    def _source(self, timeline: Timeline, *, seek: bool) -> Iterator[PacketSource]:
        """The packets that were kept, which can be had once, else those of the file."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            yield kept
            return
        with open_video(self.path) as (container, stream):
            source = PacketSource.of_stream(container, stream)
            if seek and timeline.pts is not None and container.format.name in INDEXED:
                span = int(timeline.pts[-1] - timeline.pts[0])
                source.seek = lambda ticks: container.seek(ticks, stream=stream)
                source.seek_distance = span * SEEK_BYTES / self.path.stat().st_size
            yield source


def _emptied(kept: deque[av.Packet]) -> Iterator[av.Packet]:
    while kept:
        heartbeat.tick()
        yield kept.popleft()


def _upright(pixels: NDArray[np.uint8], rotation: int) -> NDArray[np.uint8]:
    """Turn a frame counter-clockwise by `rotation` degrees; angles other than quarter turns are left alone."""
    quarters = rotation // 90 if rotation % 90 == 0 else 0
    # Contiguous even where not turned: swscale pads the lines of odd widths.
    return np.ascontiguousarray(np.rot90(pixels, quarters))
