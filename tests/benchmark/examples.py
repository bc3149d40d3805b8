"""Timings to reckon with."""

from __future__ import annotations

from vfx.benchmark.timings import Cost, Name, Timing


def timing(name: Name, variant: str, wall: float, processor: float, frames: int = 100) -> Timing:
    """Three rounds around a median."""
    return Timing(name, variant, [Cost(wall * f, processor * f, frames) for f in (2.0, 0.5, 1.0)])


DECODE = timing("decode", "auto, 1 worker", 6.0, 6.0)
NETWORK = timing("network", "32-true, channels_last", 20.0, 34.0)
TIMINGS = [
    DECODE,
    timing("decode", "auto, 2 workers", 3.5, 7.0),
    NETWORK,
    timing("network", "32-true, contiguous", 30.0, 60.0),
    timing("start-up", "one frame", 5.0, 6.0),
    timing("extract", "32-true", 30.0, 56.0),
    timing("extract", "bf16-mixed", 15.0, 26.0),
    Timing("replaced", "32-true", [Cost(65.0, 90.0, 100, steps={"network": 60.0, "mean": 5.0})] * 3),
]
WAYS = {"32-true": "32-true, channels_last", "bf16-mixed": "bf16-mixed, channels_last"}
