"""Reads an open feature file completely, and finds what breaks the rules of the schema.

HDF5 may crash or hang on a damaged file. `vfx.features.integrity` runs this in a process of its own.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vfx.collection.ids import is_storable
from vfx.features import checksums, schema
from vfx.text import SHOWN

BLOCK_BYTES = 8 << 20
BLOCK_ROWS = 16384
ZEROS = "all zeros"
STRANGE_ID = "not an id: empty, too long, or with white space, a slash or control characters"

Array = NDArray[Any]


class Finding(NamedTuple):
    """Something found in a file.

    Args:
        text: What, with dataset, row and id.
        wrong: False for a remark about a file that is in order.
    """

    text: str
    wrong: bool = True


class Examination:
    """Examines one open file. Its methods yield findings, and the bytes of each block that was read.

    Of each rule the first SHOWN rows that break it are named, and the others counted.

    Args:
        file: The file.
        block_rows: How many rows to read at once, at most.
    """

    def __init__(self, file: schema.File, *, block_rows: int = BLOCK_ROWS) -> None:
        self._file = file
        self._block_rows = block_rows
        self._counts: Counter[tuple[str, str]] = Counter()  # of rows that break a rule, by dataset and rule
        self._excused: set[str] = set()  # rules that this file may break

    def findings(self) -> Iterator[Finding | int]:
        """Check the structure, every value, the digests, and how rows and videos follow each other."""
        problems = [*schema.problems(self._file)]
        yield from map(Finding, problems)
        attributes = schema.attributes(self._file)
        level = attributes.get("level", "")
        if attributes.get("schema") != schema.SCHEMA or level not in schema.LEVELS:
            return
        columns = schema.columns(self._file, level)
        for name in sorted(set(schema.datasets(self._file)) - columns.keys()):
            yield Finding(f"{name}: not one of the schema, so nothing vouches for it")
        yield from self._attributes(attributes)
        digests = {checksums.ATTRIBUTES: checksums.attributes_digest(attributes)}
        for name in columns:
            if schema.column_problem(self._file, name) is None:
                try:
                    digests[name] = yield from self.column(name)
                except schema.H5PY_ERRORS as error:
                    yield Finding(f"{name}: cannot be read: {error}")
        yield from changed(attributes, digests, set(columns))
        if not problems and digests.keys() >= columns.keys():
            yield from self._videos_and_frames() if level == "frame" else self._unique_ids()
        for (subject, rule), count in self._counts.items():
            if count > SHOWN:
                yield Finding(f"{subject}: {rule}: {count} rows in all", rule not in self._excused)

    def column(self, name: str, *, by_rules: bool = True) -> Generator[Finding | int, None, str]:
        """Read a column, and check each of its rows by itself if `by_rules`. Returns the digest of the column."""
        digest = checksums.ColumnDigest()
        data = self._file[name]
        size = min(self._block_rows, max(1, BLOCK_BYTES // math.prod((data.dtype.itemsize, *data.shape[1:]))))
        for start in range(0, len(data), size):
            rows = data[start : start + size]
            digest.update(rows)
            for rule, broken in _broken_rules(name, rows) if by_rules else ():
                yield from self._broken(name, rule, (start + broken).tolist())
            yield rows.nbytes
        return digest.hexdigest()

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

    def _videos_and_frames(self) -> Iterator[Finding | int]:
        """Frame level: check the order of the videos, then that of the rows of each."""
        total = len(self._file["ids"])
        offsets = self._file["videos/offsets"][:]
        if wrong_ends := offsets[0] != 0 or offsets[-1] != total:
            yield Finding(
                f"videos/offsets: from {offsets[0]} to {offsets[-1]}, wanted 0 to {total}, the number of rows"
            )
        falls = np.flatnonzero(offsets[1:] <= offsets[:-1])
        yield from self._broken("videos/offsets", "the next is not above it", falls.tolist())
        for first, _, names in self._blocks("videos/ids"):
            late = [first + n for n in range(1, len(names)) if names[n] <= names[n - 1]]
            yield from self._broken("videos/ids", "not above the one before", late)
            yield 0
        if not wrong_ends and not len(falls):
            for first, start, index in self._blocks("index"):
                yield from self._frames(offsets, first, start, index)
                yield 0

    def _frames(self, offsets: Array, first: int, start: int, index: Array) -> Iterator[Finding]:
        """Check the ids, index and seconds of the rows [start, ...). `index` is that of the rows [first, ...)."""
        stop = first + len(index)
        seconds, ids = self._file["seconds"][first:stop], _decoded(self._file["ids"][first:stop])
        v, w = np.searchsorted(offsets, first, "right") - 1, np.searchsorted(offsets, stop, "left")
        videos = _decoded(self._file["videos/ids"][v:w])
        video_of_row = np.repeat(np.arange(len(videos)), np.diff(np.clip(offsets[v : w + 1], first, stop)))
        wanted = [f"{videos[v]}_{i}" for v, i in zip(video_of_row.tolist(), index.tolist(), strict=True)]
        other = {first + n: f", {wanted[n]!r}" for n in range(start - first, len(ids)) if ids[n] != wanted[n]}
        yield from self._broken("ids", "not <video id>_<index>", other)
        same_video = video_of_row[1:] == video_of_row[:-1]
        for name, rule, falls in [
            ("index", "not above the one before, of the same video", index[1:] <= index[:-1]),
            ("seconds", "below the one before, of the same video", seconds[1:] < seconds[:-1]),
        ]:
            yield from self._broken(name, rule, (first + 1 + np.flatnonzero(same_video & falls)).tolist())

    def _unique_ids(self) -> Iterator[Finding | int]:
        ids: set[bytes] = set()
        data = self._file["ids"]
        for start in range(0, len(data), self._block_rows):
            for row, id in enumerate(data[start : start + self._block_rows], start):
                if id in ids:
                    yield from self._broken("ids", "there before", [row])
                ids.add(id)
            yield 0

    def _blocks(self, name: str) -> Iterator[tuple[int, int, Array]]:
        """A column in blocks, each with the row before it: the first row, where the block begins, and the rows."""
        data = self._file[name]
        for start in range(0, len(data), self._block_rows):
            first = max(0, start - 1)
            yield first, start, data[first : start + self._block_rows]

    def _broken(self, name: str, rule: str, rows: Iterable[int] | Mapping[int, str]) -> Iterator[Finding]:
        """The findings for rows that break a rule; a mapping adds a text for each."""
        for row in rows:
            self._counts[name, rule] += 1
            if self._counts[name, rule] <= SHOWN:
                more = rows[row] if isinstance(rows, Mapping) else ""
                yield Finding(f"{name}, row {row}{self._id_of(name, row)}: {rule}{more}", rule not in self._excused)

    def _id_of(self, name: str, row: int) -> str:
        """The id of a row in brackets, if it can be read."""
        ids = "videos/ids" if name.startswith("videos/") else "ids"
        with contextlib.suppress(*schema.H5PY_ERRORS):
            if name not in ("failures", "chunks") and schema.column_problem(self._file, ids) is None:
                return "".join(f" ({id!r:.200})" for id in _decoded(self._file[ids][row : row + 1]))
        return ""


def changed(attributes: Mapping[str, str], digests: Mapping[str, str], columns: set[str]) -> Iterator[Finding]:
    """Compare the digests that a file holds with those of what was read. Columns that could not be read are left out.

    Args:
        attributes: Of the file. Files of earlier versions have no digests.
        digests: Of what was read, by column, and of the attributes.
        columns: Of the schema.
    """
    if checksums.NAME not in attributes:
        return
    written = checksums.parsed(attributes[checksums.NAME])
    if not written:
        yield Finding("attribute digests: not a JSON object")
        return
    for name, digest in digests.items():
        if written.get(name) != digest:
            yield Finding(f"{name}: not what was written: sha256 is {digest}, digests has {written.get(name)!r:.80}")
    for name in sorted(written.keys() - columns - {checksums.ATTRIBUTES}):
        yield Finding(f"attribute digests: {name!r:.80} is not of the schema")


def _broken_rules(name: str, rows: Array) -> Iterator[tuple[str, Array]]:
    """The rules for single rows of a column, each with the positions of the rows that break it."""
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
        yield from _broken_rules("chunks/ids", rows["id"])
    elif rows.dtype.kind != "i":
        texts = rows.tolist() if rows.dtype.fields is None else [b"".join(record) for record in rows.tolist()]
        damaged = [n for n, text in enumerate(texts) if text.decode(errors="replace").encode() != text]
        yield "not UTF-8", np.array(damaged, np.int64)
        if name.endswith("ids"):
            strange = [n for n, id in enumerate(_decoded(rows)) if not is_storable(id)]
            yield STRANGE_ID, np.array(strange, np.int64)


def _decoded(texts: Array) -> list[str]:
    return [text.decode("utf-8", "backslashreplace") for text in texts.tolist()]
