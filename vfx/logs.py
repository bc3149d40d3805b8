"""A log file beside what a run writes, which never ends the run: a disk that refuses it ends the log."""

from __future__ import annotations

import logging
import os
from io import FileIO
from pathlib import Path

log = logging.getLogger(__name__)


class LogFile(logging.Handler):
    """Adds to a file, one write a line: nothing is held back, which a disk that is full could refuse at the end."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
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
