"""Files that last: names that no crash can leave without their content, and digests."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


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
