"""A new file for HDF5 to write to, by which the library never meets a disk that refuses.

Once a write has failed under HDF5 2.0, what it has open can be neither written nor closed: errors come that are no
OSError, and the process dies of SIGSEGV at its end. Here the refusal is kept, and what would follow it is dropped.
"""

from __future__ import annotations

from io import FileIO
from pathlib import Path
from typing import Any


class FailSafeFile(FileIO):
    """A file object for h5py. Raises OSError where the file cannot be made.

    To be used in a thread that is not the main one: a signal that breaks in on a write there would be a refusal too.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x+")
        self._refusal: OSError | None = None

    def check(self) -> None:
        """Raises OSError if the disk has refused anything of the file."""
        if self._refusal is not None:
            raise self._refusal

    def write(self, data: Any) -> int:
        """All of it, or so it seems."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while self._refusal is None and rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._refusal = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """To a size in bytes, or so it seems."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._refusal = self._refusal or error
            return self.tell() if size is None else size
