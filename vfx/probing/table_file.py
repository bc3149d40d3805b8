"""Writes the table of a probed collection, as tab-separated text or Parquet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from operator import attrgetter
from pathlib import Path

from vfx.formats import parquet
from vfx.probing.record import COLUMNS, Record
from vfx.system.files import replacing


def write_table(records: Iterable[Record], path: Path) -> None:
    """Write records as they come. The file has its name when all of it is on the disk.

    Args:
        records: one a row.
        path: `.parquet`, or any other suffix for text.

    Raises:
        OutputError: The disk refuses.
        UsageError: Parquet needs pyarrow, which is not installed.
    """
    rows = map(attrgetter(*COLUMNS), records)
    with replacing(path) as temporary:
        if path.suffix == ".parquet":
            parquet.write_records(rows, temporary, COLUMNS)
        else:
            with temporary.open("w", encoding="utf-8") as file:
                file.writelines(f"{line}\n" for line in tab_separated(COLUMNS, rows))


def remove_leftovers(folder: Path) -> None:
    """Remove what killed runs left."""
    for temporary in folder.glob(".probe.*.tmp"):
        temporary.unlink()


def tab_separated(columns: Iterable[str], rows: Iterable[tuple[object, ...]]) -> Iterator[str]:
    """The lines of a table with a header; None is an empty cell."""
    yield "\t".join(columns)
    for row in rows:
        yield "\t".join(_text(value) for value in row)


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return "" if value is None else str(value)
