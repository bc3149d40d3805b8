"""How near a run comes to the best that its stages allow, and its network to the best that the device allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vfx.benchmark.timings import Timing


@dataclass(frozen=True)
class Efficiency:
    """A whole `extract` against the best that its stages allow.

    Args:
        variant: of `extract`.
        ideal: seconds, see `ideal_seconds`.
        measured: seconds that it took.
        start_up: seconds that it takes for a video of one frame.
        needed: CPU seconds of decoding and the network.
        taken: its CPU seconds beyond the start-up.
    """

    variant: str
    ideal: float
    measured: float
    start_up: float
    needed: float
    taken: float

    @property
    def whole(self) -> float:
        """ideal / measured, start-up included."""
        return self.ideal / self.measured

    @property
    def running(self) -> float | None:
        """ideal / measured beyond the start-up; None if nothing is."""
        beyond = self.measured - self.start_up
        return self.ideal / beyond if beyond > 0 else None

    @property
    def processor(self) -> float | None:
        """needed / taken, which other programs hardly change; None if nothing was taken."""
        return self.needed / self.taken if self.taken > 0 else None


@dataclass(frozen=True)
class Utilization:
    """How much of what a device can do a stage uses.

    Args:
        stage: its name and variant.
        images: images per second; with ten crops a frame is ten images.
        ready: the same of the network alone, over images that lie ready on the device.
        operations: floating-point operations per image.
        peak: floating-point operations per second of large matrix products in this precision.
    """

    stage: str
    images: float
    ready: float
    operations: int
    peak: float

    @property
    def share(self) -> float:
        """images / ready."""
        return self.images / self.ready

    @property
    def of_peak(self) -> float:
        """Operations per second / peak."""
        return self.images * self.operations / self.peak


def ideal_seconds(decode: Timing, network: Timing, *, cores: int, on_device: bool) -> float:
    """Seconds of a run that loses nothing: all cores work on frames alone, from first to last.

    On the CPU, the cores share decoding and the network. On a device of its own (`on_device`) the network runs beside
    decoding, and the longer of the two counts.
    """
    if on_device:
        return max(decode.processor / cores, network.wall)
    return (decode.processor + network.processor) / cores


def efficiencies(
    timings: Iterable[Timing], *, decode: str, network: Mapping[str, str], cores: int, on_device: bool
) -> list[Efficiency]:
    """The efficiency of each variant of `extract` whose stages were measured too.

    Args:
        timings: of all stages.
        decode: the variant of `decode` that the run uses.
        network: the variant of `network`, for each variant of `extract`.
        cores, on_device: see `ideal_seconds`.
    """
    by_stage = {(timing.name, timing.variant): timing for timing in timings}
    start_up = next((timing for timing in by_stage.values() if timing.name == "start-up"), None)
    decoding = by_stage.get(("decode", decode))
    found = []
    for (name, variant), timing in by_stage.items():
        computing = by_stage.get(("network", network.get(variant, "")))
        if name == "extract" and decoding and computing and start_up:
            ideal = ideal_seconds(decoding, computing, cores=cores, on_device=on_device)
            needed, taken = decoding.processor + computing.processor, timing.processor - start_up.processor
            found.append(Efficiency(variant, ideal, timing.wall, start_up.wall, needed, taken))
    return found


def utilizations(
    timings: Iterable[Timing], *, network: Mapping[str, str], crops: int, operations: int, peak: Mapping[str, float]
) -> list[Utilization]:
    """The utilization of `network` and of `extract` beyond its start-up, if `ready` was measured too.

    Args:
        timings: of all stages.
        network: the variant of `network`, for each precision.
        crops: images per frame.
        operations: floating-point operations per image.
        peak: for each precision, see `Utilization`.
    """
    by_stage = {(timing.name, timing.variant): timing for timing in timings}
    start_up = next((timing.wall for timing in by_stage.values() if timing.name == "start-up"), 0.0)
    found = []
    for precision, variant in network.items():
        ready = by_stage.get(("ready", variant))
        stages = (by_stage.get(("network", variant)), 0.0), (by_stage.get(("extract", precision)), start_up)
        for timing, overhead in stages:
            if ready and timing and timing.wall > overhead:
                rates = crops * timing.frames / (timing.wall - overhead), crops * ready.frames / ready.wall
                found.append(Utilization(f"{timing.name} {timing.variant}", *rates, operations, peak[precision]))
    return found
