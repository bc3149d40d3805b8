"""Export formats, one file each, and what they share: rows in blocks, and exports that appear whole or not at all."""

from __future__ import annotations

import filecmp
import itertools
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from vfx.collection.ids import MAX_ID_BYTES, is_storable
from vfx.errors import OutputError
from vfx.features.feature_file import FeatureFile
from vfx.system.files import remove_abandoned, sync, sync_all, working_folder, write_error

log = logging.getLogger(__name__)
BLOCK_BYTES = 8 << 20
SHOWN = 5  # how many offenders an error names
WORK = ".export."  # beside the destination, since no rename crosses file systems; may hold new and old/<name>
SLACK_NS = 2_000_000_000  # the coarsest file systems keep times of files in steps of two seconds


class Format(Protocol):
    """What the module of a format has."""

    NAME: str  # of the file or folder that it writes beside features.h5
    FILES: tuple[str, ...]  # patterns of the files in that folder; none: it writes one file
    CROPS: bool  # whether it holds the ten crops of oversample=keep apart, (N,10,D)

    def write(self, file: FeatureFile, target: Path) -> None:
        """Write all rows to `target`, which is not there yet."""


class Block(NamedTuple):
    """Some rows that follow each other: their ids and (n, D) or (n, 10, D)."""

    ids: list[str]
    features: NDArray[Any]


def blocks(file: FeatureFile) -> Iterator[Block]:
    """All rows in the order of the file, about BLOCK_BYTES at a time.

    Raises OutputError for an id that no text format and no file name can bear, see check_id.
    """
    ids = frame_ids(file) if file.level == "frame" else map(str, file.ids)
    total, *row = file.features.shape
    size = max(1, BLOCK_BYTES // (int(np.prod(row)) * file.features.dtype.itemsize))
    for start in range(0, total, size):
        stop = min(start + size, total)
        named = list(itertools.islice(ids, stop - start))
        for id in named:
            check_id(id, file.path)
        yield Block(named, file.features[start:stop])


def frame_ids(file: FeatureFile) -> Iterator[str]:
    """The ids of a frame-level file. Made, not read: as text they alone would fill the memory."""
    for _, ids in frames_by_video(file):
        yield from ids


def frames_by_video(file: FeatureFile) -> Iterator[tuple[str, list[str]]]:
    """Frame level: each video and the ids of its frames, by index."""
    index = file.block_reader("index")
    for video, (start, stop) in zip(map(str, file.videos), itertools.pairwise(map(int, file.offsets)), strict=True):
        yield video, [f"{video}_{i}" for i in index.read(start, stop)]


def check_id(id: str, where: str | Path) -> None:
    """Raises OutputError for an id that a consumer of the lineage could not read, or that could not name a file."""
    if not is_storable(id):
        raise OutputError(
            f"{where}: id {id!r:.80} is empty or holds white space or a slash or control characters, or is . or .., or"
            f" is longer than {MAX_ID_BYTES} bytes; give it another name"
        )


@dataclass(frozen=True)
class Matrix:
    """(rows, dims) float32, little-endian and row-major, in an open file.

    Read, not mapped: the pages of a map count as memory of the process.
    """

    file: BufferedReader
    rows: int
    dims: int

    def read(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """The rows at these positions, (n, dims); those that follow each other in one go."""
        out = np.empty((len(positions), self.dims), "<f4")
        edges = [0, *(np.flatnonzero(np.diff(positions) != 1) + 1), len(positions)]
        for start, stop in itertools.pairwise(edges):
            self.file.seek(int(positions[start]) * self.dims * 4)
            data = self.file.read((stop - start) * self.dims * 4)
            if len(data) != (stop - start) * self.dims * 4:
                raise OutputError(f"{self.file.name} ended before row {positions[stop - 1]}; copy it again")
            out[start:stop] = np.frombuffer(data, "<f4").reshape(-1, self.dims)
        return out


@contextmanager
def whole(destination: Path, *, source: Path, files: tuple[str, ...], overwrite: bool) -> Iterator[Path]:
    """A place to write a file or a folder to, which takes the name `destination` once all of it is on the disk.

    An exception inside leaves nothing; what a killed run left is removed by the next. What has the name already stays
    if it holds the very same bytes. An export has the time of its `source`, so that one of something else is found
    before any work. `files`: see Format.FILES; a folder that holds others is never replaced. A file is replaced in one
    step; a folder is set aside and then removed, so that for an instant the name is free, and never names half an
    export.

    Raises OutputError where something else has the name and `overwrite` is not set, or the disk refuses.
    """
    real = destination.resolve()  # a link to another disk stays one
    time_ns = source.stat().st_mtime_ns
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(real.parent, WORK, rescue=_restore)
        _check_kind(real, files)
        if not overwrite and any(abs(path.stat().st_mtime_ns - time_ns) > SLACK_NS for path in _files(real)):
            raise OutputError(f"{destination} holds another export, not made of {source}; overwrite=true replaces it")
        with working_folder(real.parent, WORK) as aside:
            target = aside / "new"
            yield target
            for path in _files(target):
                os.utime(path, ns=(time_ns, time_ns))
            sync_all(target)
            if not real.exists() or (real.is_dir() and not os.listdir(real)):  # noqa: PTH208
                target.rename(real)
            elif _same(target, real):
                log.info("%s is there already and holds the very same export", destination)
            elif not overwrite:
                raise OutputError(f"{destination} holds another export; overwrite=true replaces it")
            elif real.is_file():
                target.replace(real)
            elif others := sorted(set(os.listdir(real)) - set(os.listdir(target))):  # noqa: PTH208
                raise OutputError(
                    f"{real} holds what this export does not write: {', '.join(others[:SHOWN])}; move that away, or"
                    " choose another destination"
                )
            else:
                _swap(target, real, aside / "old")
            sync(real.parent)
    except OSError as error:
        raise write_error(destination, error) from error


def _files(export: Path) -> list[Path]:
    """The files of an export, [] where there is none."""
    if export.is_dir():
        return [path for path in export.iterdir() if not path.name.startswith(".")]
    return [export] if export.exists() else []


def _check_kind(real: Path, files: tuple[str, ...]) -> None:
    if not real.exists():
        return
    if real.is_dir() != bool(files):
        raise OutputError(f"{real} is a {'folder' if real.is_dir() else 'file'}: choose another destination")
    if files:
        names = sorted(path.name for path in _files(real))
        others = [name for name in names if not any(fnmatch(name, pattern) for pattern in files)]
        if others:
            raise OutputError(
                f"{real} holds what this export would not write: {', '.join(others[:SHOWN])}; move that away, or"
                " choose another destination"
            )


def _same(a: Path, b: Path) -> bool:
    if a.is_file():
        return filecmp.cmp(a, b, shallow=False)
    names = sorted(os.listdir(a))  # noqa: PTH208
    return filecmp.cmpfiles(a, b, names, shallow=False)[0] == names


def _swap(new: Path, real: Path, aside: Path) -> None:
    aside.mkdir()
    old = aside / real.name
    real.rename(old)
    try:
        new.rename(real)
    except BaseException:
        old.rename(real)
        raise
    shutil.rmtree(aside)


def _restore(folder: Path) -> None:
    """Give its name back to an export that a killed run had set aside, and not yet put another in place of."""
    for old in folder.glob("old/*"):
        if not (folder.parent / old.name).exists():
            old.rename(folder.parent / old.name)
            log.warning("%s is there again: a run was killed as it replaced it", folder.parent / old.name)
