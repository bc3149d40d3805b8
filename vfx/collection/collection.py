"""Collections: folders that hold videos, and the frames cut from them."""

from __future__ import annotations

import heapq
import itertools
import os
from collections import Counter
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from vfx.collection.ids import is_storable
from vfx.collection.source import VideoSource
from vfx.errors import CollectionError, NoFramesError
from vfx.text import SHOWN

VIDEO_SUFFIXES = frozenset([".mp4", ".avi", ".webm", ".gif", ".mkv", ".mov", ".m4v", ".mpg", ".ts", ".flv", ".wmv"])
FRAME_SUFFIXES = frozenset([".jpg", ".jpeg", ".png"])
# What Pillow may take a frame for, whatever its name. Pillow knows more formats; for EPS it runs another program.
FRAME_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF")


@dataclass(frozen=True)
class Collection:
    """A folder of videos, in `VideoData` or directly in it, and of the frames cut from them, in `ImageData`."""

    name: str
    root: Path

    @property
    def _video_folder(self) -> Path:
        folder = self.root / "VideoData"
        return folder if folder.is_dir() else self.root

    def videos(self) -> list[VideoSource]:
        """The video files at any depth, sorted by id.

        Raises:
            CollectionError: There is no video, two videos share an id, or an id cannot be stored.
        """
        return _checked(self.files()[0], self.name)

    def files(self) -> tuple[list[VideoSource], Counter[str]]:
        """The video files at any depth, without a check of their ids, and a count of all other files.

        Returns:
            The videos, sorted by id; and the number of other files by suffix, in lower case.

        Raises:
            CollectionError: There is no video.
        """
        folder = self._video_folder
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

    def video_paths(self, ids: Container[str]) -> dict[str, str]:
        """The paths of the videos among `ids` that the collection has; of two with the same id, the first by path."""
        found: dict[str, str] = {}
        for entry in _walk(self._video_folder, VIDEO_SUFFIXES):
            id = _stem(entry.name)
            if id in ids:
                found[id] = min(entry.path, found.get(id, entry.path))
        return found

    def frame_folders(self) -> list[VideoSource]:
        """The folders of frames in `ImageData`, `<video id>/<video id>_<index>.jpg`, sorted by video id.

        Raises:
            NoFramesError: There are no frames.
            CollectionError: Two folders share an id, two videos share the id of a folder, or an id cannot be stored.
        """
        folder = self.root / "ImageData"
        counts: Counter[str] = Counter()
        if folder.is_dir():
            for entry in _walk(folder, FRAME_SUFFIXES):
                counts[os.path.dirname(entry.path)] += 1  # noqa: PTH120  (millions of frames: no Path for each)
        if not counts:
            raise NoFramesError(
                f"collection {self.name}: no frame in {folder}; wanted {folder}/<video id>/<video id>_<index>.jpg"
                " (dataset=video reads the videos themselves)"
            )
        folders = [(Path(path).name, path, count) for path, count in counts.items()]
        ids = {id for id, *_ in folders}
        walked = ((_stem(entry.name), entry.path) for entry in _walk(self._video_folder, VIDEO_SUFFIXES))
        candidates = [VideoSource(id, path, 0) for id, path in walked if id in ids]
        videos = {v.id: v.path for v in _unique(candidates, self.name)}
        return _checked([VideoSource(id, path, n, videos.get(id)) for id, path, n in folders], self.name)


def first_frames(collection: Path, count: int) -> list[Path]:
    """The first folders by name in a collection's `ImageData`, at most `count`."""
    images = collection / "ImageData"
    if not images.is_dir():
        return []
    with os.scandir(images) as entries:
        folders = (Path(e.path) for e in entries if not e.name.startswith(".") and _is_folder(e))
        return heapq.nsmallest(count, folders)


def collection_name(collection: str | Path) -> str:
    """The name of a collection: the last part of its path. A link keeps its own name."""
    return Path(os.path.abspath(collection)).name  # noqa: PTH100  (resolve would follow the link)


def find_collection(collection: str, rootpath: str | Path) -> Collection:
    """Find a collection by its name under `rootpath`, else by its path.

    Args:
        collection: A name under `rootpath`, or a path. `.`, `..`, `./<path>` and `../<path>` are always paths.
        rootpath: The folder of collections.

    Raises:
        CollectionError: There is no such folder; the message names the paths that were tried.
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


def _size(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat().st_size
    except OSError:
        return 0  # a broken link: reading it fails later, and is recorded


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
    """Yield the files under a folder with these suffixes, and count the others in `others`.

    Links are followed. A folder that is met twice (a loop of links) is entered once.
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
    """The sources, sorted by id. Raises CollectionError if an id cannot be stored or is not unique."""
    bad = [s for s in sources if not is_storable(s.id)]
    if bad:
        raise CollectionError(
            f"collection {name}: {len(bad)} names hold white space or control characters or cannot be written as UTF-8,"
            " which no reader of feature files could take as an id; rename: "
            + ", ".join(repr(s.path) for s in bad[:SHOWN])
        )
    return _unique(sources, name)


def _unique(sources: list[VideoSource], name: str) -> list[VideoSource]:
    """The sources, sorted by id. Raises CollectionError if two share an id."""
    sources.sort()
    twice = [(a, b) for a, b in itertools.pairwise(sources) if a.id == b.id]
    if twice:
        raise CollectionError(
            f"collection {name}: {len(twice)} ids are those of two files; rename one of each: "
            + "; ".join(f"{a.path} and {b.path}" for a, b in twice[:SHOWN])
        )
    return sources
