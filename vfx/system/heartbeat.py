"""A worker's sign of life: decoders give one with every packet, and a watchdog in another process looks at the last."""

from __future__ import annotations

import math
import time

RESTING = math.inf  # waits for work or for room, and may do so for as long as it likes
_clock: memoryview[float] | None = None  # of one float64, stored in one go: struct would write zeros first


def use(clock: memoryview | None) -> None:
    """Let this process give its signs in these 8 bytes of shared memory; None: to nobody."""
    global _clock
    _clock = None if clock is None else clock.cast("d")


def tick() -> None:
    """Progress has been made just now. In a process that nobody watches it does nothing."""
    if _clock is not None:
        _clock[0] = time.monotonic()


def pause() -> None:
    """What follows is no work of this process: it waits for another."""
    if _clock is not None:
        _clock[0] = RESTING


def age(clock: memoryview) -> float:
    """Seconds since the last sign in a clock; below zero while its process rests."""
    return time.monotonic() - float(clock.cast("d")[0])
