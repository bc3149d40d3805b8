"""What a search looks for: a picture, or a frame, video or segment of the feature itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from vfx.analysis.rows import read_rows
from vfx.analysis.thumbnails import MIDDLE, FrameKey
from vfx.collection.collection import FRAME_FORMATS
from vfx.decoding.limits import Limits
from vfx.errors import UsageError, VideoError
from vfx.features.feature_file import FeatureFile
from vfx.pooling import functions
from vfx.retrieval.exact_search import NO_ROWS, Span


@dataclass(frozen=True)
class Query:
    """What a search looks for.

    Args:
        name: What it is called in messages.
        vector: (D,).
        own_rows: The rows of its own video, which a search leaves out unless it is asked for them.
        own_id: At frame level the id of its video, at the other levels of its row; None for a picture.
        whole_video: Whether it is a video of a feature of frame level, to be compared with the means of videos.
        key: The frame that pictures it, if it is of a video.
        picture: The picture, if it is one.
    """

    name: str
    vector: NDArray[np.floating]
    own_rows: Span = NO_ROWS
    own_id: str | None = None
    whole_video: bool = False
    key: FrameKey | None = None
    picture: Image.Image | None = None


def query_by_id(file: FeatureFile, kind: str, id: str, seconds: float | None = None) -> Query:
    """A frame, video or segment of the feature.

    Args:
        file: The feature.
        kind: "frame", "video" or "segment".
        id: Its id.
        seconds: With a video: its frame nearest to this time, in place of the whole video.

    Raises:
        UsageError: The feature has no rows of that kind.
        UnknownIdError: The feature has no such id.
    """
    if file.level != "frame":
        if kind != file.level or seconds is not None:
            raise UsageError(
                f"{file.feature} is of {file.level} level: give {file.level}=<id> or image=..., or a feature of frame"
                " level"
            )
        key = (id, MIDDLE) if kind == "video" else None
        return Query(f"{kind} {id}", mean_crop(file[id]), own_id=id, key=key)
    if kind == "segment":
        raise UsageError(f"{file.feature} is of frame level: give frame=, video= or image=")
    if kind == "frame":
        return _frame(file, id)
    return _whole_video(file, id) if seconds is None else _frame_at(file, id, seconds)


def open_image(path: Path, limits: Limits) -> Image.Image:
    """Open a picture as RGB, turned upright as its EXIF orientation says.

    Raises:
        UsageError: The file is missing, no picture, or larger than the limits allow.
    """
    try:
        with Image.open(path, formats=FRAME_FORMATS) as image:
            limits.check_size(path.name, *image.size)
            return ImageOps.exif_transpose(image).convert("RGB")
    except FileNotFoundError:
        raise UsageError(f"image ({path}) is not there; give the path of a picture") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, VideoError) as error:
        raise UsageError(
            f"image ({path}) cannot be read as a picture ({', '.join(FRAME_FORMATS)}): {error}; save it as one of these"
        ) from error


def mean_crop(row: NDArray[Any]) -> NDArray[Any]:
    """A row (D,); of ten crops kept apart, (10, D), their mean."""
    return row.mean(axis=0) if row.ndim == 2 else row


def _frame(file: FeatureFile, id: str) -> Query:
    vector = mean_crop(file[id])
    if vector.ndim != 1 or id in file.videos:
        raise UsageError(f"frame ({id}) is a video; give video={id}, or a frame of it: {id}_<index>")
    video, _, index = id.rpartition("_")
    return Query(f"frame {id}", vector, own_rows=file.span(video), own_id=video, key=(video, int(index)))


def _frame_at(file: FeatureFile, video: str, seconds: float) -> Query:
    """The frame of a video that is nearest to a time."""
    start, stop = file.span(video)
    times = read_rows(file, "seconds", np.arange(start, stop))
    if np.isnan(times).all():
        raise UsageError(f"seconds: the times of the frames of {video} are not known; give frame={video}_<index>")
    row = start + int(np.nanargmin(np.abs(times - seconds)))
    index = int(read_rows(file, "index", np.array([row]))[0])
    vector = mean_crop(file.read(row, row + 1)[0])
    return Query(f"frame {video}_{index}", vector, own_rows=(start, stop), own_id=video, key=(video, index))


def _whole_video(file: FeatureFile, video: str) -> Query:
    """A video by the mean of its frames, as it would be in `mean_<feature>`."""
    start, stop = file.span(video)
    vector = mean_crop(functions.mean(file.block_reader().blocks(start, stop), stop - start))
    key = (video, MIDDLE)
    return Query(f"video {video}", vector, own_rows=(start, stop), own_id=video, whole_video=True, key=key)
