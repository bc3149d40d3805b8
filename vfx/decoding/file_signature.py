"""Which files may be given to decoders that cannot be told to open no other file, as PyAV can.

FFmpeg knows playlists and scripts by the text at the head of a file, each version and build other ones. A file that is
a playlist and then goes on as a transport stream is that stream to one and names any file of the machine to another.
"""

from __future__ import annotations

import re
from pathlib import Path

from vfx.errors import VideoError

# How containers begin. None of it begins a text, and where the container is told by less than a name of its own
# (transport and program streams), a NUL soon ends what could be one: FFmpeg looks for words no further.
BINARY = re.compile(
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


def check_head(path: Path) -> None:
    """Raise VideoError for a file that does not begin as videos do."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise VideoError(f"{path.name} cannot be read: {error.strerror}") from error
    if not BINARY.match(head):
        raise VideoError(f"{path.name} does not begin as a video does: PyAV alone may open it")
