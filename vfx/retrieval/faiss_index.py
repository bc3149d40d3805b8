"""Approximate nearest neighbours in a large feature, by a FAISS index that is kept beside the feature file.

The index is IVF with one byte a value, over L2-normalised rows. It lies on the disk, and a search reads a few of its
lists. The rows that it gives are then compared exactly: cosines are exact, and only which rows are found is
approximate. The recall is measured when the index is made; a search reads as few lists as reach RECALL.
"""

from __future__ import annotations

import json
import logging
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vfx.analysis.rows import average_crops, normalize, read_normalized, sample
from vfx.errors import UsageError
from vfx.features import checksums
from vfx.features.feature_file import FeatureFile
from vfx.retrieval.exact_search import BLOCK_ROWS, NO_ROWS, Hit, Span, TopK, cosines, nearest
from vfx.system.files import sync_all, working_folder, writing
from vfx.system.optional_imports import need

log = logging.getLogger(__name__)
LARGE = 1_000_000  # rows from which on index=auto takes FAISS
LEAST = 1000  # rows of which an index can be made
PREFIX = "faiss."
SEED = 0
SHARD_BYTES = 256 << 20  # of rows in memory while an index is made
LISTS_PER_ROOT = 4  # lists for each of the square root of the rows
ROWS_PER_LIST = 40  # that train the centre of a list, at least
QUERIES = 100  # that recall is measured with
RECALL = 0.95  # that is wanted, of the TOP nearest
TOP = 10
CANDIDATES = 4  # rows for each hit, whose cosines are computed exactly


@dataclass(frozen=True)
class About:
    """What is known of an index.

    Args:
        digest: Of the rows in it.
        rows: How many there are.
        lists: How many lists the index has.
        probes: How many of them a search reads.
        recall: The share of the TOP nearest rows that it finds.
        queries: How many rows of the feature this was measured with; none could find its own video.
    """

    digest: str
    rows: int
    lists: int
    probes: int
    recall: float
    queries: int


@dataclass(frozen=True)
class Index:
    """An index of a feature, read from the disk as it is searched."""

    file: FeatureFile
    shards: list[Any]
    about: About

    def nearest(
        self,
        query: NDArray[np.floating],
        *,
        k: int,
        without: Span = NO_ROWS,
        offsets: NDArray[np.int64] | None = None,
        probes: int | None = None,
    ) -> list[Hit]:
        """Find the `k` rows nearest to a query; by exact search where the lists hold too few rows or videos.

        Args:
            query: (D,).
            k: How many rows to find.
            without: Rows that must not be found.
            offsets: The file's, to find at most one row of each video.
            probes: How many lists to read; None for as many as `about` says.

        Returns:
            The hits, the nearest first.

        Raises:
            OutputError: The file is damaged.
        """
        units = normalize(np.array(query, np.float32)[None])
        count, total = CANDIDATES * k + TOP, self.about.rows
        while True:
            rows = self._candidates(units, min(count, total), without, probes or self.about.probes)
            best = TopK(k, offsets)
            best.add(rows, cosines(units, read_normalized(self.file, rows))[0])
            if len(best.hits) == k:
                return best.hits
            if len(rows) < count:
                return nearest(self.file, units, k=k, without=[without], offsets=offsets)[0]
            count *= 4  # many of one video

    def _candidates(self, units: NDArray[np.float32], count: int, without: Span, probes: int) -> NDArray[np.int64]:
        faiss = _faiss()
        own = faiss.IDSelectorRange(*without)
        others = faiss.IDSelectorNot(own)  # both must live as long as the search
        options = faiss.SearchParametersIVF(nprobe=probes, sel=others)
        found = [shard.search(units, count, params=options) for shard in self.shards]
        values, rows = (np.concatenate([each[n][0] for each in found]) for n in (0, 1))
        order = np.argsort(-values, kind="stable")[:count]
        return np.sort(rows[order][rows[order] >= 0])


def open_index(file: FeatureFile, *, shard_bytes: int = SHARD_BYTES) -> Index:
    """Open the index of a feature. If there is none, or it is of other rows, make it, in one more pass over the rows.

    Args:
        file: The feature.
        shard_bytes: The size of rows that are in memory while the index is made.

    Raises:
        UsageError: FAISS is not installed, or the feature has too few rows.
        OutputError: The file is damaged, or the index could not be written.
    """
    _faiss()
    if file.features.shape[0] < LEAST:
        raise UsageError(
            f"index=faiss is for at least {LEAST} rows, {file.feature} has {file.features.shape[0]}: index=exact"
        )
    digest = _digest(file)
    place = file.path.parent / f"{PREFIX}{digest[:16]}"
    try:
        about = About(**json.loads((place / "about.json").read_text()))
    except (OSError, ValueError, TypeError):
        about = None
    if about is None or about.digest != digest:
        about = _make(file, digest, place, shard_bytes)
    return Index(file, _read_shards(place), about)


def _faiss() -> Any:
    return need("faiss", extra="search", for_="index=faiss (index=exact does without it)")


def _digest(file: FeatureFile) -> str:
    """A digest of the rows; of files without digests, of their attributes."""
    attributes = file.attributes
    known = checksums.parsed(attributes.get(checksums.NAME, "")).get("features")
    return str(known or checksums.attributes_digest(attributes))


def _make(file: FeatureFile, digest: str, place: Path, shard_bytes: int) -> About:
    """Make the index at `place`, and remove those of earlier rows."""
    log.info("making an index of %d rows in %s", file.features.shape[0], place)
    with writing(place), working_folder(place.parent, ".faiss.") as work:
        folder = work / "index"
        folder.mkdir()
        lists = _write_shards(file, folder, shard_bytes)
        about = About(digest, int(file.features.shape[0]), lists, probes=0, recall=0.0, queries=QUERIES)
        about = _measure_recall(file, _read_shards(folder), about)
        (folder / "about.json").write_text(json.dumps(asdict(about), indent=1) + "\n")
        sync_all(folder)
        for old in place.parent.glob(f"{PREFIX}*"):
            shutil.rmtree(old, ignore_errors=True)
        with suppress(FileExistsError):  # another process made the same one meanwhile
            folder.rename(place)
    return about


def _write_shards(file: FeatureFile, folder: Path, shard_bytes: int) -> int:
    """Write the shards of an index, which share their lists' centres. Returns the number of lists."""
    faiss = _faiss()
    total, dims = int(file.features.shape[0]), int(file.features.shape[-1])
    training = read_normalized(file, sample(total, max(ROWS_PER_LIST, shard_bytes // (4 * dims)), seed=SEED))
    lists = max(1, min(int(LISTS_PER_ROOT * total**0.5), len(training) // ROWS_PER_LIST))
    centres = faiss.IndexFlatIP(dims)
    index = faiss.IndexIVFScalarQuantizer(
        centres, dims, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.seed = SEED + 1
    index.train(training)
    del training
    empty = faiss.serialize_index(index)
    shard, first, number = index, 0, 0
    for block in file.block_reader().blocks(0, total):
        for begin in range(0, len(block), BLOCK_ROWS):
            rows = normalize(average_crops(block[begin : begin + BLOCK_ROWS]))
            shard.add_with_ids(rows, np.arange(first, first + len(rows)))
            first += len(rows)
            if shard.ntotal * dims >= shard_bytes or first == total:
                faiss.write_index(shard, str(folder / f"{number}.faiss"))
                shard, number = faiss.deserialize_index(empty), number + 1
    return lists


def _read_shards(folder: Path) -> list[Any]:
    """The shards of an index, memory-mapped, so that only the lists that are searched are read."""
    faiss = _faiss()
    count = len(list(folder.glob("*.faiss")))
    return [faiss.read_index(str(folder / f"{n}.faiss"), faiss.IO_FLAG_MMAP) for n in range(count)]


def _measure_recall(file: FeatureFile, shards: list[Any], about: About) -> About:
    """Find the number of lists that must be read for RECALL, and the recall that it gives."""
    rows = sample(about.rows, QUERIES, seed=SEED)
    queries = read_normalized(file, rows)
    own = [(row, row + 1) for row in rows.tolist()]
    if file.level == "frame":
        videos = np.searchsorted(file.offsets, rows, "right") - 1
        own = [(int(file.offsets[v]), int(file.offsets[v + 1])) for v in videos]
    truth = [{hit.row for hit in hits} for hits in nearest(file, queries, k=TOP, without=own)]
    probes = min(8, about.lists)
    while True:
        index = Index(file, shards, replace(about, probes=probes))
        shares = [
            len({hit.row for hit in index.nearest(query, k=TOP, without=span)} & true) / len(true)
            for query, span, true in zip(queries, own, truth, strict=True)
            if true
        ]
        recall = float(np.mean(shares)) if shares else 1.0
        if recall >= RECALL or probes == about.lists:
            return replace(about, probes=probes, recall=round(recall, 4), queries=len(shares))
        probes = min(2 * probes, about.lists)
