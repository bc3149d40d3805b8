"""Whether feature files hold what was written to them: all of it is read, once, and what is wrong is named.

HDF5 crashes, hangs or asks for all memory on some damage, so files are examined in a process that may go down.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vfx.collection.ids import is_storable
from vfx.errors import OutputError
from vfx.features import checksums, schema
from vfx.system import worker_pool

SHOWN = 5  # rows that are named for each way of being wrong; the others are counted
BLOCK_BYTES = 8 << 20
BLOCK_ROWS = 16384
PATIENCE = 300.0  # seconds for a block: disks of a network may stall
MEMORY = 2 << 30  # bytes; a block takes some ten million


ZEROS = "all zeros"
Array = NDArray[Any]


class Finding(NamedTuple):
    """What is to be said of a file, with dataset, row and id. `wrong`: False where nothing is the matter with it."""

    text: str
    wrong: bool = True


def examine(path: Path) -> Iterator[Finding | int]:
    """The findings of one file, and between them the bytes of each block that was read."""
    try:
        file = schema.open_any(path)
    except OutputError as error:
        yield Finding(str(error).removeprefix(f"{path} "))
        return
    with file:
        try:
            yield from _Examination(file).findings()
        except schema.LIBRARY_ERRORS as error:
            yield Finding(f"damaged: {error}")


def altered(path: Path) -> Iterator[Finding | int]:
    """As `examine`, but only whether the file is as it was written, by its structure and its digests."""
    try:
        with schema.open_checked(path) as file:
            attributes = schema.attributes(file)
            columns = schema.columns(file, attributes["level"])
            found = {checksums.ATTRIBUTES: checksums.attributes_digest(attributes)}
            for name in columns:
                digest = checksums.ColumnDigest()
                yield from (item for item in _Examination(file)._column(name, digest) if isinstance(item, int))
                found[name] = digest.hexdigest()
            if checksums.NAME in attributes:
                yield from _compared(checksums.parsed(attributes[checksums.NAME]), found, set(columns))
    except (OutputError, *schema.LIBRARY_ERRORS) as error:
        yield Finding(f"damaged: {error}")


def survey(
    paths: Sequence[Path],
    *,
    look: Callable[[Path], Iterator[Finding | int]] | None = None,
    patience: float = PATIENCE,
    on_read: Callable[[int], None] = lambda nbytes: None,
) -> Iterator[tuple[Path, Finding]]:
    """The findings of each file, of which nothing is trusted, not even that it is HDF5.

    `look`: `examine` (None) or `altered`. `patience`: seconds that the reading of one block may take. `on_read` is
    told the bytes of each.
    Raises ExtractionError where no process can be started.
    """
    seen: set[tuple[Path, Finding]] = set()  # a file that takes its process down is tried twice
    with contextlib.closing(
        worker_pool.run(
            paths, look or examine, processes=1, patience=patience, memory=MEMORY, preload=("vfx.features.integrity",)
        )
    ) as examined:
        for path, item in examined:
            if isinstance(item, int):
                on_read(item)
                continue
            if isinstance(item, worker_pool.WorkerFailure):
                if not item.final:
                    continue
                item = Finding(f"damaged: HDF5 {'hangs' if item.hung else 'crashes'} reading it")
            if (path, item) not in seen:
                seen.add((path, item))
                yield path, item


class _Examination:
    """What is read of one open file, and how many rows were found to break each rule."""

    def __init__(self, file: schema.File) -> None:
        self._file = file
        self._broken: Counter[tuple[str, str]] = Counter()
        self._excused: set[str] = set()  # rules that the file may break

    def findings(self) -> Iterator[Finding | int]:
        breaches = [*schema.breaches(self._file)]
        yield from map(Finding, breaches)
        attributes = schema.attributes(self._file)
        level = attributes.get("level", "")
        if attributes.get("schema") != schema.SCHEMA or level not in schema.LEVELS:
            return
        columns = schema.columns(self._file, level)
        for name in sorted(set(schema.datasets(self._file)) - columns.keys()):
            yield Finding(f"{name}: not one of the schema, so nothing vouches for it")
        yield from self._attributes(attributes)
        found = {checksums.ATTRIBUTES: checksums.attributes_digest(attributes)}
        for name in columns:
            if schema.column_problem(self._file, name) is None:
                digest = checksums.ColumnDigest()
                try:
                    yield from self._column(name, digest)
                except schema.LIBRARY_ERRORS as error:
                    yield Finding(f"{name}: cannot be read: {error}")
                else:
                    found[name] = digest.hexdigest()
        if checksums.NAME in attributes:
            yield from _compared(checksums.parsed(attributes[checksums.NAME]), found, set(columns))
        if not breaches and found.keys() >= columns.keys():
            yield from self._frames() if level == "frame" else self._unique()
        for (subject, rule), count in self._broken.items():
            if count > SHOWN:
                yield Finding(f"{subject}: {rule}: {count} rows in all", rule not in self._excused)

    def _attributes(self, attributes: Mapping[str, str]) -> Iterator[Finding]:
        strange = set(self._file.attrs) - set(schema.ATTRIBUTES)
        if checksums.NAME in attributes:
            strange -= attributes.keys()  # for these the digests vouch
        else:
            yield Finding("no digests, as in files of earlier versions: changed values would not be seen", wrong=False)
        for name in sorted(strange):
            yield Finding(f"attribute {name}: not one of the schema, so nothing vouches for it")
        recipe = checksums.parsed(attributes.get("provenance", "")).get("recipe")
        if not isinstance(recipe, dict):
            yield Finding("attribute provenance: not a JSON object with a recipe")
        elif recipe.get("pooling") == {"name": "std"}:
            self._excused.add(ZEROS)  # the deviation of a video with one row
        try:
            datetime.fromisoformat(attributes.get("created", ""))
        except ValueError:
            yield Finding(f"attribute created: {attributes.get('created')!r:.80} is no time in ISO 8601")

    def _column(self, name: str, digest: checksums.ColumnDigest) -> Iterator[Finding | int]:
        """Read a column whole, and look at each row by itself."""
        data = self._file[name]
        size = max(1, BLOCK_BYTES // math.prod((data.dtype.itemsize, *data.shape[1:])))
        for start in range(0, len(data), min(size, BLOCK_ROWS)):
            rows = data[start : start + min(size, BLOCK_ROWS)]
            digest.update(rows)
            for rule, at in _broken(name, rows):
                yield from self._found(name, rule, (start + at).tolist())
            yield rows.nbytes

    def _frames(self) -> Iterator[Finding | int]:
        """Look at the videos as they follow each other, and at the rows of each."""
        total = len(self._file["ids"])
        offsets = self._file["videos/offsets"][:]
        if ends := offsets[0] != 0 or offsets[-1] != total:
            yield Finding(
                f"videos/offsets: from {offsets[0]} to {offsets[-1]}, wanted 0 to {total}, the number of rows"
            )
        falls = np.flatnonzero(offsets[1:] <= offsets[:-1])
        yield from self._found("videos/offsets", "the next is not above it", falls.tolist())
        for head, _, names in self._pairs("videos/ids"):
            late = [head + n for n in range(1, len(names)) if names[n] <= names[n - 1]]
            yield from self._found("videos/ids", "not above the one before", late)
            yield 0
        if ends or len(falls):
            return
        for head, start, index in self._pairs("index"):
            stop = head + len(index)
            seconds, ids = self._file["seconds"][head:stop], _decoded(self._file["ids"][head:stop])
            first, last = np.searchsorted(offsets, head, "right") - 1, np.searchsorted(offsets, stop, "left")
            videos = _decoded(self._file["videos/ids"][first:last])
            of_row = np.repeat(np.arange(len(videos)), np.diff(np.clip(offsets[first : last + 1], head, stop)))
            wanted = [f"{videos[v]}_{i}" for v, i in zip(of_row.tolist(), index.tolist(), strict=True)]
            other = {head + n: f", {wanted[n]!r}" for n in range(start - head, len(ids)) if ids[n] != wanted[n]}
            yield from self._found("ids", "not <video id>_<index>", other)
            same = of_row[1:] == of_row[:-1]
            for name, rule, falls in [
                ("index", "not above the one before, of the same video", index[1:] <= index[:-1]),
                ("seconds", "below the one before, of the same video", seconds[1:] < seconds[:-1]),
            ]:
                yield from self._found(name, rule, (head + 1 + np.flatnonzero(same & falls)).tolist())
            yield 0

    def _unique(self) -> Iterator[Finding | int]:
        ids: set[bytes] = set()
        data = self._file["ids"]
        for start in range(0, len(data), BLOCK_ROWS):
            for row, id in enumerate(data[start : start + BLOCK_ROWS], start):
                if id in ids:
                    yield from self._found("ids", "there before", [row])
                ids.add(id)
            yield 0

    def _pairs(self, name: str) -> Iterator[tuple[int, int, Array]]:
        """A column in blocks, each with the row before it: where this row is, where the block begins, and the rows."""
        data = self._file[name]
        for start in range(0, len(data), BLOCK_ROWS):
            head = max(0, start - 1)
            yield head, start, data[head : start + BLOCK_ROWS]

    def _found(self, name: str, rule: str, rows: Iterable[int] | Mapping[int, str]) -> Iterator[Finding]:
        """`rows`: those that break the rule; with what else there is to say of each."""
        for row in rows:
            self._broken[name, rule] += 1
            if self._broken[name, rule] <= SHOWN:
                more = rows[row] if isinstance(rows, Mapping) else ""
                yield Finding(f"{name}, row {row}{self._whose(name, row)}: {rule}{more}", rule not in self._excused)

    def _whose(self, name: str, row: int) -> str:
        """The id of a row, as far as it can be had."""
        ids = "videos/ids" if name.startswith("videos/") else "ids"
        with contextlib.suppress(*schema.LIBRARY_ERRORS):
            if name not in ("failures", "chunks") and schema.column_problem(self._file, ids) is None:
                return "".join(f" ({id!r:.200})" for id in _decoded(self._file[ids][row : row + 1]))
        return ""


def _broken(name: str, rows: Array) -> Iterator[tuple[str, Array]]:
    """Each rule for single rows of a column, and the positions of the rows that break it."""
    if name == "features":
        flat = rows.reshape(len(rows), -1)
        yield "NaN or infinity", np.flatnonzero(~np.isfinite(flat).all(axis=1))
        with np.errstate(invalid="ignore"):  # damage makes NaN of every kind
            yield ZEROS, np.flatnonzero(~flat.any(axis=1))
    elif name == "index":
        yield "below 0", np.flatnonzero(rows < 0)
    elif name == "seconds":
        yield "infinite", np.flatnonzero(np.isinf(rows))
    elif name == "chunks":
        begin, end, total = rows["begin"], rows["end"], rows["total"]
        yield "not a range of its total", np.flatnonzero((begin < 0) | (begin >= end) | (end > total))
        yield from _broken("chunks/ids", rows["id"])
    elif rows.dtype.kind != "i":
        texts = rows.tolist() if rows.dtype.fields is None else [b"".join(record) for record in rows.tolist()]
        yield "not UTF-8", np.array([n for n, text in enumerate(texts) if not _is_utf8(text)], np.int64)
        if name.endswith("ids"):
            strange = [n for n, id in enumerate(_decoded(rows)) if not is_storable(id)]
            yield (
                "not an id: empty, too long, or with white space, a slash or control characters",
                np.array(strange, np.int64),
            )


def _compared(written: Mapping[str, Any], found: Mapping[str, str], columns: set[str]) -> Iterator[Finding]:
    """What digests that were written and found say of the columns; those that could not be read are known."""
    if not written:
        yield Finding("attribute digests: not a JSON object")
        return
    for name, digest in found.items():
        if written.get(name) != digest:
            yield Finding(f"{name}: not what was written: sha256 is {digest}, digests has {written.get(name)!r:.80}")
    for name in sorted(written.keys() - columns - {checksums.ATTRIBUTES}):
        yield Finding(f"attribute digests: {name!r:.80} is not of the schema")


def _decoded(texts: Array) -> list[str]:
    return [text.decode("utf-8", "backslashreplace") for text in texts.tolist()]


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
