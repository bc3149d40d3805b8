"""Counts and times of a run, which show its bottleneck."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields


@dataclass
class RunCounters:
    """Counts and times of one rank. Times are in seconds.

    Args:
        videos: Videos that were read.
        frames: Frames whose features were written.
        done_cost: The cost of what was read, in the unit of VideoSource.cost.
        failures: Failures by stage.
        decode: Decoding, summed over workers.
        threads: Inference, summed over threads.
        waiting: The main process waited for frames.
        network: The main process waited for features.
        writing: The main process wrote.
    """

    videos: int = 0
    frames: int = 0
    done_cost: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    decode: float = 0.0
    threads: float = 0.0
    waiting: float = 0.0
    network: float = 0.0
    writing: float = 0.0

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the seconds spent inside to `waiting`, `network` or `writing`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, stage, getattr(self, stage) + time.perf_counter() - start)

    def __add__(self, other: RunCounters) -> RunCounters:
        return RunCounters(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})
