"""Ctrl-C and SIGTERM: noted at once, and obeyed between two batches, so that finished videos are committed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.strategies.launchers import _SubprocessScriptLauncher

from vfx.errors import ExtractionError, Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)
PATIENCE_SECONDS = 60
ORPHAN_SECONDS = 20  # for a rank to commit what it has finished


class Interruption(Callback):
    """While predict runs, a first signal is noted and `check` raises Interrupted; a second Ctrl-C ends at once.

    Lightning's own handler of SIGTERM only notes it, for training, and has ranks wait for each other inside it.

    Args:
        follow: the process that started this one, as another rank or as a job of a sweep. When it is gone, this one
            ends as well.
    """

    def __init__(self, *, follow: int | None = None) -> None:
        self._noted: int | None = None
        self._before: dict[int, Any] = {}
        self._launcher: Any = None
        self._parent = follow
        if follow is not None:
            threading.Thread(target=self._follow, daemon=True).start()

    def check(self) -> None:
        """Raise Interrupted if a signal has come, and ExtractionError if the process followed is gone."""
        if self._noted is not None:
            raise Interrupted(self._noted)
        if self._is_orphan():
            raise ExtractionError(
                "the process that started this one is gone; what was finished is kept: run the same command again"
            )

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is not threading.main_thread():
            return  # where Python delivers none
        self._launcher = trainer.strategy.launcher
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        if trainer.received_sigterm:  # since Lightning's own handler was set
            self._note(signal.SIGTERM, None)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()
        if isinstance(exception, Interrupted):
            for process in self._ranks():  # they commit what they have finished
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PATIENCE_SECONDS)

    def _ranks(self) -> list[subprocess.Popen[bytes]]:
        """The processes that Lightning started from this one."""
        return self._launcher.procs if isinstance(self._launcher, _SubprocessScriptLauncher) else []

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self._noted is not None:
            raise KeyboardInterrupt
        self._noted = number
        for process in self._ranks():
            process.send_signal(signal.SIGTERM)  # nobody else would tell them

    def _is_orphan(self) -> bool:
        return self._parent not in (None, os.getppid())

    def _follow(self) -> None:
        """End this process when the one followed is gone, even while it waits for that one for ever."""
        while not self._is_orphan():
            time.sleep(1)
        time.sleep(ORPHAN_SECONDS)
        os._exit(1)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
