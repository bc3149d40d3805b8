"""What became of a video that was cut, and the record of it in the folder of its frames."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vfx.collection.source import VideoSource
from vfx.cutting.frame_folder import RECORD, frame_indices
from vfx.errors import OutputError

FileIdentity = dict[str, int] | None  # what tells a file from another of its name


@dataclass(frozen=True)
class Cut:
    """What became of one video.

    Args:
        id: of the video.
        rate: its frames a second, 0 if the container states none.
        frames: all that it has; 0 if it could not be opened, as are `width` and `height`.
        width: in pixels, as shown.
        height: in pixels, as shown.
        cut: how many frames were written.
        decoder: the backends that delivered, see `decoding.VideoReader`.
        stage: "" if all went well, else `open`, `decode` or `write`.
        problem: a sentence that says what went wrong, "" if nothing.
    """

    id: str
    rate: float = 0.0
    frames: int = 0
    width: int = 0
    height: int = 0
    cut: int = 0
    decoder: str = ""
    stage: str = ""
    problem: str = ""


@dataclass(frozen=True)
class EarlierCut:
    """What was cut of a video before.

    Args:
        cut: None if the frames are not vfx's.
        recipe: how they were cut, {} if not by vfx.
        replaced: whether the video is another file now than the one that was cut.
    """

    cut: Cut | None
    recipe: Mapping[str, Any]
    replaced: bool = False


def file_identity(source: VideoSource) -> FileIdentity:
    """Size and time of a video file; None where they are not to be had."""
    try:
        status = Path(source.path).stat()
    except OSError:
        return None
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def write_record(folder: Path, cut: Cut, recipe: Mapping[str, Any], video: FileIdentity) -> None:
    """Write the record of a video into the folder of its frames.

    Args:
        folder: of the frames.
        cut: what became of the video.
        recipe: how it was cut.
        video: the file's identity before it was opened.
    """
    (folder / RECORD).write_text(json.dumps({"recipe": recipe, "video": video, **asdict(cut)}))


def read_record(images: Path, source: VideoSource) -> EarlierCut | None:
    """What was cut of a video before; None if nothing was, or if frames are missing since.

    Raises:
        OutputError: The record in the folder is not one.
    """
    folder = images / source.id
    try:
        text = (folder / RECORD).read_text()
    except OSError:
        return EarlierCut(None, {}) if folder.is_dir() and frame_indices(folder, source.id) else None
    try:
        record = json.loads(text)
        cut = Cut(**{k: v for k, v in record.items() if k not in ("recipe", "video")})
        if len(frame_indices(folder, source.id)) < cut.cut:
            return None
        before, now = record.get("video"), file_identity(source)
        return EarlierCut(cut, record["recipe"], replaced=None not in (before, now) and before != now)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise OutputError(
            f"{folder / RECORD} is not a record of vfx ({error!r}); remove the folder or give overwrite=true"
        ) from error


def first_recipe(folders: Iterable[Path]) -> dict[str, Any] | None:
    """The recipe of the first of these folders that vfx cut; None where it cut none."""
    for folder in folders:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            return dict(json.loads((folder / RECORD).read_text())["recipe"])
    return None
