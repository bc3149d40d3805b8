"""Feature files as they are written: whole or not at all, in the schema that `vfx.features.reader` reads."""

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
from vfx.features.schema import CHUNK, FAILURE, SCHEMA, TEXT, Dataset, Level
from vfx.system.files import replace_durably, write_error, writing

CHUNK_BYTES = 128 << 10  # a chunk is read whole for one row and written whole for one video
T = TypeVar("T")


class FeatureFileWriter:
    """Writes one feature file: under another name while it is open, under its own when all is on the disk.

    Use as a context manager; an exception inside leaves no file. Rows come a video (frame level) or a block
    (other levels) at a time, in the order in which they shall stand. `shape`: of one row, (D,) or (10, D).
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
            self._sink = FailSafeFile(self._temporary)
        self._aside = ThreadPoolExecutor(1)  # where HDF5 writes, while digests are made here
        self._file = self._do(schema.create, self._sink)
        self._columns: dict[str, _Column] = {}
        row_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        self._features = self._column(
            "features", np.dtype(dtype), shape, max(1, CHUNK_BYTES // row_bytes), max(1, BLOCK_BYTES // row_bytes)
        )
        self._ids = self._column("ids", TEXT)
        self._failures = self._column("failures", FAILURE)
        if level == "frame":
            self._index = self._column("index", np.dtype(np.int64))
            self._seconds = self._column("seconds", np.dtype(np.float64))
            self._videos = self._column("videos/ids", TEXT)
            self._offsets = self._column("videos/offsets", np.dtype(np.int64))
            self._decoders = self._column("videos/decoder", TEXT)
            self._offsets.append([0])
        self.attributes: dict[str, str] = {
            "schema": SCHEMA,
            "level": level,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            **attributes,
        }

    def _column(
        self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...] = (), chunk: int = 4096, block: int = 16384
    ) -> _Column:
        data = self._do(
            self._file.create_dataset, name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(chunk, *shape)
        )
        self._columns[name] = _Column(data, dtype, block, self._aside, self._sink)
        return self._columns[name]

    def _do(self, work: Callable[..., T], *arguments: Any, **options: Any) -> T:
        return self._aside.submit(work, *arguments, **options).result()

    @property
    def rows(self) -> int:
        return self._features.length

    def add_video(self, id: str, blocks: Iterator[Rows], *, decoder: str = "") -> None:
        """Append the rows of one video, in blocks of any size. Videos come sorted by id, rows by index."""
        for block in blocks:
            self._features.append(block.features)
            self._index.append(block.index)
            self._seconds.append(block.seconds)
            self._ids.append([f"{id}_{i}" for i in block.index])
        self._videos.append([id])
        self._decoders.append([decoder])
        self._offsets.append([self.rows])

    def add_rows(self, ids: Sequence[str], features: NDArray[Any]) -> None:
        """Append a block of rows at video or segment level, in the order in which they shall stand."""
        self._ids.append(ids)
        self._features.append(features)

    def add_chunk(self, id: str, chunk: Chunk) -> None:
        """Say that the file holds this chunk of a video alone, as only a part of an unfinished output may."""
        if "chunks" not in self._columns:
            self._column("chunks", CHUNK, chunk=64)
        self._columns["chunks"].append([(id, *chunk)])

    def add_failures(self, failures: list[Failure]) -> None:
        self._failures.append([tuple(map(_storable, failure)) for failure in failures])

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
        except OSError as refusal:
            raise write_error(self.path, refusal) from refusal
        finally:
            self._aside.submit(self._file.close)
            self._aside.shutdown()
            with contextlib.suppress(OSError):
                self._sink.close()
            with contextlib.suppress(OSError):
                self._temporary.unlink(missing_ok=True)

    def _complete(self) -> None:
        found = {}
        for name, column in self._columns.items():
            column.flush()
            found[name] = column.digest.hexdigest()
        found[checksums.ATTRIBUTES] = checksums.attributes_digest(self.attributes)
        self._do(self._file.attrs.update, {**self.attributes, checksums.NAME: json.dumps(found)})
        self._do(self._file.close)
        self._sink.check()
        self._sink.close()
        with schema.open_checked(self._temporary) as again:  # what cannot be opened must not take the final name
            if again["features"].shape[0] != self.rows:
                raise OutputError(
                    f"{self._temporary} does not read back as it was written: is the disk sound? Write to"
                    " another (output_dir=...)"
                )


def _storable(text: str) -> str:
    """Text as HDF5 takes it: names of files may hold bytes that are no UTF-8, messages of libraries a NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")


class _Column:
    """A dataset that grows at its end, in blocks large enough for HDF5 to be fast, and the digest of its rows."""

    def __init__(
        self, data: Dataset, dtype: np.dtype[Any], block: int, aside: ThreadPoolExecutor, sink: FailSafeFile
    ) -> None:
        self._data = data
        # text and records become arrays of objects, which h5py turns into HDF5's own
        memory = dtype if dtype.kind in "fiu" else np.dtype(object) if dtype.fields is None else dtype
        self._block = np.empty((block, *data.shape[1:]), memory)
        self._waiting = 0
        self._aside = aside
        self._sink = sink
        self.digest = checksums.ColumnDigest()
        self.length = 0

    def append(self, values: Any) -> None:
        rows = np.asarray(values, self._block.dtype).reshape(-1, *self._block.shape[1:])
        self.length += len(rows)
        while len(rows):
            room = min(len(rows), len(self._block) - self._waiting)
            self._block[self._waiting : self._waiting + room] = rows[:room]
            self._waiting += room
            rows = rows[room:]
            if self._waiting == len(self._block):
                self.flush()

    def flush(self) -> None:
        if not self._waiting:
            return
        rows = self._block[: self._waiting]
        storing = self._aside.submit(self._store, rows)
        self.digest.update(rows)  # hashlib lets go of the interpreter, as HDF5 does
        storing.result()
        self._sink.check()
        self._waiting = 0

    def _store(self, rows: NDArray[Any]) -> None:
        start = len(self._data)
        self._data.resize(start + len(rows), axis=0)
        self._data[start:] = rows
