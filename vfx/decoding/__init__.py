"""Decoding: from a video file to the frames that a sampler chose, with whichever backend is right about the file."""

from vfx.decoding.chunk_reader import ChunkReader, cached_timeline
from vfx.decoding.frame import AudioOnlyError, Frame
from vfx.decoding.pyav import Headers, demux, headers
from vfx.decoding.video_reader import DECODERS, VideoReader, can_read, check_decoder, shortfall

__all__ = [
    "DECODERS",
    "AudioOnlyError",
    "ChunkReader",
    "Frame",
    "Headers",
    "VideoReader",
    "cached_timeline",
    "can_read",
    "check_decoder",
    "demux",
    "headers",
    "shortfall",
]
