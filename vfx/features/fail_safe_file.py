"""A file for HDF5 to write to, which keeps the errors of the disk from the HDF5 library.

After a failed write, HDF5 2.0 can neither write nor close what it has open: it raises errors other than OSError, and
the process crashes (SIGSEGV) when it ends. FailSafeFile keeps the first error, and drops all that is written after it.
"""

from __future__ import annotations

from io import FileIO
from pathlib import Path
from typing import Any


class FailSafeFile(FileIO):
    """A new file, as a file object for h5py.

    Use it in a thread other than the main one, where a signal handler that raises would count as a failed write.

    Args:
        path: The file, which must not exist.

    Raises:
        OSError: It could not be created.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "x+")
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the first error of a write.

        Raises:
            OSError: A write failed.
        """
        if self._error is not None:
            raise self._error

    def write(self, data: Any) -> int:
        """Write all data, unless a write has failed. Never raises OSError."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while self._error is None and rest:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self._error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the size in bytes. Never raises OSError."""
        try:
            return super().truncate(size)
        except OSError as error:
            self._error = self._error or error
            return self.tell() if size is None else size
