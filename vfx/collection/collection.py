"""Collections: the folders that hold videos or the frames cut from them, and the ids of what is in them."""

from __future__ import annotations

import heapq
import itertools
import os
import re
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vfx.errors import CollectionError, NoFramesError

VIDEO_SUFFIXES = frozenset([".mp4", ".avi", ".webm", ".gif", ".mkv", ".mov", ".m4v", ".mpg", ".ts", ".flv", ".wmv"])
FRAME_SUFFIXES = frozenset([".jpg", ".jpeg", ".png"])
# What a frame may be, whatever its name. Pillow knows more, and for one of them, EPS, it has another program run.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")
STRANGE = re.compile(r"[\s/\x00-\x1f\x7f-\x9f]")  # white space, slash and control characters
LONGEST_ID = 1000  # bytes: those of names of files end at 255, those that come in lists need not end
SHOWN = 5  # how many offenders an error names


class Chunk(NamedTuple):
    """The stretches `[begin, end)` of the `total` of about the same length into which a video is cut."""

    begin: int
    end: int
    total: int

    def __str__(self) -> str:
        return f"{self.begin + 1}-{self.end} of {self.total}"

    @classmethod
    def parsed(cls, text: str) -> Chunk:
        """What `str` makes of a piece, made a piece again."""
        units, _, total = text.partition(" of ")
        first, _, last = units.partition("-")
        return cls(int(first) - 1, int(last), int(total))


class VideoSource(NamedTuple):
    """One video of a collection, or a piece of one.

    `path`: the video file, or the folder that holds its frames. `cost`: what it takes to read, in bytes of the
    file (videos) or in frames (folders of frames); only the proportions matter. Bytes are known without opening a
    file, and a megabyte of H.264 took 0.15 to 0.3 processor seconds to decode, from 240p to 720p. `video`: the file
    that a folder of frames was cut from, where the collection has it. `chunk`: None for the whole. `counts`: whether
    the video is counted here, which of all that is read of it one alone says.
    """

    id: str
    path: str
    cost: int
    video: str | None = None
    chunk: Chunk | None = None
    counts: bool = True


@dataclass(frozen=True)
class Collection:
    """A folder of videos, in `VideoData` or right in it, and of the frames cut from them, in `ImageData`."""

    name: str
    root: Path

    def _video_folder(self) -> Path:
        folder = self.root / "VideoData"
        return folder if folder.is_dir() else self.root

    def videos(self) -> list[VideoSource]:
        """The video files at any depth, sorted by id.

        Raises CollectionError where there is none, where two share an id, or where an id cannot be stored.
        """
        return _checked(self.files()[0], self.name)

    def places(self, ids: Container[str]) -> dict[str, str]:
        """The files of those of these videos that are there; of two that share an id, the first by path."""
        found: dict[str, str] = {}
        for entry in _walk(self._video_folder(), VIDEO_SUFFIXES):
            id = _stem(entry.name)
            if id in ids:
                found[id] = min(entry.path, found.get(id, entry.path))
        return found

    def files(self) -> tuple[list[VideoSource], Counter[str]]:
        """The video files at any depth, sorted by id, also where two share one or it cannot be stored; and how many
        other files there are of each suffix, in lower case.

        Raises CollectionError where there is no video.
        """
        folder = self._video_folder()
        others: Counter[str] = Counter()
        walked = _walk(folder, VIDEO_SUFFIXES, others)
        found = sorted(VideoSource(_stem(entry.name), entry.path, _size(entry)) for entry in walked)
        if not found:
            endings = " ".join(sorted(VIDEO_SUFFIXES))
            raise CollectionError(
                f"collection {self.name}: no video in {folder} (looked for {endings});"
                " put them there, or give another collection=<folder>"
            )
        return found, others

    def frame_folders(self) -> list[VideoSource]:
        """The folders of frames in `ImageData`, `<video id>/<video id>_<index>.jpg`, sorted by video id.

        Raises CollectionError as `videos` does, and where two videos share the id of a folder.
        """
        folder = self.root / "ImageData"
        counts: dict[str, int] = {}
        if folder.is_dir():
            for entry in _walk(folder, FRAME_SUFFIXES):
                parent = os.path.dirname(entry.path)  # noqa: PTH120  (millions of frames: no Path for each)
                counts[parent] = counts.get(parent, 0) + 1
        if not counts:
            raise NoFramesError(
                f"collection {self.name}: no frame in {folder}; wanted {folder}/<video id>/<video id>_<index>.jpg"
                " (dataset=video reads the videos themselves)"
            )
        folders = [(Path(path).name, path, count) for path, count in counts.items()]
        ids = {id for id, *_ in folders}
        walked = ((_stem(entry.name), entry.path) for entry in _walk(self._video_folder(), VIDEO_SUFFIXES))
        videos = {
            v.id: v.path for v in _apart([VideoSource(id, path, 0) for id, path in walked if id in ids], self.name)
        }
        return _checked([VideoSource(id, path, n, videos.get(id)) for id, path, n in folders], self.name)


def first_frames(collection: Path, count: int) -> list[Path]:
    """The first folders by name in a collection's `ImageData`, `count` at most."""
    images = collection / "ImageData"
    if not images.is_dir():
        return []
    with os.scandir(images) as entries:
        folders = (Path(e.path) for e in entries if not e.name.startswith(".") and _is_folder(e))
        return heapq.nsmallest(count, folders)


def collection_name(collection: str | Path) -> str:
    """The last part of a collection's path, which is its name; a link keeps its own."""
    return Path(os.path.abspath(collection)).name  # noqa: PTH100  (resolve would follow the link)


def find_collection(collection: str, rootpath: str | Path) -> Collection:
    """The collection of that name under `rootpath`, else at that path from the working directory; `.` and what begins
    with `./` or `../` is such a path alone.

    Raises CollectionError that names the places where it is not.
    """
    places = [Path(rootpath).expanduser() / collection, Path(collection).expanduser()]
    if collection.split("/")[0] in (".", ".."):
        places = places[1:]
    for place in places:
        if place.is_dir():
            return Collection(name=collection_name(place), root=place)
    tried = [str(place.absolute()) for place in places]
    told = f"{tried[0]} is no folder" if len(tried) == 1 else f"neither {tried[0]} nor {tried[1]} is a folder"
    raise CollectionError(
        f"collection {collection}: {told}; set rootpath=<folder of collections> or give the collection's path"
    )


def video_id(frame_id: str) -> tuple[str, int]:
    """`<video id>_<frame index>` taken apart, as the lineage does it. Raises ValueError where it is not one."""
    video, _, index = frame_id.rpartition("_")
    if not video or not index.isdecimal():
        raise ValueError(f"frame id {frame_id} is not <video id>_<frame index>")
    return video, int(index)


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return 0  # a link to nothing, or to itself, is read, fails, and is recorded


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _stem(name: str) -> str:
    return name.rpartition(".")[0]


def _walk(
    folder: str | Path, suffixes: frozenset[str], others: Counter[str] | None = None
) -> Iterator[os.DirEntry[str]]:
    """The files under a folder that end so, links followed, a folder met twice (a loop of links) entered once.

    `others` counts those that end otherwise.
    """
    seen: set[tuple[int, int]] = set()
    stack = [os.fspath(folder)]
    while stack:
        here = stack.pop()
        status = os.stat(here)  # noqa: PTH116
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        try:
            entries = os.scandir(here)
        except OSError as error:
            raise CollectionError(
                f"folder {here} cannot be read: {error.strerror}; have its owner allow it, or"
                " take it out of the collection"
            ) from error
        with entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue  # the system's own: ._clip.mp4 of macOS, .snapshot of file servers
                suffix = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
                if _is_folder(entry):
                    stack.append(entry.path)
                elif suffix in suffixes:
                    yield entry
                elif others is not None:
                    others[suffix] += 1


def _checked(sources: list[VideoSource], name: str) -> list[VideoSource]:
    bad = [s for s in sources if not is_storable(s.id)]
    if bad:
        raise CollectionError(
            f"collection {name}: {len(bad)} names hold white space or control characters or cannot be written as UTF-8,"
            " which no reader of feature files could take as an id; rename: "
            + ", ".join(repr(s.path) for s in bad[:SHOWN])
        )
    return _apart(sources, name)


def _apart(sources: list[VideoSource], name: str) -> list[VideoSource]:
    """The sources, sorted. Raises CollectionError where two share an id."""
    sources.sort()
    twice = [(a, b) for a, b in itertools.pairwise(sources) if a.id == b.id]
    if twice:
        raise CollectionError(
            f"collection {name}: {len(twice)} ids are those of two files; rename one of each: "
            + "; ".join(f"{a.path} and {b.path}" for a, b in twice[:SHOWN])
        )
    return sources


def is_storable(id: str) -> bool:
    """Whether a video, a frame or a segment may have this id.

    Feature files hold it, exports name files by it, terminals show it, and its readers split at white space.
    """
    try:
        size = len(id.encode())
    except UnicodeEncodeError:
        return False
    return id not in ("", ".", "..") and size <= LONGEST_ID and not STRANGE.search(id)
