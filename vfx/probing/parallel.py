"""Probes many videos in worker processes, and gives their records in the order of the collection."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Iterator

import numpy as np

from vfx.collection.source import VideoSource
from vfx.probing import prober as probing
from vfx.probing.prober import OTHER_DECODERS, Finding, Prober, Task
from vfx.probing.record import Record
from vfx.system import worker_pool


def tasks_of(sources: list[VideoSource]) -> Iterator[Task]:
    """A task for each video of a collection, which are sorted by id."""
    sizes, counts = np.unique(np.fromiter((s.cost for s in sources), np.int64, len(sources)), return_counts=True)
    shared = set(sizes[(counts > 1) & (sizes > 0)].tolist())
    for number, source in enumerate(sources):
        near = sources[max(0, number - 1) : number] + sources[number + 1 : number + 2]
        same = next((other.path for other in near if other.id == source.id), "")
        yield Task(number, source, source.cost in shared, same)


def probe_all(sources: list[VideoSource], prober: Prober, *, processes: int) -> Iterator[Record]:
    """Probe videos, and yield what each is.

    One that takes its process down, or holds it up for `limits.patience` seconds, has what was known of it before.
    Memory holds the records that wait for one before them, and the digests of files of one size.

    Args:
        sources: sorted by id.
        prober: probes one.
        processes: at least 1.

    Yields:
        The records, in the order of `sources`.

    Raises:
        UsageError: The sampler cannot be used.
        ExtractionError: Processes cannot be started.
    """
    findings = worker_pool.run(
        deque(tasks_of(sources)),
        prober,
        processes=processes,
        patience=prober.limits.patience,
        memory=prober.limits.memory,
        preload=[probing.__name__, "torch"] if prober.decode else [probing.__name__],  # torchcodec needs torch
    )
    first: dict[str, str] = {}  # digest -> path
    with contextlib.closing(findings):
        for record in _in_order(_finished(findings, prober), len(sources)):
            if record.sha256:
                twin = first.setdefault(record.sha256, record.path)
                record.twin = twin if twin != record.path else ""
            yield record


def _finished(
    findings: Iterable[tuple[Task, Finding | worker_pool.WorkerFailure]], prober: Prober
) -> Iterator[tuple[int, Record]]:
    """The number and record of each video that is finished, or has taken its process down."""
    begun: dict[int, Finding] = {}
    for task, item in findings:
        if isinstance(item, worker_pool.WorkerFailure):
            # One look is enough to warn of it: it is not waited for its second try.
            yield task.number, _lost(begun.pop(task.number, Finding(prober.begin(task), "")), item)
        elif item.step:
            begun[task.number] = item
        else:
            begun.pop(task.number, None)
            yield task.number, item.record


def _in_order(records: Iterable[tuple[int, Record]], count: int) -> Iterator[Record]:
    """Records by their numbers from 0, until there are `count` of them."""
    waiting: dict[int, Record] = {}
    number = 0
    for finished, record in records:
        waiting[finished] = record
        while number in waiting:
            yield waiting.pop(number)
            number += 1
        if number == count:
            return


def _lost(finding: Finding, failure: worker_pool.WorkerFailure) -> Record:
    """The record of a video whose process went down."""
    record, step = finding
    if step in OTHER_DECODERS:
        return record  # which `auto` need not ask
    record.add_problem("hang" if failure.hung else "crash", f"{failure.reason}, reading {step or 'the file'}")
    return record
