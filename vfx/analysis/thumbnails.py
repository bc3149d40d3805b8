"""Thumbnails of a collection's frames, read from its videos or from frames that were cut before."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vfx.collection.collection import FRAME_FORMATS, FRAME_SUFFIXES, Collection, find_collection
from vfx.decoding import VideoReader
from vfx.decoding.limits import Limits
from vfx.errors import CollectionError, LimitError, VfxError
from vfx.features.reader import FeatureReader
from vfx.sampling.timeline import Timeline
from vfx.system import worker_pool

log = logging.getLogger(__name__)
FrameKey = tuple[str, int]  # video id, and index of the frame or MIDDLE
MIDDLE = -1  # in place of a frame's index: the frame in the middle of the video


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of a frame.

    Args:
        video: The id of its video.
        index: The index of the frame, or MIDDLE, as it was asked for.
        width: Pixels.
        height: Pixels.
        jpeg: The picture as a JPEG file.
    """

    video: str
    index: int
    width: int
    height: int
    jpeg: bytes


@dataclass(frozen=True)
class _Task:
    """The frames wanted of one video. `file` is the video, if it is there; `folder` may hold frames cut from it."""

    video: str
    indices: tuple[int, ...]
    file: str | None
    folder: Path


def find_collection_of(file: FeatureReader, collection: str | None, rootpath: str | Path) -> Collection | None:
    """Find the videos that a feature was extracted from.

    Args:
        file: The feature.
        collection: The name or path of the collection; None for the name that the file has for it.
        rootpath: The folder of collections.

    Returns:
        That collection; else the folder that the feature's recipe names; None if neither is there.
    """
    with contextlib.suppress(CollectionError, OSError, ValueError):  # a file may call its collection anything
        return find_collection(collection or file.attributes["collection"], rootpath)
    for folder in _collection_folders(file.provenance["recipe"]):
        if Path(folder).is_dir():
            return Collection(name=file.attributes["collection"], root=Path(folder))
    return None


def _collection_folders(recipe: Any) -> Iterator[str]:
    """The folders of collections that a recipe names, or a recipe within it."""
    if isinstance(recipe, dict):
        if isinstance(recipe.get("collection"), str):
            yield recipe["collection"]
        for value in recipe.values():
            yield from _collection_folders(value)
    elif isinstance(recipe, list):
        for value in recipe:
            yield from _collection_folders(value)


def make_thumbnails(
    collection: Collection,
    wanted: Iterable[FrameKey],
    *,
    limits: Limits,
    side: int = 192,
    quality: int = 75,
    processes: int = 1,
) -> Iterator[Thumbnail]:
    """Make thumbnails of frames. Those that cannot be read are left out.

    A frame that was cut before, `ImageData/<video>/<video>_<index>.jpg`, is read in place of the video. Videos are read
    in processes of their own: one that crashes its decoder costs its own thumbnails only.

    Args:
        collection: Where the frames are.
        wanted: The frames.
        limits: What one video may ask of the machine.
        side: The longer side of a thumbnail in pixels, at most.
        quality: Of the JPEG.
        processes: How many videos are read at once.

    Yields:
        The thumbnails as they are ready, those of a video by ascending index.
    """
    by_video: dict[str, set[int]] = {}
    for video, index in wanted:
        by_video.setdefault(video, set()).add(index)
    files: dict[str, str] = {}
    with contextlib.suppress(CollectionError, OSError):
        files = collection.video_paths(by_video)
    tasks = [
        _Task(video, tuple(sorted(indices)), files.get(video), collection.root / "ImageData" / video)
        for video, indices in sorted(by_video.items())
    ]
    items = worker_pool.run(
        [task for task in tasks if task.file or task.folder.is_dir()],
        partial(_of_video, side=side, quality=quality, limits=limits),
        processes=processes,
        patience=limits.patience,
        memory=limits.memory,
        preload=[__name__],
    )
    with contextlib.closing(items):
        for task, item in items:
            if isinstance(item, Thumbnail):
                yield item
            elif item.final:
                log.warning("no pictures of %s: %s", task.video, item.reason)


def _of_video(task: _Task, *, side: int, quality: int, limits: Limits) -> Iterator[Thumbnail]:
    missing = []
    for index in task.indices:
        image = _cut_frame(task, index, limits)
        if image is None:
            missing.append(index)
        else:
            yield _shrunk(task.video, index, image, side, quality)
    if missing and task.file:
        yield from _decoded(task, missing, side, quality, limits)


def _cut_frame(task: _Task, index: int, limits: Limits) -> Image.Image | None:
    """A frame from ImageData; None where there is none that can be read."""
    for suffix in sorted(FRAME_SUFFIXES):
        path = task.folder / f"{task.video}_{index}{suffix}"
        try:
            with Image.open(path, formats=FRAME_FORMATS) as image:
                limits.check_size(path.name, *image.size)
                return image.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, LimitError):
            continue
    return None


def _decoded(task: _Task, indices: Sequence[int], side: int, quality: int, limits: Limits) -> Iterator[Thumbnail]:
    chosen: dict[int, list[int]] = {}  # frame -> the indices, or MIDDLE, that ask for it

    def sample(timeline: Timeline) -> NDArray[np.int64]:
        chosen.clear()
        for index in indices:
            frame = len(timeline) // 2 if index == MIDDLE else index
            if frame < len(timeline):
                chosen.setdefault(frame, []).append(index)
        return np.array(sorted(chosen), np.int64)

    assert task.file is not None
    found: dict[int, Thumbnail] = {}
    with contextlib.suppress(VfxError):
        for frame in VideoReader(task.file, sample, limits=limits):
            if frame.first:  # the reader may start over with another decoder
                found.clear()
            for index in chosen[frame.index]:
                found[index] = _shrunk(task.video, index, Image.fromarray(frame.pixels), side, quality)
    yield from (found[index] for index in sorted(found))


def _shrunk(video: str, index: int, image: Image.Image, side: int, quality: int) -> Thumbnail:
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    file = BytesIO()
    image.save(file, "jpeg", quality=quality, optimize=True)
    return Thumbnail(video, index, *image.size, file.getvalue())
