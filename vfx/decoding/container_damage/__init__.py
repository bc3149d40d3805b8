"""Finds where the structure of a container is damaged, or ends early.

FFmpeg reads on at the next place that it recognises, without a word, and its decoders build what follows on what came
before. Only that part of a container is read which leads from one packet to the next.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from vfx.decoding.container_damage import asf, avi, elementary, flv, matroska, mp4, mpeg_ps, mpeg_ts
from vfx.decoding.container_damage.walk import ContainerDamage, FileBytes
from vfx.errors import VideoError

__all__ = ["ELEMENTARY", "ContainerDamage", "find_damage"]

ELEMENTARY = ("mpegvideo", "m4v", "h264", "hevc")
"""FFmpeg's names of streams without a container."""

FINDERS: dict[str, Callable[[FileBytes], ContainerDamage]] = {
    "matroska,webm": matroska.find_damage,
    "flv": flv.find_damage,
    "mpeg": mpeg_ps.find_damage,
    "avi": avi.find_damage,
    "mov,mp4,m4a,3gp,3g2,mj2": mp4.find_damage,
    "asf": asf.find_damage,
    **dict.fromkeys(ELEMENTARY, elementary.find_damage),
}


def find_damage(path: Path, container: str, stream_id: int) -> ContainerDamage:
    """Find the damage of a file.

    Args:
        path: The file.
        container: FFmpeg's name of its format. Of formats that are not known here no damage is found.
        stream_id: FFmpeg's id of the video stream; in MPEG-TS, packets of other streams do not count.

    Raises:
        VideoError: The file cannot be read.
    """
    try:
        with path.open("rb", buffering=0) as opened:  # little is read here and there
            file = FileBytes(opened)
            if container == "mpegts":
                return mpeg_ts.find_damage(file, stream_id)
            return FINDERS[container](file) if container in FINDERS else ContainerDamage()
    except OSError as error:
        raise VideoError(f"{path.name} cannot be read: {error.strerror}") from error
