"""The folder of a video's frames in `ImageData`.

<images>/<video id>/<video id>_<index>.jpg     the frames
<images>/<video id>/.vfx.json                  how they were cut, and of what; without it vfx has not cut them
<images>/.<video id>.<random>.tmp/             a folder in the making, or what a killed run left of it
"""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path

from vfx.collection.collection import FRAME_SUFFIXES
from vfx.collection.ids import split_frame_id
from vfx.system.files import sync, sync_all

RECORD = ".vfx.json"
TEMPORARY = re.compile(r"\.(?P<id>.+)\.[0-9a-f]{8}\.tmp")


def frame_indices(folder: Path, id: str) -> dict[int, str]:
    """The frames of a video in its folder, index -> file name, ascending; files with other names are left out."""
    return dict(sorted(_frames(folder, id)))


def temporary_folder(images: Path, id: str) -> Path:
    """A new name for a video's folder in the making."""
    return images / f".{id}.{uuid.uuid4().hex[:8]}.tmp"


def publish(temporary: Path, final: Path, id: str) -> None:
    """Give a finished folder its final name, so that no crash can leave the name without the content.

    Frames that were cut before are replaced; other files in the final folder stay.
    """
    sync_all(temporary)
    if final.is_dir():
        remove(final, id)
    if final.is_dir():  # it holds something of the user's
        for path in final.iterdir():
            path.rename(temporary / path.name)
    temporary.rename(final)
    sync(final.parent)


def remove(folder: Path, id: str) -> bool:
    """Remove a video's frames and their record, and the folder if nothing else is in it; return whether it is gone."""
    for _, name in _frames(folder, id):
        (folder / name).unlink()
    (folder / RECORD).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty
        folder.rmdir()
    return not folder.exists()


def remove_leftovers(images: Path) -> list[Path]:
    """Remove what killed runs left; return the folders that stay because they hold files that are not vfx's."""
    matches = [(entry, TEMPORARY.fullmatch(entry.name)) for entry in images.iterdir()]
    return [entry for entry, match in matches if match and not remove(entry, match["id"])]


def _frames(folder: Path, id: str) -> Iterator[tuple[int, str]]:
    for name in os.listdir(folder):  # noqa: PTH208  (millions of frames: no Path for each)
        stem, suffix = os.path.splitext(name)  # noqa: PTH122
        if suffix.lower() in FRAME_SUFFIXES:
            with contextlib.suppress(ValueError):
                video, index = split_frame_id(stem)
                if video == id:
                    yield index, name
