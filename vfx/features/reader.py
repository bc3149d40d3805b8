"""Reads feature files: a mapping from ids to rows that reads only what is asked for.

docs/schema.md describes the HDF5 schema, `vfx.features/1`. `vfx.features.writer` writes it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from vfx.collection.source import Chunk
from vfx.errors import OutputError, UnknownIdError
from vfx.features import checksums, schema
from vfx.features.rows import WINDOW_BYTES, BlockReader, Failure, Rows
from vfx.features.schema import Dataset, Level

if TYPE_CHECKING:
    from typing_extensions import Self

CHUNK_STAGE = "piece"  # in parts of earlier versions, the stage of a failure that names the chunk of a video


class FeatureReader(Mapping[str, NDArray[Any]]):
    """A read-only mapping from the ids of a feature file to its rows.

    At frame level a video id gives (T, D) and a frame id, such as `shot00001_1_25`, gives (D,). At the other levels an
    id gives (D,). With ten crops kept apart, D is 10, D.

    The file is opened on first use. An instance may be pickled or inherited by a fork: each process opens the file
    for itself.

    Args:
        path: The file, or the folder that holds it as `features.h5`.

    Raises:
        OutputError: On first use: the file is missing, is no feature file or is damaged, or another file has replaced
            it since this instance first opened it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            self.path = self.path / "features.h5"
        self._version: tuple[str, str] | None = None  # when the file was made, and its digests; set by the first use

    @cached_property
    def _file(self) -> schema.File:
        file = schema.open_checked(self.path)
        version = (file.attrs["created"], schema.attributes(file).get(checksums.NAME, ""))
        if self._version not in (None, version):
            file.close()
            raise OutputError(
                f"{self.path} was written anew at {version[0]}, since it was first opened here: make a new FeatureFile"
            )
        self._version = version
        _open[id(self)] = self
        return file

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_version": self._version}  # an open HDF5 file cannot be pickled

    def close(self) -> None:
        """Close the file. The next use opens it again."""
        for opened in ("features", "_block_readers"):
            self.__dict__.pop(opened, None)
        file = self.__dict__.pop("_file", None)
        if file is not None:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def level(self) -> Level:
        """What a row is of: frame, video or segment."""
        return self._file.attrs["level"]

    @property
    def feature(self) -> str:
        """The name of the feature, such as `resnest101,avgpool`."""
        return self._file.attrs["feature"]

    @property
    def attributes(self) -> dict[str, str]:
        """All attributes that are text, which those of the schema are."""
        return schema.attributes(self._file)

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Versions, weights, transform, sampler and recipe of the run that made the file."""
        found = checksums.parsed(self._file.attrs["provenance"])
        if not isinstance(found.get("recipe"), dict):
            raise OutputError(f"{self.path}: attribute provenance is not a JSON object with a recipe; {schema.REMEDY}")
        return found

    @cached_property
    def features(self) -> Dataset:
        """(N, D) or (N, 10, D), as a dataset of h5py: `f.features[10:20]` reads ten rows, `f.features[:]` all."""
        return self._file["features"]

    @cached_property
    def ids(self) -> NDArray[np.object_]:
        """(N,) str: frame, video or segment ids, in the order of the rows."""
        return self._texts("ids")

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """(N,), frame level: the 0-based position of each frame in display order."""
        return self._frame_level("index")

    @cached_property
    def seconds(self) -> NDArray[np.float64]:
        """(N,), frame level: the presentation time of each frame in its video; NaN where it is unknown."""
        return self._frame_level("seconds")

    @cached_property
    def videos(self) -> NDArray[np.object_]:
        """(V,) str, frame level: the ids of the videos that have rows, sorted."""
        videos = self._frame_level("videos/ids")
        for before, after in itertools.pairwise(videos):
            if before >= after:
                raise OutputError(
                    f"{self.path}: videos/ids are not sorted: {after!r} comes after {before!r}; {schema.REMEDY}"
                )
        return videos

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(V+1,), frame level: the rows of video v are [offsets[v], offsets[v+1])."""
        offsets = self._frame_level("videos/offsets")
        total = self.features.shape[0]
        if offsets[0] != 0 or offsets[-1] != total or (offsets[1:] <= offsets[:-1]).any():
            raise OutputError(
                f"{self.path}: videos/offsets do not ascend from 0 to {total}, the number of rows; {schema.REMEDY}"
            )
        return offsets

    @cached_property
    def decoders(self) -> NDArray[np.object_]:
        """(V,) str, frame level: the decoder that read each of `videos`."""
        return self._frame_level("videos/decoder")

    @cached_property
    def failures(self) -> list[Failure]:
        """What could not be read completely, and why."""
        return [failure for failure in self._failure_table if failure.stage != CHUNK_STAGE]

    @cached_property
    def chunks(self) -> dict[str, Chunk]:
        """Frame level: the videos of which this file holds one chunk alone. Only parts of an unfinished output do."""
        with schema.reading(self.path):
            found = {f.id: Chunk.parsed(f.error) for f in self._failure_table if f.stage == CHUNK_STAGE}
            if "chunks" in schema.columns(self._file, self.level):
                found |= {id.decode(): Chunk(*units) for id, *units in self._file["chunks"][:].tolist()}
            return found

    @cached_property
    def _failure_table(self) -> list[Failure]:
        with schema.reading(self.path):
            return [Failure(*(text.decode() for text in row)) for row in self._file["failures"][:].tolist()]

    def column(self, name: str) -> Dataset:
        """A column, such as `features` or `videos/ids`, as a dataset of h5py. Its texts are bytes."""
        return self._file[name]

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) of `features`.

        Raises:
            OutputError: They are damaged.
        """
        with schema.reading(self.path):
            return self.features[start:stop]

    def peek(self, name: str, count: int, *, start: int = 0) -> tuple[list[Any], int]:
        """Read a few rows of a column.

        Args:
            name: The column.
            count: The number of rows, at most.
            start: The first of them.

        Returns:
            The rows, with texts as str, and the length of the column.
        """
        with schema.reading(self.path):
            data = self._file[name]
            rows = data[start : start + count].tolist()
        texts = [tuple(map(_decoded, row)) if isinstance(row, tuple) else _decoded(row) for row in rows]
        return texts, data.shape[0]

    def block_reader(self, column: Literal["features", "index", "seconds"] = "features") -> BlockReader:
        """A reader of a column in large blocks, for a pass through the whole file."""
        return BlockReader(self.column(column), self.path)

    def span(self, video: str) -> tuple[int, int]:
        """Frame level: the rows [start, stop) of a video.

        Raises:
            UnknownIdError: There is no such video.
        """
        v = self._position(video)
        return int(self.offsets[v]), int(self.offsets[v + 1])

    def decoder(self, video: str) -> str:
        """Frame level: the decoder that read a video.

        Raises:
            UnknownIdError: There is no such video.
        """
        return str(self.decoders[self._position(video)])

    def blocks(self, video: str, size: int) -> Iterator[Rows]:
        """Frame level: the rows of a video, `size` at a time. Fast for videos in the order of the file.

        Raises:
            UnknownIdError: There is no such video.
        """
        first, last = self.span(video)
        for start in range(first, last, size):
            yield Rows(*(reader.read(start, min(start + size, last)) for reader in self._block_readers))

    @cached_property
    def _block_readers(self) -> list[BlockReader]:
        columns = (self.features, self._file["index"], self._file["seconds"])
        return [BlockReader(column, self.path, WINDOW_BYTES) for column in columns]

    def __getitem__(self, id: str) -> NDArray[Any]:
        """The row or rows of an id.

        Raises:
            UnknownIdError: There is no such id. It is a KeyError, and its message shows ids that there are.
        """
        rows = self._rows(id)
        if rows is None:
            raise self._unknown(id)
        with schema.reading(self.path):
            return self.features[rows]

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __len__(self) -> int:
        """The number of videos at frame level, of rows at the other levels."""
        return (self._file["videos/ids"] if self.level == "frame" else self._file["ids"]).shape[0]

    def __contains__(self, id: object) -> bool:
        return self._rows(id) is not None

    def __repr__(self) -> str:
        name = type(self).__name__
        try:
            return f"{name}({str(self.path)!r}: {self.feature}, {self.level} level, {self.features.shape})"
        except OutputError as error:
            return f"{name}({str(self.path)!r}: {error})"

    @cached_property
    def _positions(self) -> dict[str, int]:
        """The position of each video, at other levels of each row."""
        ids = self.videos if self.level == "frame" else self.ids
        positions = {id: i for i, id in enumerate(ids)}
        if len(positions) != len(ids):
            raise OutputError(
                f"{self.path}: {len(ids) - len(positions)} of {len(ids)} ids are there twice; {schema.REMEDY}"
            )
        return positions

    def _position(self, id: str) -> int:
        if id not in self._positions:
            raise self._unknown(id)
        return self._positions[id]

    def _rows(self, id: object) -> int | slice | None:
        """The row of an id, or the rows of a video; None if the file has no such id."""
        if not isinstance(id, str):
            return None
        position = self._positions.get(id)
        if position is not None:
            return slice(*self.span(id)) if self.level == "frame" else position
        video, _, number = id.rpartition("_")
        # 007 and the digits of other scripts are numbers too, but no frame id has them
        if self.level != "frame" or video not in self._positions or not number.isdecimal() or len(number) > 18:
            return None
        start, stop = self.span(video)
        with schema.reading(self.path):
            index = self._file["index"][start:stop]
        row = int(np.searchsorted(index, int(number)))
        return start + row if row < len(index) and str(index[row]) == number else None

    def _unknown(self, id: object) -> UnknownIdError:
        kind = "video or frame" if self.level == "frame" else self.level
        there = "none"
        if len(self):
            there = f"{len(self)} {self.level}s, such as {next(iter(self))!r}"
            if self.level == "frame":
                there = f"{len(self)} videos, such as {self.videos[0]!r}, and {self.features.shape[0]} frames, such as"
                there += f" {self._file['ids'].asstr()[0]!r}"
        return UnknownIdError(f"{self.path} has no {kind} {id!r}; it has {there}")

    def _texts(self, name: str) -> NDArray[np.object_]:
        with schema.reading(self.path):
            return self._file[name].asstr()[:]

    def _frame_level(self, name: str) -> NDArray[Any]:
        """A column that frame level alone has."""
        if self.level != "frame":
            raise OutputError(
                f"{self.feature} is of {self.level} level: it has no {name}; take its ids, and what"
                " it was pooled from for the rest"
            )
        if self._file[name].dtype == object:
            return self._texts(name)
        with schema.reading(self.path):
            return self._file[name][:]


_open: WeakValueDictionary[int, FeatureReader] = WeakValueDictionary()


def _close_inherited() -> None:
    """Close the parent's open files in a forked process. Else HDF5 would go on using the parent's file handles, even
    for a file that is opened again."""
    for file in list(_open.values()):
        file.close()


if hasattr(os, "register_at_fork"):  # not on Windows, which has no fork
    os.register_at_fork(after_in_child=_close_inherited)


def _decoded(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
