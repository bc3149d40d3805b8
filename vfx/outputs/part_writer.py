"""Gathers rows as they come, and commits finished videos in immutable parts."""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vfx.collection.source import Chunk
from vfx.features.rows import Failure, Rows
from vfx.features.writer import FeatureFileWriter
from vfx.outputs.merge_parts import BLOCK_ROWS, NETWORK
from vfx.outputs.output_folder import OutputFolder
from vfx.system.files import make_folder, writing

SPOOL_BYTES = 32 << 20


@dataclass
class _Gathered:
    """The rows of a video or chunk as they come in, in memory or, when they are many, in an unnamed file."""

    rows: IO[bytes]
    count: int = 0
    failures: list[Failure] = field(default_factory=list)
    decoder: str = ""

    def drop(self) -> None:
        with suppress(OSError):  # a full disk refuses what waits to be written to the unnamed file
            self.rows.close()


class PartWriter:
    """Gathers the rows of the videos that are being read, and commits finished videos in immutable parts.

    Rows of several videos may alternate; those of one video come in order. A chunk of a video is gathered and
    committed like a video. Where both are there, the complete video counts, not its chunks.

    Args:
        output: Where the parts go.
        shape: Of one row, (D,) or (10, D).
        dtype: Of the stored features.
        attributes: Of each part.
        commit_mb: A part is written when so many MiB of finished videos are waiting.
        commit_seconds: A part is written when the last one is so old.
        spool_bytes: Rows of one video beyond this wait on the disk, not in memory.
    """

    def __init__(
        self,
        output: OutputFolder,
        *,
        shape: tuple[int, ...],
        dtype: str,
        attributes: Mapping[str, str],
        commit_mb: float,
        commit_seconds: float,
        spool_bytes: int = SPOOL_BYTES,
    ) -> None:
        self._output = output
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._record = np.dtype([("features", self._dtype, shape), ("index", np.int64), ("seconds", np.float64)])
        self._attributes = attributes
        self._commit_bytes = commit_mb * (1 << 20)
        self._commit_seconds = commit_seconds
        self._spool_bytes = spool_bytes
        self._reading: dict[tuple[str, Chunk | None], _Gathered] = {}
        self._finished: dict[str, dict[Chunk | None, _Gathered]] = {}
        self._waiting_bytes = 0
        self._last_commit = time.monotonic()
        self._has_folder = False

    def start(self, video: str, chunk: Chunk | None = None) -> None:
        """Begin a video or chunk. Discards the rows of an earlier attempt; for a video, also those of its chunks."""
        for key in [key for key in self._reading if key == (video, chunk) or (key[0] == video and chunk is None)]:
            self._reading.pop(key).drop()

    def append(
        self,
        video: str,
        features: NDArray[Any],
        index: NDArray[np.int64],
        seconds: NDArray[np.float64],
        chunk: Chunk | None = None,
    ) -> None:
        """Add rows of one video: (T, *shape), (T,), (T,). Raises OutputError where the disk refuses them."""
        records = np.empty(len(index), self._record)
        with np.errstate(over="ignore"):  # a float16 that overflows is found below
            records["features"] = features
        records["index"], records["seconds"] = index, seconds
        gathered = self._gathered(video, chunk)
        with writing(self._output.parts):
            gathered.rows.write(records.tobytes())
        gathered.count += len(records)
        self._commit_if_due()
        if not np.isfinite(records["features"]).all() and not gathered.failures:
            problem = f"features hold NaN or infinity, or overflow {self._dtype}; no row is kept"
            gathered.failures.append(Failure(video, NETWORK, problem))

    def finish(self, video: str, failures: list[Failure], decoder: str, chunk: Chunk | None = None) -> list[Failure]:
        """End a video or chunk, which now waits to be committed.

        Args:
            video: Its id.
            failures: What of it could not be read.
            decoder: What decoded it.
            chunk: None for a complete video.

        Returns:
            The failures, with those that its rows caused.
        """
        gathered = self._gathered(video, chunk)
        del self._reading[video, chunk]
        if gathered.failures:
            gathered.count = 0
        gathered.failures += failures
        gathered.decoder = decoder
        waiting = self._finished.setdefault(video, {})
        if chunk is None:
            for superseded in waiting.values():
                superseded.drop()
            waiting.clear()
        waiting[chunk] = gathered
        self._waiting_bytes += gathered.count * self._record.itemsize
        self._commit_if_due()
        return gathered.failures

    def _commit_if_due(self) -> None:
        overdue = time.monotonic() - self._last_commit > self._commit_seconds
        if overdue or self._waiting_bytes > self._commit_bytes:
            self.commit()

    def commit(self) -> None:
        """Write the finished videos as parts that survive any crash. Raises OutputError where that fails."""
        finished, self._finished = self._finished, {}
        self._waiting_bytes = 0
        self._last_commit = time.monotonic()
        with ExitStack() as stack:
            for gathered in finished.values():
                for one in gathered.values():
                    stack.callback(one.drop)
            while finished:  # a part holds one chunk of a video at most, so there may be several parts
                self._write({video: gathered.popitem() for video, gathered in finished.items()})
                finished = {video: gathered for video, gathered in finished.items() if gathered}

    def _write(self, finished: Mapping[str, tuple[Chunk | None, _Gathered]]) -> None:
        self._output.check_locked()
        path = self._output.parts / f"part-{uuid.uuid4().hex[:12]}.h5"
        with FeatureFileWriter(
            path, level="frame", shape=self._shape, dtype=self._dtype.name, attributes=self._attributes
        ) as writer:
            for video in sorted(finished):
                chunk, gathered = finished[video]
                if gathered.count:
                    writer.add_video(video, self._blocks(gathered), decoder=gathered.decoder)
                if chunk is not None:
                    writer.add_chunk(video, chunk)
                writer.add_failures(gathered.failures)

    def close(self) -> None:
        """Drop what is not finished, which may give a full disk room, and commit what is."""
        for gathered in self._reading.values():
            gathered.drop()
        self._reading.clear()
        self.commit()

    def _gathered(self, video: str, chunk: Chunk | None) -> _Gathered:
        if (video, chunk) not in self._reading:
            self._make_folder()
            spool = tempfile.SpooledTemporaryFile(self._spool_bytes, dir=str(self._output.parts))  # noqa: SIM115  (closed on commit)
            self._reading[video, chunk] = _Gathered(spool)
        return self._reading[video, chunk]

    def _make_folder(self) -> None:
        """Make the folder of parts, once: if it is gone later, it was removed with all that had been committed."""
        if not self._has_folder:
            with writing(self._output.parts):
                make_folder(self._output.parts)
            self._has_folder = True

    def _blocks(self, gathered: _Gathered) -> Iterator[Rows]:
        gathered.rows.seek(0)
        for start in range(0, gathered.count, BLOCK_ROWS):
            count = min(BLOCK_ROWS, gathered.count - start)
            records = np.frombuffer(gathered.rows.read(count * self._record.itemsize), self._record)
            yield Rows(records["features"], records["index"], records["seconds"])
