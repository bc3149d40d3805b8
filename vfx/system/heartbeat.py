"""A worker's heartbeat: decoders tick with every packet, and another process looks at the age of the last tick."""

from __future__ import annotations

import math
import time

PAUSED = math.inf  # the worker waits for a task or for room, and may do so for as long as it likes
_clock: memoryview[float] | None = None  # of one float64, stored in one go: struct would write zeros first


def use(clock: memoryview | None) -> None:
    """Let this process tick in these 8 bytes of shared memory; None: nowhere."""
    global _clock
    _clock = None if clock is None else clock.cast("d")


def tick() -> None:
    """Progress was made just now. Without a clock it does nothing."""
    if _clock is not None:
        _clock[0] = time.monotonic()


def pause() -> None:
    """From now on this process waits for another, until the next tick."""
    if _clock is not None:
        _clock[0] = PAUSED


def age(clock: memoryview) -> float:
    """Seconds since the last tick in a clock; below zero while its process pauses."""
    return time.monotonic() - float(clock.cast("d")[0])
