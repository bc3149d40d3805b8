"""Decoding: from a video file to the frames that a sampler chose, by whichever backend is right about the file."""

from vfx.decoding.frame import Frame
from vfx.decoding.pyav import demux
from vfx.decoding.reading import DECODERS, Reading, check_decoder

__all__ = ["DECODERS", "Frame", "Reading", "check_decoder", "demux"]
