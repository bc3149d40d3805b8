"""How a log is written: it gives a terminal no orders, and a disk that refuses its file does not end the run."""

from __future__ import annotations

import logging
import os
import re
from io import FileIO
from pathlib import Path

log = logging.getLogger(__name__)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # control characters, but for tab and newline


class Printable(logging.Formatter):
    """Formats records so that no name of a file gives orders to a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", super().format(record))


class LogFile(logging.Handler):
    """Adds to a file, one write a line: nothing is held back, which a disk that is full could refuse at the end."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.setFormatter(Printable("%(asctime)s %(levelname)s %(message)s"))
        self._path = path
        self._file: FileIO | None = None
        self._refused = False

    def emit(self, record: logging.LogRecord) -> None:
        if self._refused:
            return
        try:
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = FileIO(self._path, "a")
            self._file.write(f"{self.format(record)}\n".encode(errors="backslashreplace"))
        except OSError as error:
            self._refused = True
            cause = os.strerror(error.errno) if error.errno else str(error)
            log.warning("%s cannot be written (%s): what follows is said here alone", self._path, cause)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        super().close()
