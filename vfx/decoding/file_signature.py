"""Checks that a file begins as videos do, before a decoder opens it that may follow playlists.

PyAV can be told to open no other file; decord and torchcodec cannot. FFmpeg recognises playlists and scripts by the
text at the head of a file, and each version and build knows other ones: a file that begins as a playlist and goes on as
a transport stream is that stream to one, and names any file of the machine to another.
"""

from __future__ import annotations

import re
from pathlib import Path

from vfx.errors import VideoError

# How containers begin. No text begins so. Transport and program streams have no name of their own at their head, but a
# NUL soon comes there, and FFmpeg looks for words no further.
SIGNATURES = re.compile(
    rb"....(ftyp|moov|mdat|free|skip|wide|pnot|uuid)"  # MP4, MOV
    rb"|\x1aE\xdf\xa3"  # Matroska, WebM
    rb"|RIFF....AVI "
    rb"|GIF8[79]a"
    rb"|FLV\x01"
    rb"|OggS\0"
    rb"|0&\xb2u\x8ef\xcf\x11"  # ASF, WMV
    rb"|\0\0\x01"  # MPEG program and elementary streams
    rb"|G(?=[^\0]{0,14}\0).{187}G",  # MPEG transport streams
    re.DOTALL,
)
HEAD_BYTES = 189


def check_signature(path: Path) -> None:
    """Raise VideoError if a file cannot be read or does not begin as videos do."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise VideoError(f"{path.name} cannot be read: {error.strerror}") from error
    if not SIGNATURES.match(head):
        raise VideoError(f"{path.name} does not begin as a video does: PyAV alone may open it")
