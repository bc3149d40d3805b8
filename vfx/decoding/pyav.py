"""Demuxes and decodes by PyAV: the timeline of every video comes from here, whichever backend decodes it."""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vfx.decoding import gif
from vfx.decoding.container_damage import ELEMENTARY, Structure, examine
from vfx.decoding.frame import DamageError, Frame, SoundOnlyError, TimelineError
from vfx.decoding.limits import Limits
from vfx.decoding.random_access_points import Entries
from vfx.errors import VideoError
from vfx.sampling.timeline import Timeline
from vfx.system import heartbeat

# Containers that hold a video themselves. Playlists and scripts (hls, dash, concat) name further files to open, and
# FFmpeg knows them by their content: one that is called .mp4 could have any file of the machine read.
CONTAINERS = "mov,matroska,avi,gif,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,m4v,h264,hevc,ivf,mxf,nut,rm,dv"
SAFE = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}

# Where a decoder would conceal an error, it raises it: a picture made up is worse than none.
STRICT = {"err_detect": "explode"}

WORDS = {
    av.ArgumentError: "values that make no sense",
    av.EOFError: "it ends before its first frame",
    av.PatchWelcomeError: "something that FFmpeg cannot read",
    av.NotImplementedError: "something that FFmpeg cannot read",
}
"""What FFmpeg's errors mean here, by their kinds; those that are not listed speak for themselves."""

SLACK = 1.0
"""Seconds by which a header's duration may exceed the last frame's time before the file counts as cut short."""

KEYLESS = 500
"""Packets before the first key frame beyond which a stream is taken for one that has none, or marks none."""

STRAY = 0.1
"""Part of a video's frames whose times may be out of order; of more, the others' are not believed either."""

FALLBACK_RATE = Fraction(25)
"""Frames a second where neither packets nor container tell: PAL's rate, FFmpeg's own default."""

CHECKED_FRAMES = 8
"""So many come out of the decoder one after the other before any is left out: they tell whether the times are right."""

KEPT_BYTES = 64 << 20
KEPT_OVERHEAD = 1 << 10
"""The packets of a video are kept from its demux to its decoding where they, with so much for each, take no more."""

COUNTED = ("avi", *ELEMENTARY)
"""Containers in which the time of a frame is the number of those before it."""

INDEXED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")
"""Containers that know where their key frames lie, and whose packets have the same times after a seek."""

SEEK_BYTES = 1 << 20
"""What is read on a disk, near or far, in the time that going elsewhere takes."""


@dataclass(frozen=True)
class Headers:
    """What a file says of its best video stream before the packets are read.

    `container`, `codec`, `pixel_format`: FFmpeg's names; `bits` of a component. `width`, `height`: pixels, as shown.
    `rate` (frames a second), `seconds` and `frames` are 0 where the file does not state them. `audio`: the codecs of
    its sound, joined by "+". `rotation`: degrees counter-clockwise by which frames are to be turned, which the first
    frame tells; None where no frame can be decoded.
    """

    container: str
    codec: str
    pixel_format: str
    bits: int
    width: int
    height: int
    rotation: int | None
    rate: float
    seconds: float
    frames: int
    audio: str


def load() -> None:
    """PyAV is always installed."""


def headers(path: Path) -> Headers:
    """What a file says of itself; the first frame is decoded. Raises VideoError if it cannot be opened."""
    with _open(path) as (container, stream):
        context = stream.codec_context
        first = next(iter(_Decoding(_of(container, stream))), None)
        width, height = (first.width, first.height) if first else (context.width, context.height)
        if first and first.rotation % 180 == 90:
            width, height = height, width
        return Headers(
            container=container.format.name,
            codec=context.codec.canonical_name,
            pixel_format=context.format.name if context.format else "",  # pix_fmt of none would crash PyAV 17
            bits=max((part.bits for part in context.format.components), default=0) if context.format else 0,
            width=width,
            height=height,
            rotation=first.rotation % 360 if first else None,
            rate=_rate(stream),
            seconds=_stated_seconds(container, stream),
            frames=stream.frames,
            audio="+".join(a.codec_context.codec.canonical_name for a in container.streams.audio if a.codec_context),
        )


def demux(path: Path, limits: Limits | None = None) -> Timeline:
    """The timeline of a video: `Video.demux`."""
    return Video(path).demux(limits)


def frames(path: Path, timeline: Timeline, indices: NDArray[np.int64]) -> Iterator[Frame]:
    """The frames of a video: `Video.frames`."""
    return Video(path).frames(timeline, indices)


class Video:
    """A video file. What `demux` reads of it is kept, where it is not much, for the decoding that follows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._kept: _Source | None = None

    def demux(self, limits: Limits | None = None, *, keep: bool = False) -> Timeline:
        """The times of all frames of the best video stream, from its packets; nothing is decoded.

        `seconds` are those of the container, its start time kept. Where its times cannot be believed (missing,
        repeated, or an AVI with reordered frames, which stores decoding times), frame i is shown at i / frame rate and
        `pts` is None. Packets that show nothing are left out: those an edit list hides, VP8's invisible frames, and
        what precedes the first key frame. `keep`: frames are going to be asked for. Raises VideoError if the file
        cannot be opened, holds no frame, or is beyond the `limits`.
        """
        with _open(self.path) as (container, stream):
            if limits is not None:
                limits.check_size(self.path.name, *_size(self.path, stream))
            decoder = stream.codec_context
            is_entry = Entries(decoder.codec.canonical_name, decoder.extradata)
            marks: list[_Mark] = []
            kept: deque[av.Packet] | None = deque() if keep else None
            room = KEPT_BYTES
            empty = position = 0  # an AVI has one where a frame is shown for longer than its rate says, and counts it
            for packet in _demuxed(container, stream):
                if limits is not None:
                    limits.check_count(self.path.name, len(marks))
                if not packet.size:
                    empty += packet.dts is not None
                    continue
                position = position if packet.pos is None else packet.pos
                key, changed = packet.is_keyframe, packet.has_sidedata("new_extradata")
                entry = is_entry(memoryview(packet), packet.pts, key=key, changed=changed)
                marks.append(_Mark(packet.pts, _is_shown(packet, decoder), key, entry, position))
                if kept is not None:
                    kept.append(packet)
                    room -= packet.size + KEPT_OVERHEAD
                    kept = kept if room >= 0 else None
            if not any(mark.shown for mark in marks):
                raise VideoError(f"{self.path.name} holds no frame")
            structure = examine(self.path, container.format.name, stream.id)
            timeline = _timeline(marks, container, stream, structure, hidden=empty)
            if timeline is None:
                raise VideoError(f"{self.path.name} is damaged from its first frame on")
            if limits is not None:
                limits.check_duration(self.path.name, float(timeline.seconds[-1] - timeline.seconds[0]))
            if kept is not None:
                self._kept = _Source(_emptied(kept), decoder, _time_base(stream))
            return timeline

    def frames(self, timeline: Timeline, indices: NDArray[np.int64]) -> Iterator[Frame]:
        """Yield the frames at `indices` (ascending), decoding no more than they need.

        Damage is stepped over to the next key frame. At the end DamageError says what was wrong if frames are missing
        for it; TimelineError is raised as soon as sound frames are not where `timeline` has them.
        """
        reformatter = VideoReformatter()
        for index, frame in self._chosen(timeline, indices):
            # By default it would start a thread for each core.
            pixels = np.asarray(reformatter.reformat(frame, format="rgb24", threads=1).to_ndarray(), dtype=np.uint8)
            yield Frame(index, float(timeline.seconds[index]), _upright(pixels, frame.rotation))

    def check(self, timeline: Timeline, indices: NDArray[np.int64]) -> None:
        """Raise what `frames` raises, also VideoError if a frame is not of the size of the first."""
        size = None
        for _, frame in self._chosen(timeline, np.union1d(0, indices)):
            if size not in (None, (frame.width, frame.height)):
                raise VideoError("the size of its pictures changes")
            size = frame.width, frame.height

    def _chosen(self, timeline: Timeline, indices: NDArray[np.int64]) -> Iterator[tuple[int, av.VideoFrame]]:
        by_count = timeline.pts is None
        names = indices if timeline.pts is None else timeline.pts[indices]
        wanted: dict[int | None, int] = {int(name): int(index) for name, index in zip(names, indices, strict=True)}
        last = -1
        for seek in (True, False):  # what a seek does not lead to may be there all the same
            with self._source(timeline, seek=seek) as source:
                targets = None if by_count else _targets(timeline, list(wanted.values()))
                decoding = _Decoding(source, targets=targets, holes=timeline.holes)
                for position, frame in enumerate(decoding):
                    if by_count and decoding.damage:
                        break  # how many frames were lost is not known, nor is then which this one is
                    name = position if by_count else frame.pts
                    if not (by_count or decoding.damage or decoding.skipping):
                        _check_place(timeline, position, name)
                    if name in wanted:
                        if wanted[name] < last:
                            raise TimelineError("frames came out of the decoder in another order than their times'")
                        last = wanted.pop(name)
                        yield last, frame
                    if not wanted:
                        return
            if not decoding.sought:
                break
        if decoding.damage:
            raise DamageError(decoding.damage)
        raise TimelineError(f"{len(wanted)} of {len(indices)} frames did not come out of the decoder")

    @contextmanager
    def _source(self, timeline: Timeline, *, seek: bool) -> Iterator[_Source]:
        """The packets from the first on: those that were kept, which are then gone, or those of the file."""
        if self._kept is not None:
            kept, self._kept = self._kept, None
            yield kept
            return
        with _open(self.path) as (container, stream):
            source = _of(container, stream)
            if seek and timeline.pts is not None and container.format.name in INDEXED:
                span = int(timeline.pts[-1] - timeline.pts[0])
                source.far = span * SEEK_BYTES / self.path.stat().st_size
                source.seek = lambda ticks: container.seek(ticks, stream=stream)
            yield source


def decoded_timeline(path: Path, packets: Timeline | None = None) -> Timeline:
    """The times of the frames that really come out, from decoding them all: for files whose packets mislead.

    `packets`: the timeline that they gave, whose holes and flaw this one has too. Where few times are out of order,
    frames are counted, and those times are taken from the others around. Raises VideoError if no frame can be decoded.
    """
    holes, flaw = (packets.holes, packets.flaw) if packets else ((), "")
    with _open(path) as (container, stream):
        decoding = _Decoding(_of(container, stream), holes=holes)
        out = [(frame.pts, bool(frame.key_frame)) for frame in decoding]
        if not out:
            raise DamageError(decoding.damage or f"{path.name} holds no frame")
        ticks = [pts for pts, _ in out]
        keys = np.array([key for _, key in out], dtype=np.bool_)
        pts = _believable(ticks, container, stream)
        kept = _longest_ascent(ticks)
        if pts is not None and len(kept) == len(out):
            seconds = _seconds(pts, stream)
        elif len(kept) >= (1 - STRAY) * len(out) and not _stores_decoding_times(container, stream):
            known = _seconds(np.array([ticks[i] for i in kept], dtype=np.int64), stream)
            seconds, pts = np.interp(np.arange(len(out)), kept, known), None
            strays = f"the times of {len(out) - len(kept)} of {len(out)} frames are out of order"
            flaw = "; ".join(filter(None, [flaw, strays]))
        else:
            seconds, pts = _even_seconds(len(out), stream), None
        return Timeline(seconds, keys, pts, len(out), rate=_rate(stream), holes=holes, flaw=flaw)


def container_name(path: Path) -> str:
    """FFmpeg's name of the container format, such as "mov,mp4,m4a,3gp,3g2,mj2" or "mpegts"."""
    with _open(path) as (container, _):
        return container.format.name


class _Mark(NamedTuple):
    """Of a packet: its presentation time; whether it shows a frame; whether it is a key frame, and an entry; the byte
    at which it begins, or the container's packet that it came in."""

    pts: int | None
    shown: bool
    key: bool
    entry: bool
    position: int


def _timeline(
    marks: list[_Mark], container: InputContainer, stream: VideoStream, structure: Structure, *, hidden: int
) -> Timeline | None:
    """The timeline that packets show, None if nothing can be placed. `hidden`: how many others the container counts."""
    start = next((i for i, mark in enumerate(marks) if mark.key), 0)
    visible = sum(mark.shown for mark in marks)
    shown = [mark for mark in marks[start:] if mark.shown]
    promised = stream.frames - hidden - (len(marks) - visible) if stream.frames else len(shown)
    counted = container.format.name in COUNTED
    if counted and visible == promised and stream.frames:
        structure = Structure()  # there are such as lack a byte here and there, and no frame
    flaw = structure.told
    pts = _believable([mark.pts for mark in shown], container, stream)
    holes = [begin for begin, end in structure.holes if counted or (shown and end > shown[0].position)]
    if holes and (counted or pts is None):
        placed = [mark for mark in shown if mark.position < holes[0]]
        placed = placed if counted else placed[: _first_repeated([mark.pts for mark in placed])]
        if lost := len(shown) - len(placed):
            flaw += f": the {lost} frames behind cannot be placed"
        shown, pts = placed, _believable([mark.pts for mark in placed], container, stream)
    if not shown or (counted and pts is None and start):
        return None
    keys, entries = (
        np.array(marked, dtype=np.bool_) for marked in zip(*((m.key, m.entry) for m in shown), strict=True)
    )
    if pts is None:
        seconds = _even_seconds(len(shown), stream)
    else:
        order = np.argsort(pts)
        pts, keys, entries = pts[order], keys[order], entries[order]
        seconds = _seconds(pts, stream)
    if not stream.frames:
        promised += _missing(container, stream, float(seconds[-1]))
    if len(shown) >= promised and structure.lacking:
        flaw = "; ".join(filter(None, [flaw, f"file ends {structure.lacking} bytes early"]))
    return Timeline(
        seconds,
        keys,
        pts,
        max(promised, len(shown)),
        rate=_rate(stream),
        entry=None if pts is None else entries,
        holes=structure.holes,
        flaw=flaw,
    )


def _targets(timeline: Timeline, indices: list[int]) -> list[tuple[float, int]]:
    """For each frame the time of the entry that leads to it, -inf where that is the beginning; and its own time."""
    assert timeline.pts is not None
    entries = np.flatnonzero(timeline.entry) if timeline.entry is not None else np.zeros(0, np.int64)
    before = np.searchsorted(entries, indices, side="right") - 1
    times = [float(-math.inf), *timeline.pts[entries].tolist()]
    return [(times[i + 1], int(timeline.pts[index])) for i, index in zip(before, indices, strict=True)]


def _check_place(timeline: Timeline, position: int, pts: int | None) -> None:
    """Raise TimelineError unless the frame that came out at this position is the one that is expected there."""
    assert timeline.pts is not None
    if position >= len(timeline) or pts != timeline.pts[position]:
        raise TimelineError(f"frame {position} came out with time {pts}, and the packets say another")


@dataclass
class _Source:
    """The packets of a stream that hold something, in the order of storage; what decodes them; and a tick of their
    times, in seconds. `seek` leads to the packet of a key frame, by its time; beyond `far` ticks this reads less."""

    packets: Iterator[av.Packet]
    decoder: VideoCodecContext
    time_base: Fraction
    far: float = math.inf
    seek: Callable[[int], None] | None = None


def _of(container: InputContainer, stream: VideoStream) -> _Source:
    packets = (packet for packet in _demuxed(container, stream) if packet.size)  # an empty one would end the decoding
    return _Source(packets, stream.codec_context, _time_base(stream))


def _emptied(kept: deque[av.Packet]) -> Iterator[av.Packet]:
    while kept:
        heartbeat.tick()
        yield kept.popleft()


class _Decoding:
    """Iterates over the sound frames of a stream in display order; `damage` is the first error met, "" if none.

    A packet that cannot be decoded spoils those that build on it, up to the next key frame: their frames come out
    but show rubbish, and are withheld. So are frames that the decoder itself calls corrupt, GIFs' pictures that are
    not whole, what builds on a packet of AV1 that gave no frame, for each has one, and what begins in one of the
    `holes` of the file, see `structure`.

    With `targets`, see `_targets`, the frames that matter are decoded and what leads to them: not what lies between the
    last of them and the entry to the next, and nothing on which none builds (but for AV1, whose decoder leaves none
    out). `skipping` tells that this has begun, so that frames can no longer be counted; `sought`, that packets were
    passed over unread.
    """

    def __init__(
        self,
        source: _Source,
        *,
        targets: list[tuple[float, int]] | None = None,
        holes: Sequence[tuple[int, int]] = (),
    ) -> None:
        self.damage = ""
        self.skipping = False
        self.sought = False
        self._source = source
        self._codec = source.decoder.codec.canonical_name
        self._holes = deque(holes)
        self._targets = None if targets is None else deque(targets)
        self._unsent = {pts for _, pts in targets or ()}
        self._latest = -math.inf  # time sent
        self._entry: float | None = None  # at which decoding is to go on, inf if it need not
        self._resting = False  # from the last packet that was sent to that entry
        self._leading: int | None = None  # packets with times before this build on what was passed over
        self._count = 0  # of frames that came out
        self._begun = False  # with the first key frame
        self._broken = False  # between a bad packet and the next key frame
        self._group: list[int | None] = []  # times of the packets sent since the last key frame
        self._spoilt: set[int | None] = set()
        self._resumed: int | None = None  # time of the key frame after the last damage
        self._due: deque[int | None] = deque()  # AV1: times of the packets whose frame has yet to come out
        source.decoder.thread_count = 1
        source.decoder.options = STRICT

    def __iter__(self) -> Iterator[av.VideoFrame]:
        try:
            for packet in _from_key(self._source.packets):
                if not self._has_arrived(packet):
                    if not self._resting:
                        yield from self._rest()
                elif not self._is_leading(packet):
                    self._follow(packet)
                    yield from self._sound(self._decode(packet))
                    self._aim(packet)
                    if self._entry == math.inf:
                        self.skipping = True
                        break
        except MemoryError:
            raise
        except av.FFmpegError as error:
            self.damage = self.damage or _words(error)
        yield from self._drain()

    def _has_arrived(self, packet: av.Packet) -> bool:
        """Whether the entry at which decoding is to go on has been reached."""
        if self._entry is not None:
            if packet.pts != self._entry or not packet.is_keyframe or not _is_shown(packet, self._source.decoder):
                return False
            self._leading = packet.pts if self._resting else None
            self._entry, self._resting = None, False
        return True

    def _is_leading(self, packet: av.Packet) -> bool:
        """Whether a packet builds on what was passed over: sent right behind an entry and shown before it."""
        if self._leading is not None and packet.pts is not None:
            if packet.pts < self._leading:
                return True
            if packet.pts > self._leading:
                self._leading = None
        return False

    def _aim(self, packet: av.Packet) -> None:
        """Find out where to go on after this packet has been sent: just behind it, at an entry, or nowhere."""
        if self._targets is None:
            return
        if packet.pts is not None and _is_shown(packet, self._source.decoder):
            self._latest = max(self._latest, packet.pts)
            self._unsent.discard(packet.pts)
        while self._targets and self._targets[0][1] not in self._unsent:
            self._targets.popleft()
        entry = self._targets[0][0] if self._targets else math.inf
        if entry > self._latest and self._count >= CHECKED_FRAMES:
            self._entry = entry

    def _rest(self) -> Iterator[av.VideoFrame]:
        """Have the decoder hand out what it holds, and pass over what comes before the entry."""
        assert self._entry is not None
        self.skipping = self._resting = True
        yield from self._drain()
        self._source.decoder.flush_buffers()
        self._group.clear()
        self._broken, self._resumed = False, None
        if self._source.seek is not None and self._entry - self._latest > self._source.far:
            self.sought = True
            self._source.seek(int(self._entry))

    def _drain(self) -> Iterator[av.VideoFrame]:
        yield from self._sound(self._decode(None))
        while self._due:
            self._spoil(self._due.popleft(), "a packet gave no frame")

    def _follow(self, packet: av.Packet) -> None:
        """Take note of a packet before it is decoded."""
        torn = self._pass_holes(packet)
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
            self._spoil(packet.pts, "the file is damaged")
        if packet.is_corrupt or (self._codec == "gif" and not gif.is_whole(bytes(packet))):
            self._spoil(packet.pts, "a packet of the file is incomplete")
        if self._codec == "av1" and self._begun and not packet.is_discard:
            self._due.append(packet.pts)

    def _pass_holes(self, packet: av.Packet) -> bool:
        """Give up what builds on packets that are lost before this one. Returns whether it begins in a hole itself."""
        while self._holes and packet.pos is not None and packet.pos >= self._holes[0][0]:
            inside = packet.pos < self._holes[0][1]
            if inside or self._begun:
                self._broken = True
                self.damage = self.damage or "the file is damaged" + self._at(packet.pts)
            if inside:
                return True
            self._holes.popleft()
        return False

    def _decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        decoder = self._source.decoder
        if packet is not None and self._targets is not None and self._codec != "av1":
            skip = packet.pts not in self._unsent and self._count >= CHECKED_FRAMES
            decoder.skip_frame = "NONREF" if skip else "DEFAULT"
            self.skipping |= skip
        try:
            return decoder.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError as error:
            self._spoil(None if packet is None else packet.pts, _words(error))
            return []

    def _sound(self, frames: list[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for frame in frames:
            self._count += 1
            self._miss(frame.pts)
            if frame.is_corrupt:
                self._spoil(frame.pts, "the decoder found a frame corrupt")
            elif frame.pts not in self._spoilt:
                yield frame

    def _miss(self, pts: int | None) -> None:
        """Give up what builds on the packets before that of `pts` of which no frame came: dav1d may say nothing."""
        if pts in self._due:
            while (lost := self._due.popleft()) != pts:
                self._spoil(lost, "a packet gave no frame")

    def _spoil(self, pts: int | None, why: str) -> None:
        """Give up the packet of this time and those sent after it, until a key frame is sent."""
        self.damage = self.damage or why + self._at(pts)
        if pts not in self._spoilt and pts in self._group:
            begin = self._group.index(pts)
            self._spoilt.update(self._group[begin:])
            del self._group[begin:]
            self._broken = True

    def _at(self, pts: int | None) -> str:
        return "" if pts is None else f" at {float(pts * self._source.time_base):.2f} s"


@contextmanager
def _open(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The container and its best video stream. Raises VideoError for whatever goes wrong inside, but MemoryError."""
    if path.exists() and not path.is_file():
        raise VideoError(f"{path.name} is not a file")  # to open a pipe would be to wait for its writer
    if path.is_file() and path.stat().st_size == 0:
        raise VideoError(f"{path.name} is empty (0 bytes)")
    try:
        # An absolute path: FFmpeg takes what stands before a colon for a protocol.
        with av.open(str(path.absolute()), options=SAFE, metadata_errors="replace") as container:
            videos = [s for s in container.streams.video if not _is_cover(s)]
            if not videos:
                kind = SoundOnlyError if container.streams.audio else VideoError
                raise kind(f"{path.name} has no video stream")
            best = container.streams.best("video")
            stream = best if best in videos else videos[0]
            if stream.codec_context is None:
                raise VideoError(f"{path.name} is of a codec that FFmpeg does not know")
            for other in container.streams:
                if other is not stream:
                    other.discard = av.stream.Discard.all
            yield container, stream
    except MemoryError:
        raise
    except av.ArgumentError as error:
        raise VideoError(f"{path.name} cannot be read as a video: its content is of another format") from error
    except av.FFmpegError as error:
        raise VideoError(f"{path.name} cannot be read as a video: {_words(error)}") from error


def _words(error: av.FFmpegError) -> str:
    """What FFmpeg says, in words for those who have the file where its own are for programmers."""
    return next((words for kind, words in WORDS.items() if isinstance(error, kind)), str(error.strerror))


def _size(path: Path, stream: VideoStream) -> tuple[int, int]:
    """Width and height, also where they are more than FFmpeg can hold: it takes them for 0 then, and logs them."""
    context = stream.codec_context
    if context.width and context.height:
        return context.width, context.height
    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    with av.logging.Capture() as messages:
        av.logging.set_level(av.logging.ERROR)
        av.logging.set_skip_repeated(False)
        try:
            av.open(str(path.absolute()), options=SAFE, metadata_errors="replace").close()
        finally:
            av.logging.set_level(level)
            av.logging.set_skip_repeated(skips)
    sizes = re.findall(r"Picture size (\d+)x(\d+) is invalid", "".join(text for _, _, text in messages))
    return (int(sizes[-1][0]), int(sizes[-1][1])) if sizes else (0, 0)


def _is_cover(stream: VideoStream) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def _demuxed(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """The packets of a stream, empty ones too, with a sign of life for each."""
    # At its end PyAV looks for every stream, and finds none that began in mid-file (sound in FLV, programs in MPEG-TS).
    with suppress(IndexError):
        for packet in container.demux(stream):
            heartbeat.tick()
            yield packet


def _from_key(packets: Iterator[av.Packet]) -> Iterator[av.Packet]:
    """Those from the first key frame on, before which some decoders make up frames; all if it is long in coming."""
    waiting: list[av.Packet] = []
    for packet in packets:
        if packet.is_keyframe:
            yield packet
            break
        waiting.append(packet)
        if len(waiting) > KEYLESS:
            yield from waiting
            break
    else:
        yield from waiting
    yield from packets


def _is_shown(packet: av.Packet, decoder: VideoCodecContext) -> bool:
    """False of what an edit list hides, and of what only prepares others in VP8 (RFC 6386, 9.1: bit 4)."""
    return not packet.is_discard and (decoder.codec.canonical_name != "vp8" or bool(memoryview(packet)[0] >> 4 & 1))


def _missing(container: InputContainer, stream: VideoStream, last: float) -> int:
    """About how many frames a header that states a duration promises after the last one, shown at `last` seconds.

    0 if it states none for this very stream (audio may be longer), or if the difference is below SLACK.
    """
    duration = _tagged_seconds(stream)
    if not duration and len(container.streams) == 1 and container.duration:
        duration = container.duration / av.time_base
    short = duration - last
    return round(short * (stream.average_rate or FALLBACK_RATE)) if short > SLACK else 0


def _tagged_seconds(stream: VideoStream) -> float:
    """The duration in the tag that FFmpeg and mkvmerge give a stream in Matroska, 0 without one."""
    tag = re.match(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    hours, minutes, seconds = map(float, tag.groups()) if tag else (0.0, 0.0, 0.0)
    return hours * 3600 + minutes * 60 + seconds


def _stated_seconds(container: InputContainer, stream: VideoStream) -> float:
    """The stream's duration as the file states it, else that of the whole file, else 0."""
    if stream.duration:
        return float(stream.duration * _time_base(stream))
    return _tagged_seconds(stream) or (container.duration or 0) / av.time_base


def _believable(ticks: list[int | None], container: InputContainer, stream: VideoStream) -> NDArray[np.int64] | None:
    """(n,) the times as they are, or None where they cannot be those of presentation."""
    if _stores_decoding_times(container, stream) or None in ticks or len(set(ticks)) < len(ticks):
        return None
    return np.array(ticks, dtype=np.int64)


def _stores_decoding_times(container: InputContainer, stream: VideoStream) -> bool:
    return container.format.name == "avi" and bool(stream.codec_context.has_b_frames)


def _first_repeated(ticks: Sequence[int | None]) -> int:
    """Where the first stands that is missing or was there before; their number if none is."""
    seen: set[int | None] = {None}
    for position, tick in enumerate(ticks):
        if tick in seen:
            return position
        seen.add(tick)
    return len(ticks)


def _longest_ascent(ticks: Sequence[int | None]) -> list[int]:
    """Positions of as many of these as possible that ascend strictly (Fredman 1975); None are left out."""
    ends: list[int] = []  # the least tick that ascents of each length end with
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
    base = _time_base(stream)
    # One division, so one rounding: times that fall on a sampling grid do so exactly.
    return pts * base.numerator / base.denominator


def _time_base(stream: VideoStream) -> Fraction:
    return stream.time_base or Fraction(1, av.time_base)


def _rate(stream: VideoStream) -> float:
    """Frames a second as the container states them, 0 if it does not; also what OpenCV 3 and 4 gave the lineage."""
    return float(stream.average_rate or stream.guessed_rate or 0)


def _even_seconds(n: int, stream: VideoStream) -> NDArray[np.float64]:
    rate = stream.average_rate or stream.guessed_rate or FALLBACK_RATE
    return np.arange(n) * rate.denominator / rate.numerator


def _upright(pixels: NDArray[np.uint8], rotation: int) -> NDArray[np.uint8]:
    """Turn a frame counter-clockwise by `rotation` degrees; angles other than quarter turns are left alone."""
    quarters = rotation // 90 if rotation % 90 == 0 else 0
    # Contiguous even where not turned: swscale pads the lines of odd widths.
    return np.ascontiguousarray(np.rot90(pixels, quarters))
