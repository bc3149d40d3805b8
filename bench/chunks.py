"""Reading times of feature files with chunks of several sizes: random rows, videos, the whole matrix; and a plain file.

    python bench/chunks.py [--rows 50000] [--dims 2048] [--kib 16 64 128 256 1024] [--rounds 5] [--folder DIR]

The same rows are in a plain file and, for each chunk size, in a file of vfx's own writer. That is read with
`vfx.FeatureFile`, and with h5py's defaults, which have a chunk cache. Each file is read cold, after the system has been
asked to drop it from memory, and warm, alternating; the table has medians. A video is 40 rows. Writing includes fsync.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from vfx import FeatureFile
from vfx.features import reader
from vfx.features import writer as storing

VIDEO = 40  # rows
PLACES = 200  # rows and videos that are asked for
ATTRIBUTES = {"feature": "A", "collection": "bench", "config": "", "provenance": '{"recipe": {}}'}
Read = Callable[[int, int], NDArray[np.float32]]  # rows [start, stop)
UNITS = {"row": ("us", 1e6 / PLACES), "video": ("us", 1e6 / PLACES), "matrix": ("ms", 1e3)}


@contextmanager
def plain(path: Path, dims: int) -> Iterator[Read]:
    """Rows of a file that holds nothing else."""
    with path.open("rb", buffering=0) as file:

        def read(start: int, stop: int) -> NDArray[np.float32]:
            values = np.empty((stop - start, dims), np.float32)
            file.seek(4 * dims * start)
            at, view = 0, memoryview(values).cast("B")
            while at < len(view):
                at += file.readinto(view[at:])
            return values

        yield read


@contextmanager
def by_vfx(path: Path) -> Iterator[Read]:
    with FeatureFile(path) as file:
        features = file.features
        yield lambda start, stop: features[start:stop]


@contextmanager
def by_h5py(path: Path) -> Iterator[Read]:
    with h5py.File(path) as file:
        features = file["features"]
        yield lambda start, stop: features[start:stop]


def forget(path: Path) -> None:
    """Ask the system to drop what it holds of a file."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def write_plain(path: Path, blocks: list[NDArray[np.float32]]) -> None:
    with path.open("wb") as file:
        for block in blocks:
            block.tofile(file)
        file.flush()
        os.fsync(file.fileno())


def write_chunked(path: Path, blocks: list[NDArray[np.float32]], kib: int) -> None:
    storing.CHUNK_BYTES = kib << 10
    times = np.arange(VIDEO)
    shape = blocks[0].shape[1:]
    with storing.FeatureFileWriter(path, level="frame", shape=shape, attributes=ATTRIBUTES) as writer:
        for v, block in enumerate(blocks):
            writer.add_video(f"v{v:07d}", iter([reader.Rows(block, times, times / 2)]))


class Stopwatch:
    """Collects seconds of wall time by name."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, ...], list[float]] = defaultdict(list)

    def time(self, name: tuple[str, ...], work: Callable[..., object], *arguments: Any) -> None:
        start = time.perf_counter()
        work(*arguments)
        self.seconds[name].append(time.perf_counter() - start)


def read_all(read: Read, parts: list[tuple[int, int]]) -> None:
    for part in parts:
        read(*part)


def places(videos: int) -> dict[str, list[tuple[int, int]]]:
    """The ranges of rows that are read, by what they are."""
    rng = np.random.default_rng(0)
    rows = rng.integers(0, videos * VIDEO, PLACES)
    starts = VIDEO * rng.permutation(videos)[:PLACES]
    return {
        "row": [(int(n), int(n) + 1) for n in rows],
        "video": [(int(n), int(n) + VIDEO) for n in starts],
        "matrix": [(0, videos * VIDEO)],
    }


def measure(folder: Path, watch: Stopwatch, *, videos: int, dims: int, sizes: list[int], rounds: int) -> list[str]:
    """Write all files, then read them in turns; the names of the ways to read."""
    rng = np.random.default_rng(0)
    blocks = [rng.random((VIDEO, dims), np.float32) for _ in range(videos)]
    file = folder / "plain"
    watch.time(("plain file", "write"), write_plain, file, blocks)
    readers: dict[str, tuple[Path, Callable[[], Any]]] = {"plain file": (file, partial(plain, file, dims))}
    for kib in sizes:
        file = folder / f"{kib}" / "features.h5"
        file.parent.mkdir()
        watch.time((f"{kib} KiB", "write"), write_chunked, file, blocks, kib)
        readers[f"{kib} KiB"] = (file, partial(by_vfx, file))
        readers[f"{kib} KiB, by h5py"] = (file, partial(by_h5py, file))
    wanted = places(videos)
    for number in range(rounds):
        for name, (file, opened) in list(readers.items())[:: 1 if number % 2 == 0 else -1]:
            for what, parts in wanted.items():
                for state in ("cold", "warm"):
                    if state == "cold":
                        forget(file)
                    with opened() as read:
                        watch.time((name, what, state), read_all, read, parts)
    return list(readers)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=50_000)
    options.add_argument("--dims", type=int, default=2048)
    options.add_argument("--kib", type=int, nargs="+", default=[16, 64, 128, 256, 1024])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--folder", help="where to work (default: a temporary folder); takes the matrix, by sizes")
    chosen = options.parse_args()
    videos = chosen.rows // VIDEO
    rows = videos * VIDEO
    watch = Stopwatch()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as work:
        names = measure(Path(work), watch, videos=videos, dims=chosen.dims, sizes=chosen.kib, rounds=chosen.rounds)
    print(f"{rows} rows of {chosen.dims} float32, {rows * chosen.dims * 4 >> 20} MiB, {chosen.rounds} rounds")
    columns = [(what, state) for what in UNITS for state in ("cold", "warm")]
    heads = [f"{what} {state} {UNITS[what][0]}" for what, state in columns]
    print(f"{'chunks':18}" + "".join(f"{head:>16}" for head in [*heads, "write MB/s"]))
    for name in names:
        cells = [
            f"{UNITS[what][1] * statistics.median(watch.seconds[name, what, state]):.0f}" for what, state in columns
        ]
        written = watch.seconds[name, "write"]
        cells.append(f"{rows * chosen.dims * 4e-6 / written[0]:.0f}" if written else "")
        print(f"{name:18}" + "".join(f"{cell:>16}" for cell in cells))


if __name__ == "__main__":
    main()
