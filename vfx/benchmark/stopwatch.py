"""A stopwatch of wall time and CPU time."""

from __future__ import annotations

import time

from vfx.benchmark.timings import Cost
from vfx.system import process_usage


class Stopwatch:
    """Starts when it is made."""

    def __init__(self) -> None:
        self._own, self._machine = process_usage.processor_seconds(), process_usage.machine_seconds()
        self._start = time.perf_counter()

    def cost(self, frames: int) -> Cost:
        """What passed until now, for so many frames."""
        wall = time.perf_counter() - self._start
        own, machine = process_usage.processor_seconds() - self._own, process_usage.machine_seconds() - self._machine
        return Cost(wall, own, frames, max(0.0, machine - own))
