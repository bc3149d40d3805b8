"""Ids of videos and frames: which ids can be stored, and how a frame's id is made up."""

from __future__ import annotations

import re

FORBIDDEN = re.compile(r"[\s/\x00-\x1f\x7f-\x9f]")  # white space, slash and control characters
MAX_ID_BYTES = 1000  # names of files end at 255 bytes, but ids also come from lists, which have no limit


def is_storable(id: str) -> bool:
    """Whether a video, a frame or a segment may have this id.

    Feature files store ids, exports name files by them, terminals print them, and readers of lists split at white
    space.
    """
    try:
        size = len(id.encode())
    except UnicodeEncodeError:
        return False
    return id not in ("", ".", "..") and size <= MAX_ID_BYTES and not FORBIDDEN.search(id)


def split_frame_id(frame_id: str) -> tuple[str, int]:
    """Split `<video id>_<frame index>` at the last underscore, as video-cnn-feat does.

    Returns:
        The video id and the frame index.

    Raises:
        ValueError: The id does not have that form.
    """
    video, _, index = frame_id.rpartition("_")
    if not video or not index.isdecimal():
        raise ValueError(f"frame id {frame_id} is not <video id>_<frame index>")
    return video, int(index)
