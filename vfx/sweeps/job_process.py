"""Runs a command on a resolved config in a process of its own, as a job of a sweep or alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from vfx.errors import ExtractionError, Interrupted
from vfx.sweeps.job_records import RECORD, CurrentJob

# Hydra's part of a config that is handed over in a file
DEFAULTS = ["_self_", {"hydra": "app"}, {"override hydra/job_logging": "none"}]
SIGNALS = (signal.SIGINT, signal.SIGTERM)
TICK_SECONDS = 1


def command(program: Sequence[str], config: Mapping[str, Any], file: Path) -> list[str]:
    """The command that runs a program of this Python on a resolved config.

    Args:
        program: arguments of Python, as `-m vfx.extract`.
        config: resolved; written to the file.
        file: to be made, a .yaml.
    """
    file.write_text(json.dumps({"defaults": DEFAULTS, **config}))
    return [sys.executable, *program, "--config-dir", str(file.parent), "--config-name", file.stem]


def run(job: CurrentJob, program: Sequence[str], config: Mapping[str, Any], *, follow: bool) -> list[Path]:
    """Run the current job in a process of its own, with any number of ranks.

    What kills that process leaves this one: Lightning kills the first rank where another is lost. A signal to this
    process is forwarded, and ends the sweep.

    Args:
        job: the current job.
        program: arguments of Python, as `-m vfx.extract`.
        config: of the job, resolved.
        follow: end both processes when the parent of this one is gone, whose worker it is.

    Returns:
        The paths that it wrote.

    Raises:
        Interrupted: A signal ended it.
        ExtractionError: It failed. If it could say so itself, the error is in its record.
    """
    line = command(program, config, job.record.with_suffix(".yaml"))
    process = _SignalForwarder(follow=follow)
    try:
        code = process.run(line, os.environ | {RECORD: str(job.record)})
    finally:
        process.close()
    done = job.reload()
    if process.signal:
        job.stop_sweep(process.signal)
    if done.written:
        return [Path(each.path) for each in done.written]
    if job.stopped:
        if done.state == "failed":  # as a first rank does whose others were told before it
            job.change(state="ended")
        raise Interrupted(job.stopped)
    if done.reason:
        raise ExtractionError(done.reason)
    if code:
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        raise ExtractionError(f"its process {how}; what was finished is kept: the same command goes on from there")
    raise ExtractionError("its process ended without a word; what was finished is kept: run the same command again")


class _SignalForwarder:
    """Waits for a process, and forwards signals to it; it ends in its own time."""

    def __init__(self, *, follow: bool) -> None:
        self.signal = 0
        self._parent = os.getppid() if follow else None
        self._process: subprocess.Popen[bytes] | None = None
        main = threading.current_thread() is threading.main_thread()
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS} if main else {}

    def run(self, line: Sequence[str], environment: Mapping[str, str]) -> int:
        # what it prints is no result of this process: that is in the record
        self._process = process = subprocess.Popen(line, env=environment, stdout=2)
        if self.signal:
            process.terminate()
        code = None
        while code is None:
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(TICK_SECONDS)
            if code is None and self._is_orphan() and not self.signal:
                self._note(signal.SIGTERM, None)
        if self._is_orphan():
            os._exit(1)  # joblib's worker would wait for another job for minutes
        return code

    def _is_orphan(self) -> bool:
        return self._parent not in (None, os.getppid())

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = number == signal.SIGINT == self.signal
        self.signal = self.signal or number
        if self._process is not None:  # which a terminal has told of Ctrl-C already: a second one would end it at once
            self._process.send_signal(signal.SIGINT if again else signal.SIGTERM)

    def close(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
