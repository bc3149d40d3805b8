"""Demuxes and decodes by PyAV: the timeline of every video comes from here, whichever backend decodes it."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vfx import pulse
from vfx.decoding import gif
from vfx.decoding.frame import DamageError, Frame, SoundOnlyError, TimelineError
from vfx.errors import VideoError
from vfx.limits import Limits
from vfx.timeline import Timeline

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

FALLBACK_RATE = Fraction(25)
"""Frames a second where neither packets nor container tell: PAL's rate, FFmpeg's own default."""


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
        first = next(iter(_Decoding(container, stream)), None)
        width, height = (first.width, first.height) if first else (context.width, context.height)
        if first and first.rotation % 180 == 90:
            width, height = height, width
        return Headers(
            container=container.format.name,
            codec=context.codec.canonical_name,
            pixel_format=context.pix_fmt or "",
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
    """The times of all frames of the best video stream, from its packets; nothing is decoded.

    `seconds` are those of the container, its start time kept. Where its times cannot be believed (missing, repeated,
    or an AVI with reordered frames, which stores decoding times), frame i is shown at i / frame rate and `pts` is None.
    Packets that show nothing are left out: those an edit list hides, VP8's invisible frames, and what precedes the
    first key frame. Raises VideoError if the file cannot be opened, holds no frame, or is beyond the `limits`.
    """
    with _open(path) as (container, stream):
        if limits is not None:
            limits.check_size(path.name, *_size(path, stream))
        packets: list[tuple[int | None, bool, bool]] = []
        empty = 0  # an AVI has one where a frame is shown for longer than its rate says, and counts it
        for packet in _demuxed(container, stream):
            if limits is not None:
                limits.check_count(path.name, len(packets))
            if packet.size:
                visible = not (packet.is_discard or _is_invisible(packet, stream))
                packets.append((packet.pts, packet.is_keyframe, visible))
            elif packet.dts is not None:
                empty += 1
        start = next((i for i, (_, key, _) in enumerate(packets) if key), 0)
        shown = [(ticks, key) for ticks, key, visible in packets[start:] if visible]
        if not shown:
            raise VideoError(f"{path.name} holds no frame")
        keys = np.array([key for _, key in shown], dtype=np.bool_)
        pts = _believable([ticks for ticks, _ in shown], container, stream)
        if pts is None:
            seconds = _even_seconds(len(shown), stream)
        else:
            order = np.argsort(pts)
            pts, keys = pts[order], keys[order]
            seconds = _seconds(pts, stream)
        if stream.frames:
            promised = stream.frames - empty - (len(packets) - len(shown))
        else:
            promised = len(shown) + _missing(container, stream, float(seconds[-1]))
        if limits is not None:
            limits.check_duration(path.name, float(seconds[-1] - seconds[0]))
        return Timeline(seconds, keys, pts, max(promised, len(shown)), rate=_rate(stream))


def decoded_timeline(path: Path) -> Timeline:
    """The times of the frames that really come out, from decoding them all: for files whose packets mislead.

    Raises VideoError if no frame can be decoded.
    """
    with _open(path) as (container, stream):
        decoding = _Decoding(container, stream)
        out = [(frame.pts, bool(frame.key_frame)) for frame in decoding]
        if not out:
            raise DamageError(decoding.damage or f"{path.name} holds no frame")
        keys = np.array([key for _, key in out], dtype=np.bool_)
        pts = _believable([ticks for ticks, _ in out], container, stream)
        if pts is None or np.any(np.diff(pts) <= 0):
            return Timeline(_even_seconds(len(out), stream), keys, None, len(out), rate=_rate(stream))
        return Timeline(_seconds(pts, stream), keys, pts, len(out), rate=_rate(stream))


def container_name(path: Path) -> str:
    """FFmpeg's name of the container format, such as "mov,mp4,m4a,3gp,3g2,mj2" or "mpegts"."""
    with _open(path) as (container, _):
        return container.format.name


def frames(path: Path, timeline: Timeline, indices: NDArray[np.int64]) -> Iterator[Frame]:
    """Decode in order from the start, and yield the frames at `indices` (ascending); stops after the last.

    Damage is stepped over to the next key frame. At the end DamageError says what was wrong if frames are missing
    for it; TimelineError is raised as soon as sound frames are not where `timeline` has them.
    """
    reformatter = VideoReformatter()
    for index, frame in _chosen(path, timeline, indices):
        pixels = np.asarray(reformatter.reformat(frame, format="rgb24").to_ndarray(), dtype=np.uint8)
        yield Frame(index, float(timeline.seconds[index]), _upright(pixels, frame.rotation))


def check(path: Path, timeline: Timeline, indices: NDArray[np.int64]) -> None:
    """Decode as `frames` does, and raise what it raises, also VideoError if a frame is not of the size of the first."""
    size = None
    for _, frame in _chosen(path, timeline, np.union1d(0, indices)):
        if size not in (None, (frame.width, frame.height)):
            raise VideoError("the size of its pictures changes")
        size = frame.width, frame.height


def _chosen(path: Path, timeline: Timeline, indices: NDArray[np.int64]) -> Iterator[tuple[int, av.VideoFrame]]:
    by_count = timeline.pts is None
    names = indices if timeline.pts is None else timeline.pts[indices]
    wanted: dict[int | None, int] = {int(name): int(index) for name, index in zip(names, indices, strict=True)}
    last = int(names[-1])
    with _open(path) as (container, stream):
        decoding = _Decoding(container, stream, only=None if by_count else frozenset(wanted))
        for position, frame in enumerate(decoding):
            if by_count and decoding.damage:
                break  # how many frames were lost is not known, nor is then which this one is
            name = position if by_count else frame.pts
            index = wanted.pop(name, None)
            if index is not None:
                if index != position and not (decoding.damage or decoding.skipping):
                    raise TimelineError(f"frame {position} came out where frame {index} was expected")
                yield index, frame
            if not wanted or (name is not None and name > last):
                break
    if wanted and decoding.damage:
        raise DamageError(decoding.damage)
    if wanted:
        raise TimelineError(f"{len(wanted)} of {len(indices)} frames did not come out of the decoder")


class _Decoding:
    """Iterates over the sound frames of a stream in display order; `damage` is the first error met, "" if none.

    A packet that cannot be decoded spoils those that build on it, up to the next key frame: their frames come out
    but show rubbish, and are withheld. So are frames that the decoder itself calls corrupt, GIFs' pictures that are
    not whole, and what builds on a packet of AV1 that gave no frame, for each has one.

    With `only`, the times of the frames that matter, others on which none builds are not decoded (but for AV1, whose
    decoder leaves none out). `skipping` tells that this has begun, so that frames can no longer be counted: after the
    first group, which is decoded whole.
    """

    def __init__(
        self, container: InputContainer, stream: VideoStream, *, only: frozenset[int | None] | None = None
    ) -> None:
        self.damage = ""
        self.skipping = False
        self._codec = stream.codec_context.codec.canonical_name
        self._only = only if self._codec != "av1" else None
        self._container = container
        self._stream = stream
        self._begun = False  # with the first key frame
        self._broken = False  # between a bad packet and the next key frame
        self._group: list[int | None] = []  # times of the packets sent since the last key frame
        self._spoilt: set[int | None] = set()
        self._resumed: int | None = None  # time of the key frame after the last damage
        self._due: deque[int | None] = deque()  # AV1: times of the packets whose frame has yet to come out
        stream.codec_context.thread_count = 1
        stream.codec_context.options = STRICT

    def __iter__(self) -> Iterator[av.VideoFrame]:
        try:
            for packet in _packets(self._container, self._stream):
                self._follow(packet)
                yield from self._sound(self._decode(packet))
        except MemoryError:
            raise
        except av.FFmpegError as error:
            self.damage = self.damage or _words(error)
        yield from self._sound(self._decode(None))

    def _follow(self, packet: av.Packet) -> None:
        """Take note of a packet before it is decoded."""
        if packet.is_keyframe:
            self._begun = True
            if self._broken:
                self._resumed, self._broken = packet.pts, False
            self.skipping = self._only is not None and (self.skipping or bool(self._group))
            self._group.clear()
        # Frames that are sent after a key frame but shown before it may build on what was lost (open GOP).
        leading = self._resumed is not None and packet.pts is not None and packet.pts < self._resumed
        if self._broken or leading:
            self._spoilt.add(packet.pts)
        else:
            self._group.append(packet.pts)
        if packet.is_corrupt or (self._codec == "gif" and not gif.is_whole(bytes(packet))):
            self._spoil(packet.pts, "a packet of the file is incomplete")
        if self._codec == "av1" and self._begun and not packet.is_discard:
            self._due.append(packet.pts)

    def _decode(self, packet: av.Packet | None) -> list[av.VideoFrame]:
        if self.skipping and self._only is not None and packet is not None:
            self._stream.codec_context.skip_frame = "DEFAULT" if packet.pts in self._only else "NONREF"
        try:
            return self._stream.decode(packet)
        except MemoryError:
            raise
        except av.FFmpegError as error:
            self._spoil(None if packet is None else packet.pts, _words(error))
            return []

    def _sound(self, frames: list[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for frame in frames:
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
        where = "" if pts is None else f" at {float(pts * _time_base(self._stream)):.2f} s"
        self.damage = self.damage or why + where
        if pts not in self._spoilt and pts in self._group:
            begin = self._group.index(pts)
            self._spoilt.update(self._group[begin:])
            del self._group[begin:]
            self._broken = True


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
            pulse.beat()
            yield packet


def _packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """The packets that hold something: an empty one would tell the decoder that the stream has ended."""
    return (packet for packet in _demuxed(container, stream) if packet.size)


def _is_invisible(packet: av.Packet, stream: VideoStream) -> bool:
    """Whether a packet only prepares others: VP8's first byte says so in bit 4 (RFC 6386, 9.1)."""
    return stream.codec_context.codec.canonical_name == "vp8" and not memoryview(packet)[0] >> 4 & 1


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
    reordered_avi = container.format.name == "avi" and stream.codec_context.has_b_frames
    if reordered_avi or None in ticks or len(set(ticks)) < len(ticks):
        return None
    return np.array(ticks, dtype=np.int64)


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
