"""What became of the jobs of a sweep: each leaves a record, wherever it runs, and there is a table at the end."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from vfx import text
from vfx.errors import Interrupted, OutputError
from vfx.system.files import make_folder, remove_abandoned, working_folder, write_text, writing

PREFIX = "sweep-"
STOP = "stop"  # beside the records: the number of the signal that ended the sweep; no job begins any more
RECORD = "VFX_RECORD"  # in the environment of a process that was started for one job: where its record is
WELL = ("done", "nothing to do")
ENDED = ("failed", "ended")
HEAD = ("job", "collection", "feature", "state", "rows", "dims", "frames/s", "failures")
ALIGN = "<<<<>"


@dataclass(frozen=True)
class Written:
    """What a job wrote; `rows` and what follows where it is a feature file. `dims`: of a row, as 1280 or 10x1280."""

    path: str
    collection: str = ""
    feature: str = ""
    rows: int | None = None
    dims: str = ""
    failures: int | None = None

    @classmethod
    def of(cls, result: object) -> Written:
        """Of what an app returned; of all but a feature file there is no more to say than its text."""
        is_file = isinstance(result, Path) and result.suffix == ".h5" and result.is_file()
        return cls.of_file(str(result)) if is_file else cls(str(result))

    @classmethod
    def of_file(cls, path: str | Path) -> Written:
        """Of a feature file or its folder. Raises OutputError where it is not one."""
        from vfx.features.feature_file import FeatureFile  # late: jobs that fail early need none of it

        with FeatureFile(path) as file:
            rows, *dims = file.features.shape
            named = file.attributes["collection"], file.attributes["feature"]
            return cls(str(path), *named, rows, "x".join(map(str, dims)), len(file.failures))


@dataclass(frozen=True)
class Job:
    """One job of a sweep. `state`: begun, done, nothing to do, failed, ended (by a signal) or not begun; `reason` of
    those that came to nothing. `rate`: frames/s from start to end. `process`, `host`: where it is at work."""

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


class AtWork:
    """The job that this process is at; every change of it is recorded."""

    def __init__(self, job: Job, record: Path) -> None:
        self.job = job
        self.record = record
        self.change()

    def change(self, **facts: Any) -> None:
        self.job = replace(self.job, **facts)
        make_folder(self.record.parent)  # it is gone where a job of a cluster outlives the sweep that it is of
        write_text(self.record, json.dumps(asdict(self.job)))

    def look_again(self) -> Job:
        """What another process has recorded of it."""
        self.job = Job.read(self.record)
        return self.job

    def finish(self, paths: Iterable[object]) -> None:
        """It has written these, or found them."""
        state = "done" if self.job.state == "begun" else self.job.state
        self.change(state=state, written=[Written.of(path) for path in paths])

    @property
    def has_ended(self) -> bool:
        """Whether it is known to have failed, or to have been ended."""
        return self.job.state in ENDED

    def fail(self, error: BaseException) -> None:
        """This has ended it, if nothing has before."""
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


class Sweep:
    """The records of a sweep, in a folder that all its jobs see; held by the process that the user started."""

    def __init__(self, parent: Path, *, outlived: bool = False) -> None:
        """`outlived`: its jobs may go on when it has ended.

        Raises OutputError where there can be no such folder below `parent`.
        """
        self.outlived = outlived
        self._stack = ExitStack()
        with writing(parent):
            make_folder(parent)
            remove_abandoned(parent, PREFIX)
            self.folder = self._stack.enter_context(working_folder(parent, PREFIX))

    def jobs(self) -> list[Job]:
        """What is recorded so far, by number."""
        return sorted((Job.read(path) for path in self.folder.glob("*.json")), key=lambda job: job.number)

    def stop(self, number: int) -> None:
        """Let no other job begin, and have those that are at work on this machine end as by SIGTERM."""
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
        """The jobs, when none is at work any more; their records are gone then."""
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


_at_work: AtWork | None = None  # a process is at one job at a time


def begin(folder: Path, number: int, **facts: Any) -> AtWork:
    """This process begins a job of the sweep whose records are in `folder`."""
    global _at_work
    _at_work = None
    _at_work = AtWork(Job(number, **facts), folder / f"{number}.json")
    return _at_work


def take_over() -> AtWork:
    """This process was started for a job, and goes on with its record."""
    global _at_work
    record = Path(os.environ[RECORD])
    _at_work = AtWork(replace(Job.read(record), process=os.getpid(), host=socket.gethostname()), record)
    return _at_work


def is_apart() -> bool:
    """Whether this process, or the first rank of its run, was started for one job of a sweep."""
    return RECORD in os.environ


def at_work() -> AtWork | None:
    """The job of a sweep that this process is at, if it is."""
    return _at_work


def tell(**facts: Any) -> None:
    """Record `state` or `rate` of the job at work; outside of a sweep nobody listens."""
    if _at_work is not None:
        _at_work.change(**facts)


def lines(jobs: Sequence[Job]) -> Iterator[str]:
    """The table of a sweep, a line for each file that a job wrote, and below it why jobs came to nothing."""
    yield from _table(_cells(written, job) for job in jobs for written in job.written or [Written("")])
    for job in jobs:
        if job.reason:
            yield f"job {job.number} {job.state} ({' '.join(own(job, jobs))}): {job.reason}"


def table(features: Iterable[str | Path]) -> Iterator[str]:
    """The same table of feature files, or their folders, that are there. Raises OutputError where one is not."""
    return _table(_cells(Written.of_file(path)) for path in features)


def own(job: Job, jobs: Sequence[Job]) -> list[str]:
    """The overrides of a job that not all jobs of the sweep have; of the only one, all."""
    common = set.intersection(*(set(each.overrides) for each in jobs)) if len(jobs) > 1 else set()
    return [override for override in job.overrides if override not in common]


def _cells(written: Written, job: Job | None = None) -> tuple[str, ...]:
    return (
        "" if job is None else str(job.number),
        written.collection or (job.collection if job else ""),
        written.feature or (job.feature if job else ""),
        "" if job is None else job.state,
        "" if written.rows is None else str(written.rows),
        written.dims,
        "" if job is None or job.rate is None else f"{job.rate:.1f}",
        "" if written.failures is None else str(written.failures),
    )


def _table(rows: Iterable[Sequence[str]]) -> Iterator[str]:
    return text.table([HEAD, *rows], align=ALIGN, skip_empty=True, empty="-")
