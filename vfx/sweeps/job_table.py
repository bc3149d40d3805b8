"""The table that a sweep ends with: what its jobs wrote, and why they came to nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vfx import text
from vfx.sweeps.job_records import Job
from vfx.sweeps.written import Written

HEAD = ("job", "collection", "feature", "state", "rows", "dims", "frames/s", "failures")
ALIGN = "<<<<>"


def lines(jobs: Sequence[Job]) -> Iterator[str]:
    """The table of a sweep, a line for each file that a job wrote, and below it why jobs came to nothing."""
    yield from _table(_cells(written, job) for job in jobs for written in job.written or [Written("")])
    for job in jobs:
        if job.reason:
            yield f"job {job.number} {job.state} ({' '.join(own_overrides(job, jobs))}): {job.reason}"


def table(features: Iterable[str | Path]) -> Iterator[str]:
    """The same table of feature files that are there.

    Args:
        features: the files, or their folders.

    Returns:
        Its lines.

    Raises:
        OutputError: One of them is not a feature file.
    """
    return _table(_cells(Written.of_file(path)) for path in features)


def own_overrides(job: Job, jobs: Sequence[Job]) -> list[str]:
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
