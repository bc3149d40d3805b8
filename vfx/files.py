"""Files that last: names that no crash can leave without their content, and digests."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vfx.errors import OutputError


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Make a folder, and hold it against a second run. Raises OutputError where there is one, or no folder to be had.

    The lock is the kernel's and ends with the process. Where a file system knows no locks there is none.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise OutputError(f"another run is writing to {folder}; let it end first") from None
    except OSError:
        pass
    try:
        yield
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_all(path: Path) -> None:
    """Flush a file, or a folder with the files in it."""
    if path.is_dir():
        for inside in path.iterdir():
            sync(inside)
    sync(path)


def replace_durably(temporary: Path, path: Path) -> None:
    """Give a finished file its final name so that no crash can leave the name without the content."""
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def sha256(path: Path) -> str:
    """The digest of a file's content, in hexadecimal; read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
