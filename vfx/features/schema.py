"""The HDF5 schema of feature files, and the check that a file keeps it. The only module that imports h5py.

A file may come from anywhere. So links to other files are not followed, no filter plugins are loaded, and the sizes
that a file claims are compared with its own.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import h5py
import numpy as np

from vfx.errors import OutputError

SCHEMA = "vfx.features/1"
Level = Literal["frame", "video", "segment"]
LEVELS = get_args(Level)
ATTRIBUTES = ("schema", "level", "feature", "collection", "created", "config", "provenance")
TEXT = h5py.string_dtype()
FAILURE = np.dtype([("id", TEXT), ("stage", TEXT), ("error", TEXT)])
CHUNK = np.dtype([("id", TEXT), ("begin", "<i8"), ("end", "<i8"), ("total", "<i8")])
# The filters that come with h5py. For any other HDF5 would look for a plugin on this machine.
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
MOST_COMPRESSED = 100  # how many times the size of its file a compressed column may claim
MOST_CHUNK_BYTES = 256 << 20  # of a compressed chunk, which is decompressed completely for any row in it
MOST_PROBLEMS = 3  # that a message names
REMEDY = "copy it again, or make it again with overwrite=true"  # for a file that cannot be used
# What h5py raises for a damaged file, besides OSError.
H5PY_ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError, OverflowError, MemoryError, SystemError)

File: TypeAlias = h5py.File
Dataset: TypeAlias = h5py.Dataset


class Column(NamedTuple):
    """What the schema says of a dataset.

    Args:
        dtypes: The types that it may have.
        axes: The numbers of axes that it may have.
        per: Another dataset, and how many rows more than that it has.
    """

    dtypes: tuple[np.dtype[Any], ...]
    axes: tuple[int, ...] = (1,)
    per: tuple[str, int] | None = None


COLUMNS: Mapping[str, Column] = {
    "features": Column((np.dtype("<f4"), np.dtype("<f2")), axes=(2, 3)),
    "ids": Column((TEXT,), per=("features", 0)),
    "failures": Column((FAILURE,)),
}
FRAME_COLUMNS: Mapping[str, Column] = {
    "index": Column((np.dtype("<i8"),), per=("features", 0)),
    "seconds": Column((np.dtype("<f8"),), per=("features", 0)),
    "videos/ids": Column((TEXT,)),
    "videos/offsets": Column((np.dtype("<i8"),), per=("videos/ids", 1)),
    "videos/decoder": Column((TEXT,), per=("videos/ids", 0)),
}
# Frame level: only in parts of an unfinished output, if they hold chunks of videos.
PART_COLUMNS: Mapping[str, Column] = {"chunks": Column((CHUNK,))}


def columns(file: File, level: str) -> Mapping[str, Column]:
    """The datasets that a file of this level must have."""
    if level != "frame":
        return COLUMNS
    return {**COLUMNS, **FRAME_COLUMNS, **{name: column for name, column in PART_COLUMNS.items() if name in file}}


def open_checked(path: Path) -> File:
    """Open a feature file for reading, and check its structure. No row is read.

    Raises:
        OutputError: It is missing or no feature file, and why.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open_hdf5(path))
        with reading(path):
            found = [*problems(file)]
        if found:
            more = f"; and {len(found) - MOST_PROBLEMS} more" if len(found) > MOST_PROBLEMS else ""
            raise OutputError(
                f"{path} is not a feature file that can be used: {'; '.join(found[:MOST_PROBLEMS])}{more}; {REMEDY}"
            )
        stack.pop_all()
    return file


def open_hdf5(path: Path) -> File:
    """Open an HDF5 file for reading, whatever it holds.

    Raises:
        OutputError: It is missing or no HDF5 file.
    """
    if not path.is_file():
        raise OutputError(f"no feature file {path}; `python -m vfx.extract` makes them")
    try:
        # Without a cache of chunks, HDF5 reads the rows that are asked for, not all the chunks that they lie in.
        return h5py.File(path, "r", rdcc_nbytes=0)
    except H5PY_ERRORS as error:
        raise OutputError(f"{path} is not a readable HDF5 file: {error}; {REMEDY}") from error


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what h5py raises inside the block for a damaged file into an OutputError."""
    try:
        yield
    except H5PY_ERRORS as error:
        raise OutputError(f"{path} is damaged: {error}; python -m vfx.verify file=... says where") from error


def attributes(file: File) -> dict[str, str]:
    """The attributes that are text, which all of the schema are. Others are not read, whatever their size."""
    found = {}
    for name in file.attrs:
        with contextlib.suppress(*H5PY_ERRORS):  # damaged, or of a type that numpy does not know
            attribute = file.attrs.get_id(name)
            if attribute.shape == () and _is_variable_length(attribute.dtype):
                found[name] = file.attrs[name]
    return found


def datasets(file: File) -> list[str]:
    """The paths of all members of the root and of the group `videos`."""
    names = [name for name in file if name != "videos"]
    inside = _follow(file, "videos")
    return [*names, *(f"videos/{name}" for name in (inside if isinstance(inside, h5py.Group) else ()))]


def problems(file: File) -> Iterator[str]:
    """Say in what the structure of an open file differs from the schema. No row is read."""
    names = set(file.attrs)
    texts = attributes(file)
    if texts.get("schema") != SCHEMA:
        yield f"schema is {texts.get('schema')!r}, wanted {SCHEMA!r}"
        return
    for name in ATTRIBUTES:
        if name not in names:
            yield f"it has no attribute {name}"
        elif name not in texts:
            yield f"attribute {name} cannot be read as text"
    level = texts.get("level", "")
    if level not in LEVELS:
        yield f"level ({level!r}) must be one of {', '.join(LEVELS)}"
        return
    lengths: dict[str, int] = {}
    for name, column in columns(file, level).items():
        problem = column_problem(file, name)
        if problem is not None:
            yield f"{name} {problem}"
            continue
        lengths[name] = file[name].shape[0]
        other, more = column.per or (name, 0)
        if other in lengths and lengths[name] != lengths[other] + more:
            wanted = f"{lengths[other] + more} for {lengths[other]} of {other}"
            yield f"{name} has {lengths[name]} rows, wanted {wanted}"


def column_problem(file: File, name: str) -> str | None:
    """Say why a dataset is not the column that the schema has, as the end of a sentence; None if it is. No row is
    read."""
    try:
        return _problem(file, name, {**COLUMNS, **FRAME_COLUMNS, **PART_COLUMNS}[name])
    except H5PY_ERRORS as error:
        return f"cannot be opened: {error}"


def _problem(file: File, name: str, column: Column) -> str | None:
    dataset = _follow(file, name)
    if isinstance(dataset, str):
        return dataset
    if not isinstance(dataset, h5py.Dataset):
        return "is not a dataset"
    if dataset.is_virtual:
        return "is a virtual dataset, whose rows are in other files: copy it with its rows"
    if dataset.external:
        return f"keeps its rows in another file ({dataset.external[0][0]}): copy it with its rows"
    dtype = dataset.dtype
    if not any(_is_same_dtype(dtype, wanted) for wanted in column.dtypes):
        return f"is of {_dtype_name(dtype)}, wanted {' or '.join(map(_dtype_name, column.dtypes))}"
    shape = dataset.shape
    if shape is None or len(shape) not in column.axes or 0 in shape[1:]:
        return f"has the shape {shape}, wanted {' or '.join(map(str, column.axes))} axes"
    properties = dataset.id.get_create_plist()
    filters = [properties.get_filter(n)[0] for n in range(properties.get_nfilters())]
    for code in filters:
        if code not in FILTERS:
            return f"is stored with HDF5 filter {code}, and only {', '.join(FILTERS.values())} are read: use h5repack"
    claimed = math.prod(shape) * dtype.itemsize
    size = os.stat(file.filename).st_size  # noqa: PTH116  (a name, not a path)
    if claimed > size * (MOST_COMPRESSED if filters else 1):
        return f"claims {claimed} bytes, in a file of {size}: it was not written or copied to its end, or is forged"
    if filters and math.prod(dataset.chunks) * dtype.itemsize > MOST_CHUNK_BYTES:
        return f"is compressed in chunks of {dataset.chunks}, more than {MOST_CHUNK_BYTES >> 20} MiB each: use h5repack"
    return None


def _follow(file: File, name: str) -> Any:
    """The member at a path, or a text that says why there is none."""
    node: Any = file
    for part in name.split("/"):
        if not isinstance(node, h5py.Group):
            return "is not there, since its folder is none"
        link = node.get(part, getlink=True)
        if link is None:
            return "is not there"
        if not isinstance(link, h5py.HardLink):
            return f"is a link to {getattr(link, 'filename', 'another place in the file')}: links are not followed"
        node = node[part]
    return node


def _is_same_dtype(dtype: np.dtype[Any], wanted: np.dtype[Any]) -> bool:
    if wanted.fields is not None:
        return dtype.names == wanted.names and all(_is_same_dtype(dtype[n], wanted[n]) for n in wanted.names or ())
    if dtype.kind == "O":
        return _is_variable_length(dtype) and wanted.kind == "O"
    return dtype == wanted


def _is_variable_length(dtype: np.dtype[Any]) -> bool:
    """Whether it is a string of variable length."""
    info = h5py.check_string_dtype(dtype)
    return info is not None and info.length is None


def _dtype_name(dtype: np.dtype[Any]) -> str:
    if dtype.names is not None:
        return f"records of {', '.join(dtype.names)}"
    return "text" if _is_variable_length(dtype) else str(dtype)
