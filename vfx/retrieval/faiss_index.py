"""The nearest rows of a large feature by an index of FAISS, kept beside it: a few lists are read in place of all rows.

Rows of length 1 lie in inverted lists on the disk, a byte a value; what they give is compared again with the rows
themselves, so that cosines are exact and only which rows are found is approximate. How many of the true ones are found
is measured when the index is made, and the number of lists that are read is the least that finds enough.
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

from vfx.analysis.pca_map import drawn, merged, unit, unit_rows
from vfx.errors import UsageError
from vfx.features import checksums
from vfx.features.feature_file import FeatureFile
from vfx.retrieval.exact_search import AT_ONCE, NOTHING, Best, Hit, Span, cosines, nearest
from vfx.system.files import sync_all, working_folder, writing
from vfx.system.optional_imports import need

log = logging.getLogger(__name__)
LARGE = 1_000_000  # rows from which on an index is worth its making
LEAST = 1000  # rows of which lists can be made
PREFIX = "faiss."
SEED = 0
BUILD_BYTES = 256 << 20  # of rows in memory while an index is made
LISTS_PER_ROOT = 4  # lists for each of the square root of the rows
ROWS_PER_LIST = 40  # that the centres of lists are found by, at the least
HELD = 100  # queries that recall is measured by
WANTED = 0.95  # of the ten nearest
TOP = 10
SPARE = 4  # candidates for each hit, whose cosines are made exact


@dataclass(frozen=True)
class About:
    """`digest`: of the rows that are in the index. `probes`: how many of its `lists` are read. `recall`: which share of
    the TOP nearest it finds, measured by `queries` rows of the feature that may not find their own video.
    """

    digest: str
    rows: int
    lists: int
    probes: int
    recall: float
    queries: int


class Index:
    """An index that is there. It is read where it lies, on the disk."""

    def __init__(self, file: FeatureFile, shards: list[Any], about: About) -> None:
        self._file = file
        self._shards = shards
        self.about = about

    def nearest(
        self,
        query: NDArray[np.floating],
        *,
        k: int,
        without: Span = NOTHING,
        offsets: NDArray[np.int64] | None = None,
        probes: int | None = None,
    ) -> list[Hit]:
        """As `neighbours.nearest` of one query (D,); where the lists hold too few rows or videos, by that."""
        units = unit(np.array(query, np.float32)[None])
        count, total = SPARE * k + TOP, self.about.rows
        while True:
            rows = self._candidates(units, min(count, total), without, probes or self.about.probes)
            best = Best(k, offsets)
            best.offer(rows, cosines(units, unit_rows(self._file, rows))[0])
            if len(best.hits) == k:
                return best.hits
            if len(rows) < count:
                return nearest(self._file, units, k=k, without=[without], offsets=offsets)[0]
            count *= 4  # many of one video

    def _candidates(self, units: NDArray[np.float32], count: int, without: Span, probes: int) -> NDArray[np.int64]:
        faiss = _faiss()
        own = faiss.IDSelectorRange(*without)
        others = faiss.IDSelectorNot(own)  # both must live as long as the search
        options = faiss.SearchParametersIVF(nprobe=probes, sel=others)
        found = [shard.search(units, count, params=options) for shard in self._shards]
        values, rows = (np.concatenate([each[n][0] for each in found]) for n in (0, 1))
        order = np.argsort(-values, kind="stable")[:count]
        return np.sort(rows[order][rows[order] >= 0])


def opened(file: FeatureFile) -> Index:
    """The index of a feature as it is now; made, in one more pass over the rows, where there is none or an old one.

    Raises UsageError where FAISS is not installed, or where there are too few rows.
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
        about = _made(file, digest, place)
    return Index(file, _read(place), about)


def _faiss() -> Any:
    return need("faiss", extra="search", for_="index=faiss (index=exact does without it)")


def _digest(file: FeatureFile) -> str:
    """What tells these rows from any others."""
    attributes = file.attributes
    known = checksums.parsed(attributes.get(checksums.NAME, "")).get("features")
    return str(known or checksums.attributes_digest(attributes))


def _made(file: FeatureFile, digest: str, place: Path) -> About:
    """Make the index at `place`, and remove those of what the file was before."""
    log.info("making an index of %d rows in %s", file.features.shape[0], place)
    with writing(place), working_folder(place.parent, ".faiss.") as work:
        folder = work / "index"
        folder.mkdir()
        lists = _fill(file, folder)
        about = _measured(file, _read(folder), About(digest, int(file.features.shape[0]), lists, 0, 0.0, HELD))
        (folder / "about.json").write_text(json.dumps(asdict(about), indent=1) + "\n")
        sync_all(folder)
        for old in place.parent.glob(f"{PREFIX}*"):
            shutil.rmtree(old, ignore_errors=True)
        with suppress(FileExistsError):  # someone else made the same one meanwhile
            folder.rename(place)
    return about


def _fill(file: FeatureFile, folder: Path) -> int:
    """Write the shards of an index, each with the same lists; returns how many lists there are."""
    faiss = _faiss()
    total, dims = int(file.features.shape[0]), int(file.features.shape[-1])
    at_once = max(ROWS_PER_LIST, BUILD_BYTES // (4 * dims))
    sample = unit_rows(file, drawn(total, at_once, seed=SEED))
    lists = max(1, min(int(LISTS_PER_ROOT * total**0.5), len(sample) // ROWS_PER_LIST))
    centres = faiss.IndexFlatIP(dims)
    index = faiss.IndexIVFScalarQuantizer(
        centres, dims, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
    )
    index.cp.seed = SEED + 1
    index.train(sample)
    del sample
    empty = faiss.serialize_index(index)
    shard, at, number = index, 0, 0
    for block in file.block_reader().blocks(0, total):
        for begin in range(0, len(block), AT_ONCE):
            rows = unit(merged(block[begin : begin + AT_ONCE]))
            shard.add_with_ids(rows, np.arange(at, at + len(rows)))
            at += len(rows)
            if shard.ntotal * dims >= BUILD_BYTES or at == total:
                faiss.write_index(shard, str(folder / f"{number}.faiss"))
                shard, number = faiss.deserialize_index(empty), number + 1
    return lists


def _read(folder: Path) -> list[Any]:
    """The shards of an index, mapped: what is not looked at is not read."""
    faiss = _faiss()
    count = len(list(folder.glob("*.faiss")))
    return [faiss.read_index(str(folder / f"{n}.faiss"), faiss.IO_FLAG_MMAP) for n in range(count)]


def _measured(file: FeatureFile, shards: list[Any], about: About) -> About:
    """How many lists must be read, and what is found then."""
    rows = drawn(about.rows, HELD, seed=SEED)
    queries = unit_rows(file, rows)
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
        if recall >= WANTED or probes == about.lists:
            return replace(about, probes=probes, recall=round(recall, 4), queries=len(shares))
        probes = min(2 * probes, about.lists)
