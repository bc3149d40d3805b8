"""Writes feature files, completely or not at all."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vfx.collection.source import Chunk
from vfx.errors import OutputError
from vfx.features import checksums, schema
from vfx.features.fail_safe_file import FailSafeFile
from vfx.features.rows import BLOCK_BYTES, Failure, Rows
from vfx.features.schema import CHUNK, SCHEMA, Dataset, Level
from vfx.system.files import replace_durably, write_error, writing

CHUNK_BYTES = 128 << 10  # other programs read a whole chunk for one row
CHUNK_ROWS = 4096  # of the other columns
BUFFER_ROWS = 16384  # of the other columns
T = TypeVar("T")


class FeatureFileWriter:
    """Writes a feature file, as a context manager. The file appears at `path` when the block has ended without an
    exception; until then it has a temporary name.

    Args:
        path: The file.
        level: What a row is of. At frame level call `add_video`, else `add_rows`.
        shape: Of a row: (D,), or (10, D) with ten crops kept apart.
        dtype: "float32" or "float16".
        attributes: The text attributes `feature`, `collection`, `config` and `provenance`, and any others.

    Attributes:
        attributes: All attributes. They may be changed until the block ends.

    Raises:
        OutputError: The disk refuses the file, or the file does not read back.
    """

    def __init__(
        self,
        path: Path,
        *,
        level: Level,
        shape: tuple[int, ...],
        dtype: str = "float32",
        attributes: Mapping[str, str],
    ) -> None:
        self.path = path
        self._temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
        with writing(path):
            self._target = FailSafeFile(self._temporary)
        self._thread = ThreadPoolExecutor(1)  # in which HDF5 writes, while this one computes digests
        self._file = self._in_thread(schema.File, self._target, "w")
        self._columns: dict[str, _Column] = {}
        row_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        chunk, buffer = (max(1, size // row_bytes) for size in (CHUNK_BYTES, BLOCK_BYTES))
        self._create("features", np.dtype(dtype), shape, chunk=chunk, buffer=buffer)
        others = {**schema.COLUMNS, **(schema.FRAME_COLUMNS if level == "frame" else {})}
        del others["features"]
        for name, column in others.items():
            self._create(name, column.dtypes[0])
        if level == "frame":
            self._columns["videos/offsets"].append([0])
        self.attributes: dict[str, str] = {
            "schema": SCHEMA,
            "level": level,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            **attributes,
        }

    @property
    def rows(self) -> int:
        """The number of rows so far."""
        return self._columns["features"].length

    def add_video(self, id: str, blocks: Iterator[Rows], *, decoder: str = "") -> None:
        """Frame level: add the rows of a video. Call it for videos in ascending order of their ids.

        Args:
            id: The id of the video.
            blocks: Its rows by ascending index, in blocks of any size.
            decoder: The decoder that read it.
        """
        for block in blocks:
            self._columns["features"].append(block.features)
            self._columns["index"].append(block.index)
            self._columns["seconds"].append(block.seconds)
            self._columns["ids"].append([f"{id}_{i}" for i in block.index])
        self._columns["videos/ids"].append([id])
        self._columns["videos/decoder"].append([decoder])
        self._columns["videos/offsets"].append([self.rows])

    def add_rows(self, ids: Sequence[str], features: NDArray[Any]) -> None:
        """Video or segment level: add rows, (n, D) or (n, 10, D), with their ids."""
        self._columns["ids"].append(ids)
        self._columns["features"].append(features)

    def add_chunk(self, id: str, chunk: Chunk) -> None:
        """Say that the file holds only this chunk of a video. Only parts of an unfinished output may."""
        if "chunks" not in self._columns:
            self._create("chunks", CHUNK, chunk=64)
        self._columns["chunks"].append([(id, *chunk)])

    def add_failures(self, failures: list[Failure]) -> None:
        """Add what could not be read completely."""
        self._columns["failures"].append([tuple(map(_storable, failure)) for failure in failures])

    def __enter__(self) -> FeatureFileWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._complete()
                replace_durably(self._temporary, self.path)
            elif isinstance(error, OSError):
                raise error
        except OSError as os_error:
            raise write_error(self.path, os_error) from os_error
        finally:
            self._thread.submit(self._file.close)
            self._thread.shutdown()
            with contextlib.suppress(OSError):
                self._target.close()
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)

    def _create(
        self,
        name: str,
        dtype: np.dtype[Any],
        shape: tuple[int, ...] = (),
        *,
        chunk: int = CHUNK_ROWS,
        buffer: int = BUFFER_ROWS,
    ) -> None:
        """Create a column; `chunk` and `buffer` are rows."""
        options = {"maxshape": (None, *shape), "chunks": (chunk, *shape)}
        data = self._in_thread(self._file.create_dataset, name, (0, *shape), dtype, **options)
        self._columns[name] = _Column(data, dtype, buffer, self._thread, self._target)

    def _in_thread(self, work: Callable[..., T], *arguments: Any, **options: Any) -> T:
        return self._thread.submit(work, *arguments, **options).result()

    def _complete(self) -> None:
        digests = {}
        for name, column in self._columns.items():
            column.flush()
            digests[name] = column.digest.hexdigest()
        digests[checksums.ATTRIBUTES] = checksums.attributes_digest(self.attributes)
        self._in_thread(self._file.attrs.update, {**self.attributes, checksums.NAME: json.dumps(digests)})
        self._in_thread(self._file.close)
        self._target.check()
        self._target.close()
        with schema.open_checked(self._temporary) as again:  # a file that cannot be opened must not appear at `path`
            if again["features"].shape[0] != self.rows:
                raise OutputError(
                    f"{self._temporary} does not read back as it was written: is the disk sound? Write to"
                    " another (output_dir=...)"
                )


def _storable(text: str) -> str:
    """Escape what HDF5 cannot store: bytes in file names that are not UTF-8, and NUL in messages."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


class _Column:
    """A dataset that rows are appended to, and its digest. Rows are collected in a buffer, as HDF5 is slow with few."""

    def __init__(
        self, data: Dataset, dtype: np.dtype[Any], buffer: int, thread: ThreadPoolExecutor, target: FailSafeFile
    ) -> None:
        self._data = data
        # Texts and records are arrays of objects in memory, which h5py converts.
        memory = dtype if dtype.kind in "fiu" else np.dtype(object) if dtype.fields is None else dtype
        self._buffer = np.empty((buffer, *data.shape[1:]), memory)
        self._filled = 0
        self._thread = thread
        self._target = target
        self.digest = checksums.ColumnDigest()
        self.length = 0

    def append(self, values: Any) -> None:
        rows = np.asarray(values, self._buffer.dtype).reshape(-1, *self._buffer.shape[1:])
        self.length += len(rows)
        while len(rows):
            room = min(len(rows), len(self._buffer) - self._filled)
            self._buffer[self._filled : self._filled + room] = rows[:room]
            self._filled += room
            rows = rows[room:]
            if self._filled == len(self._buffer):
                self.flush()

    def flush(self) -> None:
        if not self._filled:
            return
        rows = self._buffer[: self._filled]
        stored = self._thread.submit(self._store, rows)
        self.digest.update(rows)  # in parallel, as hashlib and HDF5 release the GIL
        stored.result()
        self._target.check()
        self._filled = 0

    def _store(self, rows: NDArray[Any]) -> None:
        start = len(self._data)
        self._data.resize(start + len(rows), axis=0)
        self._data[start:] = rows
