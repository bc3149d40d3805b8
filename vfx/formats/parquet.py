"""One Parquet file, a row for each feature: `id`, at frame level `video`, `index` and `seconds`, and `features`.

`features` is a list of D float32. Needs the extra `parquet`. Source: the Arrow columnar format, pyarrow's writer.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from vfx.features.reader import FeatureReader
from vfx.formats.base import blocks
from vfx.system.optional_imports import need

NAME = "features.parquet"
FILES: tuple[str, ...] = ()
CROPS = False

FRAME_COLUMNS: tuple[Literal["index", "seconds"], ...] = ("index", "seconds")
RECORDS = 4096  # a row group of `write_records`


def _load() -> Any:
    need("pyarrow.parquet", extra="parquet", for_="format=parquet")
    return need("pyarrow", extra="parquet", for_="format=parquet")


def write(file: FeatureReader, target: Path) -> None:
    pyarrow = _load()
    dims = file.features.shape[1]
    schema = _schema(file, pyarrow)
    beside = {column: file.block_reader(column) for column in FRAME_COLUMNS} if file.level == "frame" else {}
    start = 0
    with pyarrow.parquet.ParquetWriter(target, schema) as writer:
        for block in blocks(file):
            stop = start + len(block.ids)
            columns: dict[str, Any] = {"id": block.ids}
            if beside:
                columns["video"] = [id.rpartition("_")[0] for id in block.ids]
            columns |= {column: reader.read(start, stop) for column, reader in beside.items()}
            values = pyarrow.array(np.ascontiguousarray(block.features, np.float32).reshape(-1))
            columns["features"] = pyarrow.FixedSizeListArray.from_arrays(values, dims)
            writer.write_table(pyarrow.table(columns, schema=schema))
            start = stop


def _schema(file: FeatureReader, pyarrow: Any) -> Any:
    fields = {"id": pyarrow.string()}
    if file.level == "frame":
        fields |= {"video": pyarrow.string(), "index": pyarrow.int64(), "seconds": pyarrow.float64()}
    fields["features"] = pyarrow.list_(pyarrow.float32(), file.features.shape[1])
    kept = {key: file.attributes[key] for key in ("schema", "level", "feature", "collection", "provenance")}
    return pyarrow.schema(list(fields.items()), metadata=kept)


def write_records(records: Iterable[tuple[Any, ...]], target: Path, columns: Mapping[str, type]) -> None:
    """Write any table, a row group at a time.

    Args:
        records: The rows, which are not held in memory together.
        target: The file.
        columns: The name and type of each column. A value may be None.

    Raises:
        UsageError: pyarrow is missing. No row has been taken then.
    """
    pyarrow = _load()
    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64(), bool: pyarrow.bool_()}
    schema = pyarrow.schema([(name, types[type_]) for name, type_ in columns.items()])
    rows = iter(records)
    with pyarrow.parquet.ParquetWriter(target, schema) as writer:
        while group := list(itertools.islice(rows, RECORDS)):
            writer.write_table(pyarrow.table(list(map(list, zip(*group, strict=True))), schema=schema))
