"""Checks whether feature files hold what was written to them, by reading all of it once.

HDF5 crashes, hangs or takes all memory on some damage, so files are read in a process that is watched.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vfx.errors import OutputError
from vfx.features import checksums, schema
from vfx.features.examination import BLOCK_ROWS, Examination, Finding, changed
from vfx.system import worker_pool

PATIENCE = 300.0  # seconds for a block, since disks of a network may stall
MEMORY = 2 << 30  # bytes; a block takes some ten million


def examine(path: Path, *, block_rows: int = BLOCK_ROWS) -> Iterator[Finding | int]:
    """Check a file completely: structure, values, order and digests.

    Args:
        path: The file.
        block_rows: How many rows to read at once, at most.

    Yields:
        What is found, and between it the bytes of each block that was read.
    """
    try:
        with schema.open_hdf5(path) as file:
            yield from Examination(file, block_rows=block_rows).findings()
    except OutputError as error:
        yield Finding(str(error).removeprefix(f"{path} "))
    except schema.H5PY_ERRORS as error:
        yield Finding(f"damaged: {error}")


def examine_digests(path: Path) -> Iterator[Finding | int]:
    """Check only whether a file is as it was written, by its structure and its digests. Yields what `examine` does."""
    try:
        with schema.open_checked(path) as file:
            attributes = schema.attributes(file)
            columns = schema.columns(file, attributes["level"])
            digests = {checksums.ATTRIBUTES: checksums.attributes_digest(attributes)}
            for name in columns:
                digests[name] = yield from Examination(file).column(name, by_rules=False)
            yield from changed(attributes, digests, set(columns))
    except (OutputError, *schema.H5PY_ERRORS) as error:
        yield Finding(f"damaged: {error}")


def examine_files(
    paths: Sequence[Path],
    examine: Callable[[Path], Iterator[Finding | int]] = examine,
    *,
    patience: float = PATIENCE,
    memory: float = MEMORY,
    on_read: Callable[[int], None] = lambda nbytes: None,
) -> Iterator[tuple[Path, Finding]]:
    """Check files in a process of their own. They need not be feature files, nor HDF5.

    Args:
        paths: The files.
        examine: Checks one file.
        patience: The seconds that the reading of a block may take, before the process counts as hanging.
        memory: The bytes that the process may take.
        on_read: Is called with the bytes of each block.

    Yields:
        What is found in each file. A crash of the process is a finding too.

    Raises:
        ExtractionError: The process cannot be started.
    """
    seen: set[tuple[Path, Finding]] = set()  # a file that crashes its process is read twice
    with contextlib.closing(
        worker_pool.run(paths, examine, processes=1, patience=patience, memory=memory, preload=(__name__,))
    ) as items:
        for path, item in items:
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
