"""Logs of the apps: messages go to standard error, and to files beside what an app writes."""

from __future__ import annotations

import logging
import os
import re
import warnings
from io import FileIO
from pathlib import Path

log = logging.getLogger("vfx")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # control characters, but for tab and newline
# Warnings of libraries that tell a user of vfx nothing, by the category and the beginning of the message.
SILENCED = (
    # Lightning's advice wherever SLURM is installed; the trainers of conf/trainer say who starts their processes.
    (Warning, "The `srun` command is available on your system but is not used"),
    # Whoever types trainer=cpu knows.
    (Warning, "GPU available but not used"),
    # Torch's advice for compiled networks on a GPU; here that is tf32=true.
    (Warning, "TensorFloat32 tensor cores for float32 matrix multiplication available"),
    # Lightning asks the loader which dataset indices a batch holds; ours carries ids.
    (Warning, "Couldn't infer the batch indices"),
    # Lightning 2.6 calls torch 2.14 in a way that torch has deprecated.
    (FutureWarning, r"`isinstance\(treespec, LeafSpec\)`"),
)


def log_to_terminal() -> None:
    """Send messages of vfx to standard error, and silence what libraries say without need. May be called again."""
    log.setLevel(logging.INFO)
    log.propagate = False  # Hydra's own handlers print to standard output, where only the result belongs
    # Lightning's list of the accelerators it did not find, its tip for another product, "Initializing distributed".
    for name in ("pytorch_lightning.utilities.rank_zero", "lightning_fabric.utilities.distributed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for category, message in SILENCED:
        warnings.filterwarnings("ignore", message=message, category=category)
    if not any(isinstance(handler, logging.StreamHandler) for handler in log.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(PrintableFormatter("%(message)s"))
        log.addHandler(handler)


def log_to_files(*paths: Path) -> None:
    """Append messages to these files too, in place of those that were given before."""
    for handler in [h for h in log.handlers if isinstance(h, LogFile)]:
        log.removeHandler(handler)
        handler.close()
    for path in paths:
        log.addHandler(LogFile(path))


class PrintableFormatter(logging.Formatter):
    """Escapes control characters, which a file name may hold and a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        return CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", super().format(record))


class LogFile(logging.Handler):
    """Appends each message to a file in one write, without a buffer that a full disk could refuse at the end.

    The file is opened at the first message. After an error of the disk, messages go to the other handlers alone.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.setFormatter(PrintableFormatter("%(asctime)s %(levelname)s %(message)s"))
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
