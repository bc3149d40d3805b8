"""Reads the committed files of one output together, and merges them into one feature file.

A part may hold a single chunk of a video. Once all chunks of a video are there, in whatever parts, it is done.
"""

from __future__ import annotations

import heapq
import itertools
import json
from collections import Counter, OrderedDict
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from functools import cached_property
from operator import itemgetter
from pathlib import Path

import numpy as np

from vfx.collection.source import Chunk
from vfx.errors import ExtractionError, OutputError
from vfx.features.reader import FeatureReader
from vfx.features.rows import Failure, Rows
from vfx.features.writer import FeatureFileWriter
from vfx.text import SHOWN

MAX_OPEN_FILES = 200  # the usual limit of a process is 1024
BLOCK_ROWS = 4096
NETWORK = "network"  # the stage at which rows turn out not to be finite


class DamagedPartError(OutputError):
    """A file that cannot be read to its end. `path`: the file."""

    def __init__(self, path: Path, problem: OutputError) -> None:
        super().__init__(str(problem))
        self.path = path


class CommittedFiles:
    """The committed files of one output, read as one.

    There may be more files than a process may have open, so each is open only while it is read.

    Args:
        files: The parts, and the finished file where there is one.
    """

    def __init__(self, files: Sequence[FeatureReader]) -> None:
        self.files = files
        self._complete: set[str] = set()  # the videos that some file holds completely
        self._divided: dict[str, dict[Chunk, int]] = {}  # of each other video the chunks, and which file holds them
        for n, file in enumerate(files):
            with file:
                self._complete.update({*file.videos, *(f.id for f in file.failures)} - file.chunks.keys())
                for video, chunk in file.chunks.items():
                    self._divided.setdefault(video, {})[chunk] = n
        for video in self._complete & self._divided.keys():
            del self._divided[video]
        self._joined = {video: [held[c] for c in covering(held)] for video, held in self._divided.items()}

    def done(self) -> set[str]:
        """The videos that need not be read again: those with rows, and those that are known to have none."""
        return self._complete.union(video for video, parts in self._joined.items() if parts)

    def chunks(self) -> set[tuple[str, Chunk]]:
        """What has been committed of videos that are not done, as chunks of a single unit."""
        return {
            (video, Chunk(n, n + 1, chunk.total))
            for video, held in self._divided.items()
            if not self._joined[video]
            for chunk in held
            for n in range(chunk.begin, chunk.end)
        }

    @cached_property
    def failures(self) -> list[Failure]:
        """The failures of all videos that are done, sorted."""
        failures: set[Failure] = set()
        for n, file in enumerate(self.files):
            with file:
                failures.update(f for f in file.failures if f.id not in file.chunks or n in self._joined.get(f.id, ()))
        return sorted(failures)

    def videos(self, *, max_open_files: int = MAX_OPEN_FILES) -> Generator[tuple[str, Iterator[Rows], str], None, None]:
        """Each video with rows once, sorted by id: its id, its rows in blocks, and its decoder.

        Read the rows of one video before you take the next.

        Raises:
            DamagedPartError: While the rows are read.
        """
        discarded = {f.id for f in self.failures if f.stage == NETWORK}
        held = [zip(map(str, file.videos), itertools.repeat(n)) for n, file in enumerate(self.files)]
        with closing(_OpenFiles(self.files, max_open_files)) as files:
            for video, group in itertools.groupby(heapq.merge(*held), key=itemgetter(0)):
                holders = [n for _, n in group]
                if video in self._joined:
                    parts = [n for n in self._joined[video] if n in holders and video not in discarded]
                else:  # committed twice, by two runs: either is right, the first is taken
                    parts = [n for n in holders if video not in self.files[n].chunks][:1]
                if parts:
                    yield video, files.rows(video, parts), files.open(parts[0]).decoder(video)


class _OpenFiles:
    """Keeps a limited number of files open, those used last."""

    def __init__(self, files: Sequence[FeatureReader], limit: int) -> None:
        self._files = files
        self._limit = limit
        self._recent: OrderedDict[int, FeatureReader] = OrderedDict()

    def open(self, n: int) -> FeatureReader:
        self._recent[n] = self._files[n]
        self._recent.move_to_end(n)
        if len(self._recent) > self._limit:
            self._recent.popitem(last=False)[1].close()
        return self._files[n]

    def rows(self, video: str, parts: Sequence[int]) -> Iterator[Rows]:
        """The rows of a video from the files that hold its chunks, in order, each index once."""
        last = -1
        for n in parts:
            file = self.open(n)
            try:
                for block in file.blocks(video, BLOCK_ROWS):
                    new = np.flatnonzero(block.index > last)
                    yield Rows(block.features[new], block.index[new], block.seconds[new])
                    last = max(last, int(block.index[-1]))
            except OutputError as error:
                raise DamagedPartError(file.path, error) from error

    def close(self) -> None:
        for file in self._recent.values():
            file.close()


def merge(
    committed: CommittedFiles,
    path: Path,
    attributes: Mapping[str, str],
    *,
    max_open_files: int = MAX_OPEN_FILES,
) -> None:
    """Write all videos that are done into one feature file.

    Args:
        committed: What is merged.
        path: Of the new file, which appears complete or not at all.
        attributes: Of the new file. Its provenance gains the number of videos by decoder.
        max_open_files: How many of the files are open at a time.

    Raises:
        ExtractionError: Not one video has a row.
        DamagedPartError: One of the files cannot be read to its end.
        OutputError: The disk refuses.
    """
    videos = committed.videos(max_open_files=max_open_files)
    first = next(videos, None)
    failures = committed.failures
    if first is None:
        raise ExtractionError(
            f"not one of {len(failures)} videos could be read, so there is no {path}: "
            + "; ".join(f"{f.id}: {f.error}" for f in failures[:SHOWN])
            + "; python -m vfx.probe collection=... shows them all"
        )
    with committed.files[0] as file:
        shape, dtype = file.features.shape[1:], file.features.dtype.name
    with (
        closing(videos),
        FeatureFileWriter(path, level="frame", shape=shape, dtype=dtype, attributes=attributes) as writer,
    ):
        served: Counter[str] = Counter()
        for video, rows, decoder in itertools.chain([first], videos):
            writer.add_video(video, rows, decoder=decoder)
            served[decoder] += 1
        writer.add_failures(failures)
        provenance = json.loads(attributes["provenance"]) | {"decoders": served}
        writer.attributes["provenance"] = json.dumps(provenance)


def covering(chunks: Collection[Chunk]) -> list[Chunk]:
    """The fewest chunks that make up a video, in order; [] where some are missing. Those of two runs may overlap."""
    for total in sorted({chunk.total for chunk in chunks}):  # all the same, unless the file has changed
        chosen: list[Chunk] = []
        reach = 0
        while fitting := [c for c in chunks if c.total == total and c.begin <= reach < c.end]:
            chosen.append(max(fitting, key=lambda chunk: chunk.end))
            reach = chosen[-1].end
        if reach == total:
            return chosen
    return []
