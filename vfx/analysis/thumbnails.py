"""Small pictures of a collection's frames, for people to look at: from its videos, or from frames that were cut."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Container, Iterable, Iterator, Sequence
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
from vfx.features.feature_file import FeatureFile
from vfx.sampling.timeline import Timeline
from vfx.system import worker_pool

log = logging.getLogger(__name__)
MIDDLE = -1  # instead of a frame's index: the one in the middle of the video


@dataclass(frozen=True)
class Picture:
    """A frame of a video, shrunk. `index`: as it was asked for. `jpeg`: a whole JPEG file, (width, height) pixels."""

    video: str
    index: int
    width: int
    height: int
    jpeg: bytes


@dataclass(frozen=True)
class _Task:
    """What is wanted of one video: `file` is the video, None if there is none; `folder` may hold frames of it."""

    video: str
    indices: tuple[int, ...]
    file: str | None
    folder: Path


def collection_of(file: FeatureFile, collection: str | None, rootpath: str | Path) -> Collection | None:
    """Where the videos of a feature are: a collection's name or path as it is given (None: the feature's own name for
    it), else where the feature's recipe says that they were when it was made. None where they are gone, or the recipe
    does not tell.
    """
    with contextlib.suppress(CollectionError, OSError, ValueError):  # a file may call its collection anything
        return find_collection(collection or file.attributes["collection"], rootpath)
    for place in _roots(file.provenance["recipe"]):
        if Path(place).is_dir():
            return Collection(name=file.attributes["collection"], root=Path(place))
    return None


def _roots(recipe: Any) -> Iterator[str]:
    """The folders of collections that a recipe, or a recipe within it, names."""
    if isinstance(recipe, dict):
        if isinstance(recipe.get("collection"), str):
            yield recipe["collection"]
        for value in recipe.values():
            yield from _roots(value)
    elif isinstance(recipe, list):
        for value in recipe:
            yield from _roots(value)


def draw(
    collection: Collection,
    wanted: Iterable[tuple[str, int]],
    *,
    limits: Limits,
    side: int = 192,
    quality: int = 75,
    processes: int = 1,
) -> Iterator[Picture]:
    """Pictures of frames `(video, index)`, at most `side` pixels long, as they are ready, a video's ascending.

    An index of MIDDLE asks for the frame in the middle. Frames cut before, `ImageData/<video>/<video>_<index>.jpg`, are
    read rather than the video; those that cannot be had do not come. Videos are read in processes of their own, so that
    one that brings its decoder down costs its own pictures.
    """
    by_video: dict[str, set[int]] = {}
    for video, index in wanted:
        by_video.setdefault(video, set()).add(index)
    files = _video_files(collection, by_video)
    tasks = [
        _Task(video, tuple(sorted(indices)), files.get(video), collection.root / "ImageData" / video)
        for video, indices in sorted(by_video.items())
    ]
    drawn = worker_pool.run(
        [task for task in tasks if task.file or task.folder.is_dir()],
        partial(_draw, side=side, quality=quality, limits=limits),
        processes=processes,
        patience=limits.patience,
        memory=limits.memory,
        preload=[__name__],
    )
    with contextlib.closing(drawn):
        for task, item in drawn:
            if isinstance(item, Picture):
                yield item
            elif item.final:
                log.warning("no pictures of %s: %s", task.video, item.reason)


def _video_files(collection: Collection, ids: Container[str]) -> dict[str, str]:
    try:
        return collection.video_paths(ids)
    except (CollectionError, OSError):
        return {}


def _draw(task: _Task, *, side: int, quality: int, limits: Limits) -> Iterator[Picture]:
    missing = []
    for index in task.indices:
        image = _cut_before(task, index, limits)
        if image is None:
            missing.append(index)
        else:
            yield _shrunk(task.video, index, image, side, quality)
    if missing and task.file:
        yield from _decoded(task, missing, side, quality, limits)


def _cut_before(task: _Task, index: int, limits: Limits) -> Image.Image | None:
    """The picture of a frame in ImageData, None where there is none that can be read."""
    for suffix in sorted(FRAME_SUFFIXES):
        path = task.folder / f"{task.video}_{index}{suffix}"
        try:
            with Image.open(path, formats=FRAME_FORMATS) as image:
                limits.check_size(path.name, *image.size)
                return image.convert("RGB")
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, LimitError):
            continue
    return None


def _decoded(task: _Task, indices: Sequence[int], side: int, quality: int, limits: Limits) -> Iterator[Picture]:
    chosen: dict[int, list[int]] = {}  # frame -> what it was asked for as

    def sample(timeline: Timeline) -> NDArray[np.int64]:
        chosen.clear()
        for index in indices:
            frame = len(timeline) // 2 if index == MIDDLE else index
            if frame < len(timeline):
                chosen.setdefault(frame, []).append(index)
        return np.array(sorted(chosen), np.int64)

    assert task.file is not None
    pictures: dict[int, Picture] = {}  # small ones; a reading may start over, and what it gave is void then
    with contextlib.suppress(VfxError):
        for frame in VideoReader(task.file, sample, limits=limits):
            if frame.first:
                pictures.clear()
            for index in chosen[frame.index]:
                pictures[index] = _shrunk(task.video, index, Image.fromarray(frame.pixels), side, quality)
    yield from (pictures[index] for index in sorted(pictures))


def _shrunk(video: str, index: int, image: Image.Image, side: int, quality: int) -> Picture:
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    file = BytesIO()
    image.save(file, "jpeg", quality=quality, optimize=True)
    return Picture(video, index, *image.size, file.getvalue())
