"""A value that this process will have, for workers that are started before it has."""

from __future__ import annotations

import os
import pickle
from multiprocessing import connection, reduction
from typing import Any, Generic, TypeVar

from vfx.system.shared_memory import anonymous_file

T = TypeVar("T")


class BrokenPromise(Exception):
    """There is no value, and there will be none."""


class Promise(Generic[T]):
    """Is given to workers as an argument of their process; `keep` lets all of them have the value, now and later.

    Who made it must close it in the end. It is broken if not kept by then, or by the end of the process.
    """

    def __init__(self) -> None:
        self._file = anonymous_file("vfx-promise")
        # Readers of a pipe learn, all at once and without taking anything from each other, that its end is closed.
        self._open, self._closes = os.pipe()

    def keep(self, value: T) -> None:
        """Make it known, once."""
        with open(self._file, "wb", closefd=False) as file:
            pickle.dump(value, file)
        # Forgotten first: upon its end another thread may have the value, and close the rest, at once.
        closes, self._closes = self._closes, -1
        os.close(closes)

    def is_kept(self) -> bool:
        return bool(connection.wait([self._open], 0))

    def value(self) -> T:
        """Wait for it. Raises BrokenPromise."""
        connection.wait([self._open])
        written = os.pread(self._file, os.fstat(self._file).st_size, 0)  # wherever another process is reading
        if not written:
            raise BrokenPromise("who was to keep it has ended, or has given it up")
        made: T = pickle.loads(written)
        return made

    def close(self) -> None:
        for descriptor in (self._file, self._open, self._closes):
            if descriptor >= 0:
                os.close(descriptor)
        self._file = self._open = self._closes = -1

    def __reduce__(self) -> Any:
        return _received, (reduction.DupFd(self._file), reduction.DupFd(self._open))


def _received(file: Any, opened: Any) -> Promise[Any]:
    made: Promise[Any] = Promise.__new__(Promise)
    made._file, made._open, made._closes = file.detach(), opened.detach(), -1
    return made
