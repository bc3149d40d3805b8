"""The bridge in: a feature of the lineage, BigFile or text, as features.h5."""

from __future__ import annotations

import itertools
import json
import logging
import shutil
from array import array
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from vfx.cli import command
from vfx.cli.logging import log_to_files
from vfx.collection.collection import collection_name
from vfx.collection.ids import split_frame_id
from vfx.errors import OutputError, UsageError
from vfx.features.rows import Failure, Rows
from vfx.features.schema import LEVELS, Level
from vfx.features.writer import FeatureFileWriter
from vfx.formats import BLOCK_BYTES, Matrix, bigfile
from vfx.formats.lineage_source import LineageInput, find_source
from vfx.outputs.find import is_made
from vfx.outputs.output_folder import OutputFolder
from vfx.outputs.provenance import versions
from vfx.system.files import write_text

log = logging.getLogger("vfx.import_bigfile")  # not __name__, which is __main__ when run


def main(*overrides: str) -> Path:
    """Import as the command line does, `main("source=...", "collection=toydata", "feature=...")`.

    Returns the feature file. Raises VfxError and its kin, see vfx/errors.py.
    """
    return command.call(import_bigfile, "import_bigfile", overrides)


def import_bigfile(config: DictConfig) -> Path:
    """Write `features.h5` as a resolved config of conf/import_bigfile.yaml says; returns its path."""
    source = find_source(Path(config.source).expanduser())
    level = _level(config.level, source)
    name = collection_name(config.collection)
    output = OutputFolder(Path(config.output_dir) / name / config.feature)
    making = {"imported": {"format": source.format, "level": level, **source.hashes()}}
    with output.locked():
        if is_made(output, making, overwrite=config.overwrite):
            return output.features
        output.folder.mkdir(parents=True, exist_ok=True)
        log_to_files(output.folder / "import_bigfile.log")
        with source.as_bigfile(output.folder) as folder, bigfile.opened(folder) as matrix:
            log.info("%s: %d rows of %d values", source.path, matrix.rows, matrix.dims)
            attributes = {
                "feature": config.feature,
                "collection": name,
                "config": OmegaConf.to_yaml(config),
                "provenance": json.dumps(
                    {
                        "versions": versions(),
                        "imported": {"source": str(source.path.absolute()), **making["imported"], "rows": matrix.rows},
                        "recipe": making,
                    }
                ),
            }
            write_text(output.folder / "config.yaml", attributes["config"])
            with FeatureFileWriter(output.features, level=level, shape=(matrix.dims,), attributes=attributes) as writer:
                ids = bigfile.read_ids(folder)
                failures = (add_frames if level == "frame" else add_rows)(writer, ids, matrix)
                if not writer.rows:
                    raise OutputError(f"{source.path} holds no row of finite numbers; is it the right file?")
    shutil.rmtree(output.parts, ignore_errors=True)  # of an extraction that overwrite=true gave up
    if failures:
        log.warning(
            "%d ids had rows dropped, listed in the file's failures; the first: %s",
            len(failures),
            ": ".join(failures[0]),
        )
    log.info("%s: %d rows", output.features, writer.rows)
    return output.features


def add_frames(writer: FeatureFileWriter, ids: Iterator[str], matrix: Matrix) -> list[Failure]:
    """Append rows of frame level by video and index, however they are ordered in `matrix`.

    Of rows that share an id the first counts, as in the lineage's txt2bin.py; then rows with NaN go, and, since no
    reader of features.h5 expects them, those with infinity. Times are not known, so `seconds` is NaN.
    Returns one Failure for each video that lost rows. Raises OutputError for an id that is not a frame's.
    """
    numbers: dict[str, int] = {}
    of_row, index = array("q"), array("q")  # ids as text would take ten times the memory
    renamed = 0
    for id in ids:
        try:
            video, i = split_frame_id(id)
            index.append(i)
        except (ValueError, OverflowError) as error:
            raise OutputError(f"level=frame: {id} is not <video id>_<frame index>, see level ({error})") from error
        of_row.append(numbers.setdefault(video, len(numbers)))
        renamed += id != f"{video}_{i}"
    if renamed:
        log.warning("%d frame ids have an index with leading zeros, which features.h5 has without", renamed)
    names = list(numbers)
    ranking = sorted(range(len(names)), key=names.__getitem__)
    ranks = np.empty(len(names), np.int64)
    ranks[ranking] = np.arange(len(names))
    rank, frame = ranks[np.frombuffer(of_row, np.int64)], np.frombuffer(index, np.int64)
    order = np.lexsort((frame, rank))  # stable: of equal ids the first stays the first
    edges = np.searchsorted(rank[order], np.arange(len(names) + 1))
    failures = []
    for v, (start, stop) in zip(ranking, itertools.pairwise(edges), strict=True):
        rows = order[start:stop]
        first = np.concatenate([[True], np.diff(frame[rows]) != 0])
        kept, lost = _Kept(matrix, rows[first]), int((~first).sum())
        blocks = (Rows(values, frame[at], np.full(len(at), np.nan)) for at, values in kept)
        head = next(blocks, None)  # a video without a row is not one of the file's
        if head is not None:
            writer.add_video(names[v], itertools.chain([head], blocks), decoder="")
        if lost or kept.dropped:
            failures.append(_failure(names[v], lost, kept.dropped))
    writer.add_failures(failures)
    return failures


def add_rows(writer: FeatureFileWriter, ids: Iterator[str], matrix: Matrix) -> list[Failure]:
    """Append rows of video or segment level in their order; what is dropped is as in `add_frames`."""
    positions: dict[str, int] = {}
    repeated: Counter[str] = Counter()
    for position, id in enumerate(ids):
        if positions.setdefault(id, position) != position:
            repeated[id] += 1
    names = {position: id for id, position in positions.items()}
    kept = _Kept(matrix, np.fromiter(positions.values(), np.int64))
    written = set()
    for at, values in kept:
        written.update(at.tolist())
        writer.add_rows([names[p] for p in at.tolist()], values)
    dropped = {id for id, position in positions.items() if position not in written}
    failures = [_failure(id, repeated[id], int(id in dropped)) for id in positions if id in repeated or id in dropped]
    writer.add_failures(failures)
    return failures


class _Kept:
    """The rows of a matrix at some positions that hold numbers alone, in blocks of (positions, rows)."""

    def __init__(self, matrix: Matrix, positions: NDArray[np.int64]) -> None:
        self._matrix = matrix
        self._positions = positions
        self.dropped = 0

    def __iter__(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        size = max(1, BLOCK_BYTES // (self._matrix.dims * 4))
        for start in range(0, len(self._positions), size):
            at = self._positions[start : start + size]
            values = self._matrix.read(at)
            good = np.isfinite(values).all(axis=1)
            self.dropped += int((~good).sum())
            if good.any():
                yield at[good], values[good]


def _failure(id: str, repeated: int, dropped: int) -> Failure:
    counts = [f"dropped for an id that was there before: {repeated}"] if repeated else []
    counts += [f"dropped for NaN or infinity: {dropped}"] if dropped else []
    return Failure(id, "import", "; ".join(counts))


def _level(level: str | None, source: LineageInput) -> Level:
    if level in LEVELS:
        return cast(Level, level)
    if level is not None:
        raise UsageError(f"level ({level}) must be one of {', '.join(LEVELS)}")
    if source.has_frames():
        return "frame"
    first = source.first_id()
    try:
        split_frame_id(first)
    except ValueError:
        return "video"
    raise UsageError(
        f"level: without a video2frames.txt, an id such as {first} of {source.path} can be that of a frame or of a"
        " video; give level=frame or level=video"
    )


if __name__ == "__main__":
    command.run(import_bigfile, "import_bigfile")
