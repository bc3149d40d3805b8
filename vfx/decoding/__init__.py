"""Decoding: from a video file to the frames that a sampler chose, by whichever backend is right about the file."""

from vfx.decoding.chunk_reader import PieceReading, remembered
from vfx.decoding.frame import Frame, SoundOnlyError
from vfx.decoding.pyav import Headers, demux, headers
from vfx.decoding.video_reader import DECODERS, Reading, can_read, check_decoder, shortfall

__all__ = [
    "DECODERS",
    "Frame",
    "Headers",
    "PieceReading",
    "Reading",
    "SoundOnlyError",
    "can_read",
    "check_decoder",
    "demux",
    "headers",
    "remembered",
    "shortfall",
]
