"""What becomes of the jobs of a sweep: each leaves a record, wherever it runs."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vfx.errors import Interrupted, OutputError
from vfx.sweeps.written import Written
from vfx.system.files import make_folder, remove_abandoned, working_folder, write_text, writing

PREFIX = "sweep-"
STOP = "stop"  # beside the records: the number of the signal that ended the sweep; no job begins any more
RECORD = "VFX_RECORD"  # in the environment of a process that was started for one job: where its record is
UNSUCCESSFUL = ("failed", "ended")


@dataclass(frozen=True)
class Job:
    """One job of a sweep.

    Args:
        number: Hydra's, from 0.
        overrides: of the command line.
        collection: its name, "" if not known.
        feature: the feature's name, "" if not known.
        state: begun, done, nothing to do, failed, or ended (by a signal).
        reason: why it failed.
        rate: frames a second from start to end.
        written: what it wrote.
        process: id of the process that runs it.
        host: name of the machine that runs it.
    """

    number: int
    overrides: Sequence[str] = ()
    collection: str = ""
    feature: str = ""
    state: str = "begun"
    reason: str = ""
    rate: float | None = None
    written: Sequence[Written] = ()
    process: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)

    @classmethod
    def read(cls, record: Path) -> Job:
        known = json.loads(record.read_text())
        return cls(**known | {"written": [Written(**each) for each in known["written"]]})


class CurrentJob:
    """The job that this process runs; every change of it is recorded.

    Attributes:
        job: as it is recorded.
        record: the file of its record.
    """

    def __init__(self, job: Job, record: Path) -> None:
        self.job = job
        self.record = record
        self.change()

    def change(self, **facts: Any) -> None:
        """Record new values of fields of the job."""
        self.job = replace(self.job, **facts)
        make_folder(self.record.parent)  # it is gone where a job of a cluster outlives the sweep that it is of
        write_text(self.record, json.dumps(asdict(self.job)))

    def reload(self) -> Job:
        """What another process has recorded of it."""
        self.job = Job.read(self.record)
        return self.job

    def finish(self, paths: Iterable[object]) -> None:
        """Record that it has written these, or found them."""
        state = "done" if self.job.state == "begun" else self.job.state
        self.change(state=state, written=[Written.of(path) for path in paths])

    @property
    def has_ended(self) -> bool:
        """Whether it is recorded as failed or ended."""
        return self.job.state in UNSUCCESSFUL

    def fail(self, error: BaseException) -> None:
        """Record the error that ended it, if none is recorded yet."""
        if self.has_ended:
            return
        name = "" if type(error).__module__.startswith("vfx.") else f"{type(error).__name__}: "
        state = "ended" if isinstance(error, Interrupted) else "failed"
        with suppress(OutputError):  # it may be the disk that refused
            self.change(state=state, reason=name + " ".join(str(error).split()))

    def stop_sweep(self, number: int) -> None:
        """A signal of this number ends the sweep: no other job begins."""
        _stop(self.record.parent, number)

    @property
    def stopped(self) -> int:
        """The signal that ended the sweep; 0 if none has."""
        return _stopped(self.record.parent)


class SweepRecords:
    """The records of a sweep's jobs, in a folder that all jobs see. The process that the user started holds it.

    Args:
        parent: where the folder is made.
        outlived: whether jobs may go on when that process has ended.

    Raises:
        OutputError: The folder cannot be made.
    """

    def __init__(self, parent: Path, *, outlived: bool = False) -> None:
        self.outlived = outlived
        self._stack = ExitStack()
        with writing(parent):
            make_folder(parent)
            remove_abandoned(parent, PREFIX)
            self.folder = self._stack.enter_context(working_folder(parent, PREFIX))

    def jobs(self) -> list[Job]:
        """The jobs recorded so far, by number."""
        return sorted((Job.read(path) for path in self.folder.glob("*.json")), key=lambda job: job.number)

    def stop(self, number: int) -> None:
        """Let no other job begin, and end those that run on this machine by SIGTERM.

        Args:
            number: of the signal that ended the sweep.
        """
        _stop(self.folder, number)
        for job in self.jobs():
            if job.state == "begun" and job.host == socket.gethostname() and job.process != os.getpid():
                with suppress(ProcessLookupError):
                    os.kill(job.process, signal.SIGTERM)

    @property
    def stopped(self) -> int:
        """The signal that ended it; 0 if none has."""
        return _stopped(self.folder)

    def close(self) -> list[Job]:
        """Remove the records when no job runs any more, and return the jobs."""
        jobs = self.jobs()
        state, reason = ("ended", "") if self.stopped else ("failed", "it ended without a word")
        if self.outlived:
            state, reason = "begun", "nothing is known of its end; squeue shows whether it is at work"
        self._stack.close()
        return [replace(job, state=state, reason=reason) if job.state == "begun" else job for job in jobs]


def _stop(folder: Path, number: int) -> None:
    write_text(folder / STOP, str(int(number)))  # of a member of Signals too, whose text is its name in Python 3.10


def _stopped(folder: Path) -> int:
    with suppress(FileNotFoundError):
        return int((folder / STOP).read_text())
    return 0


_current: CurrentJob | None = None  # a process runs one job at a time


def begin(folder: Path, number: int, **facts: Any) -> CurrentJob:
    """Record that this process begins a job.

    Args:
        folder: of the sweep's records.
        number: of the job.
        facts: more fields of `Job`.
    """
    global _current
    _current = None
    _current = CurrentJob(Job(number, **facts), folder / f"{number}.json")
    return _current


def take_over() -> CurrentJob:
    """Go on with the record of the job that this process was started for."""
    global _current
    record = Path(os.environ[RECORD])
    _current = CurrentJob(replace(Job.read(record), process=os.getpid(), host=socket.gethostname()), record)
    return _current


def is_job_process() -> bool:
    """Whether this process, or the first rank of its run, was started for one job of a sweep."""
    return RECORD in os.environ


def current_job() -> CurrentJob | None:
    """The job of a sweep that this process runs, if it does."""
    return _current


def update_current(**facts: Any) -> None:
    """Record `state` or `rate` of the current job; without a sweep this does nothing."""
    if _current is not None:
        _current.change(**facts)
