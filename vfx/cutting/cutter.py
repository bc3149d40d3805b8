"""Cuts videos to folders of frames, one video a process, each folder appearing whole.

<images>/<video id>/<video id>_<index>.jpg     the frames
<images>/<video id>/.vfx.json                  how they were cut, of what; a folder without it is someone else's work
<images>/.<video id>.<random>.tmp/             a folder in the making, or what a killed run left of it
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vfx import validation
from vfx.collection.collection import FRAME_SUFFIXES
from vfx.collection.ids import split_frame_id
from vfx.collection.source import VideoSource
from vfx.decoding import VideoReader
from vfx.decoding.limits import Limits
from vfx.errors import OutputError, UsageError, VfxError
from vfx.sampling.timeline import Timeline
from vfx.system import worker_pool
from vfx.system.files import sync, sync_all, unwritten

RECORD = ".vfx.json"
TEMPORARY = re.compile(r"\.(?P<id>.+)\.[0-9a-f]{8}\.tmp")
LEVEL = 3  # of PNG's compression: within a few per cent of the default's size in half the time

Sampler = Callable[[Timeline], NDArray[np.int64]]


@dataclass(frozen=True)
class Cut:
    """What became of one video.

    `rate` (frames a second, 0 if the container states none), `frames` (all that it has), `width` and `height`
    (pixels, as shown) are the video's; all 0 if it could not be opened. `cut`: how many frames were written.
    `stage`, `problem`: as of a `decoding.VideoReader`, "" if all went well.
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
class Pictures:
    """How frames are written: JPEG with chroma halved both ways, at `quality` 1 to 100, or PNG.

    `short_side`: pixels to which larger frames are shrunk, by PIL's antialiased bilinear filter; smaller ones and None:
    native size. Raises UsageError for values out of range.
    """

    format: Literal["jpg", "png"] = "jpg"
    quality: int = 95
    short_side: int | None = None

    def __post_init__(self) -> None:
        if self.format not in ("jpg", "png"):
            raise UsageError(f"format ({self.format}) must be jpg or png")
        validation.whole("quality", self.quality, least=1, most=100)
        if self.short_side is not None:
            validation.whole("short_side", self.short_side, least=1)

    def recipe(self) -> dict[str, Any]:
        """What changes the pictures."""
        quality = {"quality": self.quality} if self.format == "jpg" else {}
        return {"format": self.format, **quality, "short_side": self.short_side}

    def save(self, pixels: NDArray[np.uint8], path: Path) -> None:
        image = Image.fromarray(pixels)
        short = min(image.size)
        if self.short_side is not None and short > self.short_side:
            # The long side cut to a whole number, as torchvision's Resize does.
            width, height = (int(self.short_side * side / short) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        file = BytesIO()  # PIL overlooks that a disk took only half of what it wrote
        if self.format == "jpg":
            image.save(file, "jpeg", quality=self.quality, subsampling="4:2:0")
        else:
            image.save(file, "png", compress_level=LEVEL)
        path.write_bytes(file.getbuffer())


def how_cut(folders: Iterable[Path]) -> dict[str, Any] | None:
    """The recipe by which vfx cut the first of these folders that it cut; None where it cut none."""
    for folder in folders:
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
            return dict(json.loads((folder / RECORD).read_text())["recipe"])
    return None


@dataclass(frozen=True)
class Cutter:
    """Cuts a video to its folder in `images`, where no frame of it may be yet. Can be pickled.

    `recipe` is written into the folder's record.
    """

    images: Path
    sample: Sampler
    decoder: str
    pictures: Pictures
    recipe: Mapping[str, Any]
    limits: Limits | None = None

    def __call__(self, source: VideoSource) -> Cut:
        """Never raises for a bad video; OutputError where the disk does not take the frames."""
        temporary = self.images / f".{source.id}.{uuid.uuid4().hex[:8]}.tmp"
        video = _file(source)
        try:
            temporary.mkdir()
            try:
                cut = self._decode(source, temporary)
                if cut.cut:
                    record = {"recipe": self.recipe, "video": video, **asdict(cut)}
                    (temporary / RECORD).write_text(json.dumps(record))
                    _publish(temporary, self.images / source.id, source.id)
            finally:
                if temporary.exists():
                    remove(temporary, source.id)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return Cut(source.id, stage="write", problem="its id is too long for the names of its frames")
            raise unwritten(self.images / source.id, error) from error
        return cut

    def _decode(self, source: VideoSource, folder: Path) -> Cut:
        reading = VideoReader(
            source.path,
            lambda timeline: self.sample(replace(timeline, video=source.id)),
            decoder=self.decoder,
            limits=self.limits,
        )
        width = height = written = 0
        unsaved = ""
        for frame in reading:
            if frame.first and written:  # the reading starts over
                _empty(folder)
                written, unsaved = 0, ""
            if not written:
                height, width = frame.pixels.shape[:2]
            path = folder / f"{source.id}_{frame.index}.{self.pictures.format}"
            try:
                self.pictures.save(frame.pixels, path)
            except (ValueError, OSError) as error:
                if isinstance(error, OSError) and error.errno is not None:
                    raise
                path.unlink(missing_ok=True)
                unsaved = f"frame {frame.index} cannot be saved as {self.pictures.format}: {error}"  # JPEG's 65,500
                break
            written += 1
        if reading.discarded and written:
            _empty(folder)
            written = 0
        timeline = reading.timeline
        return Cut(
            source.id,
            rate=timeline.rate if timeline else 0.0,
            frames=len(timeline) if timeline else 0,
            width=width,
            height=height,
            cut=written,
            decoder=reading.decoder,
            stage="write" if unsaved else reading.stage,
            problem=unsaved or reading.problem,
        )


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


def _publish(temporary: Path, final: Path, id: str) -> None:
    """Give a finished folder its final name, so that no crash can leave the name without the content."""
    sync_all(temporary)
    if final.is_dir():
        remove(final, id)  # frames that were cut before, of which these are a better or another version
    if final.is_dir():  # it holds something of the user's
        for path in final.iterdir():
            path.rename(temporary / path.name)
    temporary.rename(final)
    sync(final.parent)


def frame_indices(folder: Path, id: str) -> dict[int, str]:
    """The frames of a video in its folder: index -> file name, ascending; what is named otherwise is left out."""
    return dict(sorted(_frames(folder, id)))


def _frames(folder: Path, id: str) -> Iterator[tuple[int, str]]:
    for name in os.listdir(folder):  # noqa: PTH208  (millions of frames: no Path for each)
        stem, suffix = os.path.splitext(name)  # noqa: PTH122
        if suffix.lower() in FRAME_SUFFIXES:
            with contextlib.suppress(ValueError):
                video, index = split_frame_id(stem)
                if video == id:
                    yield index, name


class Done(NamedTuple):
    """What was cut of a video before. `cut` and `recipe` are None and {} if someone else did. `replaced`: the video is
    another file than the one that was cut."""

    cut: Cut | None
    recipe: Mapping[str, Any]
    replaced: bool = False


def done(images: Path, source: VideoSource) -> Done | None:
    """What was cut of a video before; None if nothing was, or if frames are missing since.

    Raises OutputError where the record in the folder is not one.
    """
    folder = images / source.id
    try:
        text = (folder / RECORD).read_text()
    except OSError:
        return Done(None, {}) if folder.is_dir() and frame_indices(folder, source.id) else None
    try:
        record = json.loads(text)
        cut = Cut(**{k: v for k, v in record.items() if k not in ("recipe", "video")})
        if len(frame_indices(folder, source.id)) < cut.cut:
            return None
        before, now = record.get("video"), _file(source)
        return Done(cut, record["recipe"], replaced=None not in (before, now) and before != now)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise OutputError(
            f"{folder / RECORD} is not a record of vfx ({error!r}); remove the folder or give overwrite=true"
        ) from error


def _file(source: VideoSource) -> dict[str, int] | None:
    """What tells a video file from another of its name; None where there is none to be asked."""
    try:
        status = Path(source.path).stat()
    except OSError:
        return None
    return {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def has_place(images: Path, id: str) -> bool:
    """Whether a video's frames can be put where they belong: no file has the name, and no link, which could not be
    replaced by a folder."""
    folder = images / id
    return not folder.is_symlink() and (folder.is_dir() or not folder.exists())


def remove(folder: Path, id: str) -> bool:
    """Remove a video's frames and their record, and the folder if nothing else is in it; returns whether it is gone."""
    for _, name in _frames(folder, id):
        (folder / name).unlink()
    (folder / RECORD).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # not empty
        folder.rmdir()
    return not folder.exists()


def remove_leftovers(images: Path) -> list[Path]:
    """Remove what killed runs left; returns the folders that stay because they hold files that are not vfx's."""
    matches = [(entry, TEMPORARY.fullmatch(entry.name)) for entry in images.iterdir()]
    return [entry for entry, match in matches if match and not remove(entry, match["id"])]


def survey(source: VideoSource) -> Cut:
    """What a video is, from its first frame; nothing is cut."""
    reading = VideoReader(source.path, lambda timeline: np.arange(min(1, len(timeline))))
    for frame in reading:
        assert reading.timeline is not None
        height, width = frame.pixels.shape[:2]
        return Cut(source.id, reading.timeline.rate, len(reading.timeline), width, height)
    return Cut(source.id, stage=reading.stage, problem=reading.problem)


def cut_all(
    sources: Iterable[VideoSource], cut: Callable[[VideoSource], Cut], *, num_workers: int, limits: Limits
) -> Iterator[Cut]:
    """Cut videos in `num_workers` processes (0: in this one), and yield what became of each as it is finished.

    A video that brings its worker down, or holds it up beyond the `limits`, is tried once more, alone, and given up.
    Raises what `cut` raises on purpose (VfxError); whatever else goes wrong in it is that video's failure.
    """
    work = partial(_cut_one, cut=cut)
    if not num_workers:
        for source in sources:
            yield from work(source)
        return
    videos = list(sources)
    cuts = worker_pool.run(
        videos,
        work,
        processes=num_workers,
        patience=limits.patience,
        memory=limits.memory,
        is_last=lambda _: True,
        preload=[__name__],  # nothing here needs torch, which takes seconds to import
    )
    with contextlib.closing(cuts):
        for source, item in cuts:
            if isinstance(item, Cut):
                yield item
            elif item.final:
                yield Cut(source.id, stage="decode", problem=item.reason)


def _cut_one(source: VideoSource, *, cut: Callable[[VideoSource], Cut]) -> Iterator[Cut]:
    """The one result of a video, whatever goes wrong with it."""
    try:
        yield cut(source)
    except VfxError:
        raise
    except MemoryError:
        yield Cut(source.id, stage="decode", problem="it takes more memory than limits.memory_gb allows")
    except Exception as error:  # noqa: BLE001  (a library's surprise costs its video, not the run)
        yield Cut(source.id, stage="decode", problem=repr(error))
