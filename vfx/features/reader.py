"""Feature files as they are read: a mapping of ids to rows, of which nothing is read that is not asked for.

The one HDF5 schema, `vfx.features/1`, is laid out in docs/schema.md; `vfx.features.writer` writes it.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from vfx.errors import OutputError, UnknownIdError
from vfx.features import checksums, notebook_view, schema
from vfx.features.schema import Dataset, Level
from vfx.system.optional_imports import need

if TYPE_CHECKING:
    import pandas
    import torch
    import xarray

    from vfx.features.torch_dataset import FeatureRows

BLOCK_BYTES = 8 << 20  # rows are read and written in blocks of about this size
WINDOW_BYTES = 256 << 10  # what is read at once of each of many files that are open together


class Failure(NamedTuple):
    """Something that could not be read whole: its id, at which stage (open, decode, network), and why."""

    id: str
    stage: str
    error: str


@dataclass(frozen=True)
class Rows:
    """The rows of one video, or a block of rows of another level.

    `features` (T,D) or (T,10,D). Frame level alone: `index` (T,) int64 and `seconds` (T,) float64.
    """

    features: NDArray[Any]
    index: NDArray[np.int64]
    seconds: NDArray[np.float64]


class FeatureFile(Mapping[str, NDArray[Any]]):
    """A feature file as a read-only mapping: `f["shot00001_1"]` -> (T, D) at frame level, else (D,).

    `f["shot00001_1_25"]`, a frame id, gives that row (D,). Nothing is read that is not asked for. It may be handed to
    other processes, such as the workers of a DataLoader: each opens the file for itself, on first use, however it was
    started. Raises OutputError where the file is not one, or where another has taken its place since it was opened.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.is_dir():
            self.path = self.path / "features.h5"
        self._making: tuple[str, str] | None = None  # which making of the file it is, once it has been opened

    @cached_property
    def _file(self) -> schema.File:
        file = schema.open_checked(self.path)
        making = (file.attrs["created"], schema.attributes(file).get(checksums.NAME, ""))
        if self._making not in (None, making):
            file.close()
            raise OutputError(
                f"{self.path} was written anew at {making[0]}, since it was first opened here: make a new FeatureFile"
            )
        self._making = making
        _open[id(self)] = self
        return file

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_making": self._making}  # an open HDF5 file cannot cross to another process

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        for opened in ("features", "_windows"):
            self.__dict__.pop(opened, None)
        file = self.__dict__.pop("_file", None)
        if file is not None:
            file.close()

    def __enter__(self) -> FeatureFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @cached_property
    def features(self) -> Dataset:
        """(N, D) or (N, 10, D), read by slices: `f.features[10:20]`; `f.features[:]` is the whole matrix."""
        return self._file["features"]

    def read(self, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) of `features`. Raises OutputError where they are damaged."""
        with schema.reading(self.path):
            return self.features[start:stop]

    def peek(self, name: str, count: int, *, start: int = 0) -> tuple[list[Any], int]:
        """At most `count` rows of a column, from `start` on, and how many it has: what can be shown of a long one."""
        with schema.reading(self.path):
            data = self._file[name]
            rows = data[start : start + count].tolist()
        texts = [tuple(map(_decoded, row)) if isinstance(row, tuple) else _decoded(row) for row in rows]
        return texts, data.shape[0]

    @cached_property
    def ids(self) -> NDArray[np.object_]:
        """(N,) str: frame, video or segment ids, in the order of the rows."""
        return self._texts("ids")

    def _texts(self, name: str) -> NDArray[np.object_]:
        with schema.reading(self.path):
            return self._file[name].asstr()[:]

    def _frame_level(self, name: str) -> NDArray[Any]:
        if self.level != "frame":
            raise OutputError(
                f"{self.feature} is of {self.level} level: it has no {name}; take its ids, and what"
                " it was pooled from for the rest"
            )
        if self._file[name].dtype == object:
            return self._texts(name)
        with schema.reading(self.path):
            return self._file[name][:]

    @cached_property
    def videos(self) -> NDArray[np.object_]:
        """(V,) str: frame level, the videos that have rows, sorted."""
        videos = self._frame_level("videos/ids")
        for before, after in itertools.pairwise(videos):
            if before >= after:
                raise OutputError(
                    f"{self.path}: videos/ids are not sorted: {after!r} comes after {before!r}; {schema.REMEDY}"
                )
        return videos

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """(V+1,): frame level, the rows of video v are [offsets[v], offsets[v+1])."""
        offsets = self._frame_level("videos/offsets")
        total = self.features.shape[0]
        if offsets[0] != 0 or offsets[-1] != total or (offsets[1:] <= offsets[:-1]).any():
            raise OutputError(
                f"{self.path}: videos/offsets do not ascend from 0 to {total}, the number of rows; {schema.REMEDY}"
            )
        return offsets

    @cached_property
    def decoders(self) -> NDArray[np.object_]:
        """(V,) str: frame level, which decoder served each of `videos`."""
        return self._frame_level("videos/decoder")

    @cached_property
    def index(self) -> NDArray[np.int64]:
        """(N,): frame level, 0-based position in display order."""
        return self._frame_level("index")

    @cached_property
    def seconds(self) -> NDArray[np.float64]:
        """(N,): frame level, presentation time in the source; NaN where it is not known."""
        return self._frame_level("seconds")

    @cached_property
    def failures(self) -> list[Failure]:
        """What could not be read whole, and why."""
        with schema.reading(self.path):
            return [Failure(*(text.decode() for text in row)) for row in self._file["failures"][:].tolist()]

    @property
    def attributes(self) -> dict[str, str]:
        """All that are text, as those of the schema are."""
        return schema.attributes(self._file)

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Versions, weights, transform, sampler and recipe of the run."""
        found = checksums.parsed(self._file.attrs["provenance"])
        if not isinstance(found.get("recipe"), dict):
            raise OutputError(f"{self.path}: attribute provenance is not a JSON object with a recipe; {schema.REMEDY}")
        return found

    @property
    def level(self) -> Level:
        return self._file.attrs["level"]

    @property
    def feature(self) -> str:
        return self._file.attrs["feature"]

    @cached_property
    def _position(self) -> dict[str, int]:
        ids = self.videos if self.level == "frame" else self.ids
        position = {id: i for i, id in enumerate(ids)}
        if len(position) != len(ids):
            raise OutputError(
                f"{self.path}: {len(ids) - len(position)} of {len(ids)} ids are there twice; {schema.REMEDY}"
            )
        return position

    def _of(self, id: str) -> int:
        """The position of a video, or at other levels of a row."""
        try:
            return self._position[id]
        except KeyError:
            raise self._unknown(id) from None

    def _unknown(self, id: object) -> UnknownIdError:
        kind = "video or frame" if self.level == "frame" else self.level
        there = "none"
        if len(self):
            there = f"{len(self)} {self.level}s, such as {next(iter(self))!r}"
            if self.level == "frame":
                there = f"{len(self)} videos, such as {self.videos[0]!r}, and {self.features.shape[0]} frames, such as"
                there += f" {self._file['ids'].asstr()[0]!r}"
        return UnknownIdError(f"{self.path} has no {kind} {id!r}; it has {there}")

    def span(self, video: str) -> tuple[int, int]:
        """Frame level: the rows [start, stop) of one video. Raises UnknownIdError, which is a KeyError."""
        v = self._of(video)
        return int(self.offsets[v]), int(self.offsets[v + 1])

    def decoder(self, video: str) -> str:
        """Frame level: which decoder served a video. Raises UnknownIdError."""
        return str(self.decoders[self._of(video)])

    @cached_property
    def _windows(self) -> list[Sweep]:
        columns = (self.features, self._file["index"], self._file["seconds"])
        return [Sweep(column, self.path, WINDOW_BYTES) for column in columns]

    def blocks(self, video: str, size: int) -> Iterator[Rows]:
        """Frame level: the rows of one video, `size` at a time; fast for videos in their order.

        Raises UnknownIdError.
        """
        first, last = self.span(video)
        for start in range(first, last, size):
            yield Rows(*(window.between(start, min(start + size, last)) for window in self._windows))

    def sweep(self, column: Literal["features", "index", "seconds"] = "features") -> Sweep:
        """A reader of all rows in ascending order, for what goes through the whole file."""
        return Sweep(self.features if column == "features" else self._file[column], self.path)

    def __getitem__(self, id: str) -> NDArray[Any]:
        """Raises UnknownIdError, which is a KeyError and tells which ids there are."""
        rows = self._rows(id)
        if rows is None:
            raise self._unknown(id)
        with schema.reading(self.path):
            return self.features[rows]

    def _rows(self, id: object) -> int | slice | None:
        """Where an id has its row or rows, if it has any."""
        if not isinstance(id, str):
            return None
        at = self._position.get(id)
        if at is not None:
            return slice(*self.span(id)) if self.level == "frame" else at
        video, _, number = id.rpartition("_")
        # 007 and the digits of other scripts are numbers too, but no frame id has them
        if self.level != "frame" or video not in self._position or not number.isdecimal() or len(number) > 18:
            return None
        start, stop = self.span(video)
        with schema.reading(self.path):
            index = self._file["index"][start:stop]
        row = int(np.searchsorted(index, int(number)))
        return start + row if row < len(index) and str(index[row]) == number else None

    def __iter__(self) -> Iterator[str]:
        return iter(self._position)

    def __len__(self) -> int:
        """Videos at frame level, else rows."""
        return (self._file["videos/ids"] if self.level == "frame" else self._file["ids"]).shape[0]

    def __contains__(self, id: object) -> bool:
        return self._rows(id) is not None

    def __repr__(self) -> str:
        try:
            return f"FeatureFile({str(self.path)!r}: {self.feature}, {self.level} level, {self.features.shape})"
        except OutputError as error:
            return f"FeatureFile({str(self.path)!r}: {error})"

    def _repr_html_(self) -> str:
        """What Jupyter shows."""
        try:
            return notebook_view.html(self)
        except OutputError as error:
            return notebook_view.refusal(str(error))

    def to_pandas(self) -> pandas.DataFrame:
        """A data frame with one row for each feature, indexed by id, columns 0 .. D-1 (ten crops side by side).

        At frame level the index has the levels video, index, seconds. Needs the extra `pandas`.
        """
        pandas = need("pandas", extra="pandas", for_="to_pandas")
        values = self.features[:].reshape(len(self.ids), -1)
        if self.level != "frame":
            return pandas.DataFrame(values, index=pandas.Index(self.ids, name="id"))
        videos = np.repeat(self.videos, np.diff(self.offsets))
        index = pandas.MultiIndex.from_arrays([videos, self.index, self.seconds], names=["video", "index", "seconds"])
        return pandas.DataFrame(values, index=index)

    def to_xarray(self) -> xarray.DataArray:
        """An array (frame, dim) with the coordinates frame (the id), video, index and seconds, its values read when
        they are asked for: `f.to_xarray()[10:20]` reads ten rows.

        At other levels (video, dim) or (segment, dim); ten crops (frame, crop, dim). Needs the extra `xarray`.
        """
        from vfx.features.xarray_array import labelled

        return labelled(self)

    def to_torch(self) -> torch.Tensor:
        """All features as one tensor, (N, D) or (N, 10, D)."""
        import torch

        return torch.from_numpy(self.features[:])

    def to_dataset(self) -> FeatureRows:
        """A map-style dataset of torch, of which item n is (features of row n, n), for DataLoader.

        Whole videos need none: `DataLoader(f, sampler=list(f), batch_size=None)` gives one (T, D) after another.
        """
        from vfx.features.torch_dataset import FeatureRows

        return FeatureRows(self)


_open: WeakValueDictionary[int, FeatureFile] = WeakValueDictionary()


def _let_go() -> None:
    """Close, in a process that has just been forked off, what its parent has open: HDF5 would read by the parent's
    handle also for one who opens the file again beside it."""
    for file in list(_open.values()):
        file.close()


if hasattr(os, "register_at_fork"):  # where there is no fork, there is no need
    os.register_at_fork(after_in_child=_let_go)


def _decoded(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


class Sweep:
    """Reads rows of a dataset a large block at a time, for calls that ascend, overlapping or not."""

    def __init__(self, data: Dataset, path: Path, block_bytes: int = BLOCK_BYTES) -> None:
        self._data = data
        self._path = path
        row_bytes = int(np.prod(data.shape[1:])) * data.dtype.itemsize
        self._size = max(1, block_bytes // row_bytes)
        self._start = 0
        self._block: NDArray[Any] = np.empty((0, *data.shape[1:]), data.dtype)

    def rows(self, start: int, stop: int) -> Iterator[NDArray[Any]]:
        """Rows [start, stop), in as many pieces as blocks that they touch."""
        while start < stop:
            if not self._start <= start < self._start + len(self._block):
                with schema.reading(self._path):
                    self._start, self._block = start, self._data[start : start + self._size]
            end = min(stop, self._start + len(self._block))
            yield self._block[start - self._start : end - self._start]
            start = end

    def between(self, start: int, stop: int) -> NDArray[Any]:
        """Rows [start, stop) as one array."""
        found = list(self.rows(start, stop))
        return found[0] if len(found) == 1 else np.concatenate([self._block[:0], *found])
