"""Opens containers safely and reads what they say about their best video stream."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from vfx.decoding.frame import AudioOnlyError
from vfx.errors import VideoError
from vfx.system import heartbeat

# Containers that hold a video themselves. Playlists and scripts (hls, dash, concat) name further files to open, and
# FFmpeg recognises them by their content: one that is called .mp4 could make it read any file of the machine.
CONTAINERS = "mov,matroska,avi,gif,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,m4v,h264,hevc,ivf,mxf,nut,rm,dv"
SAFE = {"protocol_whitelist": "file", "format_whitelist": CONTAINERS}

ERRORS = {
    av.ArgumentError: "values that make no sense",
    av.EOFError: "it ends before its first frame",
    av.PatchWelcomeError: "something that FFmpeg cannot read",
    av.NotImplementedError: "something that FFmpeg cannot read",
}
"""Messages for those of FFmpeg's errors whose own messages mean nothing to users."""

FALLBACK_RATE = Fraction(25)
"""Frames per second if neither packets nor container tell: PAL's rate, and FFmpeg's own default."""


@contextmanager
def open_video(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a file and choose its best video stream; the packets of all other streams are discarded.

    Raises:
        VideoError: The file cannot be opened, or FFmpeg fails while the context is open (but for a lack of memory).
        AudioOnlyError: The file has audio and no video.
    """
    if path.exists() and not path.is_file():
        raise VideoError(f"{path.name} is not a file")  # opening a pipe would wait for its writer
    if path.is_file() and path.stat().st_size == 0:
        raise VideoError(f"{path.name} is empty (0 bytes)")
    try:
        # An absolute path: FFmpeg takes what stands before a colon for a protocol.
        with av.open(str(path.absolute()), options=SAFE, metadata_errors="replace") as container:
            stream = _best_stream(container, path.name)
            for other in container.streams:
                if other is not stream:
                    other.discard = av.stream.Discard.all
            yield container, stream
    except MemoryError:
        raise
    except av.ArgumentError as error:
        raise VideoError(f"{path.name} cannot be read as a video: its content is of another format") from error
    except av.FFmpegError as error:
        raise VideoError(f"{path.name} cannot be read as a video: {describe(error)}") from error


def _best_stream(container: InputContainer, name: str) -> VideoStream:
    videos = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
    if not videos:
        kind = AudioOnlyError if container.streams.audio else VideoError
        raise kind(f"{name} has no video stream")
    best = container.streams.best("video")
    stream = best if best in videos else videos[0]
    if stream.codec_context is None:
        raise VideoError(f"{name} is of a codec that FFmpeg does not know")
    return stream


def describe(error: av.FFmpegError) -> str:
    """What an error of FFmpeg means, in words for users."""
    return next((words for kind, words in ERRORS.items() if isinstance(error, kind)), str(error.strerror))


def demux_packets(container: InputContainer, stream: VideoStream) -> Iterator[av.Packet]:
    """Yield the packets of a stream in the order of storage, empty ones too, with a heartbeat for each."""
    # At its end PyAV looks for every stream, and finds none that began in mid-file (audio in FLV, programs in MPEG-TS).
    with suppress(IndexError):
        for packet in container.demux(stream):
            heartbeat.tick()
            yield packet


def container_name(path: Path) -> str:
    """FFmpeg's name of the container format, such as "mov,mp4,m4a,3gp,3g2,mj2" or "mpegts"."""
    with open_video(path) as (container, _):
        return container.format.name


def frame_size(path: Path, stream: VideoStream) -> tuple[int, int]:
    """Width and height, also where they exceed what FFmpeg can hold: it sets them to 0 then, and logs them."""
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


def time_base(stream: VideoStream) -> Fraction:
    """Seconds per tick of the stream's times."""
    return stream.time_base or Fraction(1, av.time_base)


def frame_rate(stream: VideoStream) -> float:
    """Frames per second as the container states them, 0 if it does not; what OpenCV 3 and 4 gave video-cnn-feat."""
    return float(stream.average_rate or stream.guessed_rate or 0)


def stated_duration(container: InputContainer, stream: VideoStream) -> float:
    """Seconds that the file states for the stream, else for the whole file, else 0."""
    if stream.duration:
        return float(stream.duration * time_base(stream))
    return tagged_duration(stream) or (container.duration or 0) / av.time_base


def tagged_duration(stream: VideoStream) -> float:
    """Seconds in the tag that FFmpeg and mkvmerge give a stream in Matroska, 0 without one."""
    tag = re.match(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    hours, minutes, seconds = map(float, tag.groups()) if tag else (0.0, 0.0, 0.0)
    return hours * 3600 + minutes * 60 + seconds
