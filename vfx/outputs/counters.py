"""What a run counts and times, so that its user sees where the time goes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields


@dataclass
class RunCounters:
    """Counts and seconds of one rank. `decode`, `threads`: seconds that workers read and threads ran networks, which
    they do beside the rest; `waiting` (for frames), `network` (for features), `writing`: of the main process, in turn.
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
