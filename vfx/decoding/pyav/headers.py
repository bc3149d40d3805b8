"""What a file says about its video stream, before its packets are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vfx.decoding.pyav.container import frame_rate, open_video, stated_duration
from vfx.decoding.pyav.frame_decoder import FrameDecoder, PacketSource


@dataclass(frozen=True)
class Headers:
    """What a file says about its best video stream.

    Args:
        container: FFmpeg's name of the container format.
        codec: FFmpeg's name of the codec.
        pixel_format: FFmpeg's name of the pixel format, "" if unknown.
        bits: Bits of a colour component, 0 if unknown.
        width: Pixels, as shown.
        height: Pixels, as shown.
        rotation: Degrees counter-clockwise by which frames are to be turned, from the first frame; None if no frame
            can be decoded.
        rate: Frames per second, 0 if not stated.
        seconds: Duration, 0 if not stated.
        frames: Number of frames, 0 if not stated.
        audio: Codecs of the audio streams, joined by "+".
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


def headers(path: Path) -> Headers:
    """Read the headers of a file, and decode its first frame.

    Raises:
        VideoError: The file cannot be opened.
    """
    with open_video(path) as (container, stream):
        context = stream.codec_context
        first = next(iter(FrameDecoder(PacketSource.of_stream(container, stream))), None)
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
            rate=frame_rate(stream),
            seconds=stated_duration(container, stream),
            frames=stream.frames,
            audio="+".join(a.codec_context.codec.canonical_name for a in container.streams.audio if a.codec_context),
        )
