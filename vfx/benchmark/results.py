"""The bench's arithmetic: stages measured in turns, and how near a run comes to the best that its stages allow."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from vfx.text import table

HEAD = (
    "extract", "ideal s", "measured s", "beyond start-up s",
    "efficiency", "beyond start-up", "of processor",
)  # fmt: skip
RATES = ("against ready images", "images/s", "ready images/s", "share", "TFLOP/s", "peak", "of peak")
Name = Literal["decode", "resize", "network", "ready", "write", "start-up", "extract", "replaced"]


@dataclass(frozen=True)
class Cost:
    """What a stage took once: `wall` seconds, and `processor` seconds of all its processes together.

    `frames`: how many it handled. `others`: processor seconds that other programs took of the machine meanwhile.
    `steps`: wall seconds of its parts, where it tells. `note`: what else is to be known of it.
    """

    wall: float
    processor: float
    frames: int
    others: float = 0.0
    steps: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Stage:
    """Something to measure: the stage of a run, and which variant of it, as `pyav, 1 worker`."""

    name: Name
    variant: str
    run: Callable[[], Cost]


@dataclass(frozen=True)
class Timing:
    """A stage and what it took each time; `wall`, `processor`, `others` and `steps` are medians."""

    name: Name
    variant: str
    costs: list[Cost]

    @property
    def wall(self) -> float:
        return statistics.median(cost.wall for cost in self.costs)

    @property
    def processor(self) -> float:
        return statistics.median(cost.processor for cost in self.costs)

    @property
    def others(self) -> float:
        return statistics.median(cost.others for cost in self.costs)

    @property
    def steps(self) -> dict[str, float]:
        return {step: statistics.median(cost.steps[step] for cost in self.costs) for step in self.costs[0].steps}

    @property
    def frames(self) -> int:
        return self.costs[0].frames


def in_turns(stages: Sequence[Stage], *, rounds: int, tell: Callable[[str], None]) -> list[Timing]:
    """Measure every stage `rounds` times: all of them once, then all once more, the other way round each time.

    So whatever else the machine does, and however it grows slower, it does to all alike. `tell` is given a line after
    each.
    """
    timings = [Timing(stage.name, stage.variant, []) for stage in stages]
    for number in range(rounds):
        turn = list(zip(stages, timings, strict=True))
        for stage, timing in turn if number % 2 == 0 else reversed(turn):
            cost = stage.run()
            timing.costs.append(cost)
            tell(f"round {number + 1} of {rounds}: {stage.name} {stage.variant}: {cost.wall:.2f} s")
    return timings


def ideal(decode: Timing, network: Timing, *, cores: int, on_device: bool) -> float:
    """Seconds that a run would take if nothing were lost: all cores at work, on frames alone, from first to last.

    On a processor, what decoding and the network take of it, shared by the `cores`. With a network on a device of its
    own (`on_device`), which works while the cores decode, the longer of the two.
    """
    if on_device:
        return max(decode.processor / cores, network.wall)
    return (decode.processor + network.processor) / cores


@dataclass(frozen=True)
class Efficiency:
    """Of a whole `extract`: seconds that would be `ideal`, that it took (`measured`), and that it takes for a video of
    one frame (`start_up`). `needed`: processor seconds of decoding and the network; `taken`: of it, beyond start-up.
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
        """ideal / measured, of what is beyond the start-up; None where nothing is."""
        beyond = self.measured - self.start_up
        return self.ideal / beyond if beyond > 0 else None

    @property
    def processor(self) -> float | None:
        """needed / taken: what is lost to other work, whoever else was at the cores; None where nothing was taken."""
        return self.needed / self.taken if self.taken > 0 else None


def efficiencies(
    timings: Iterable[Timing], *, decode: str, network: Mapping[str, str], cores: int, on_device: bool
) -> list[Efficiency]:
    """One for each variant of `extract` whose stages were measured too.

    `decode`, `network`: the variants of these stages which the run takes, the latter for each variant of `extract`.
    """
    by = {(timing.name, timing.variant): timing for timing in timings}
    start_up = next((timing for timing in by.values() if timing.name == "start-up"), None)
    reading = by.get(("decode", decode))
    found = []
    for (name, variant), timing in by.items():
        computing = by.get(("network", network.get(variant, "")))
        if name == "extract" and reading and computing and start_up:
            best = ideal(reading, computing, cores=cores, on_device=on_device)
            needed, taken = reading.processor + computing.processor, timing.processor - start_up.processor
            found.append(Efficiency(variant, best, timing.wall, start_up.wall, needed, taken))
    return found


@dataclass(frozen=True)
class Utilization:
    """How much of what a device can do a stage makes use of.

    `images`: images a second, of which there are ten a frame with ten crops; `ready`: the same of the network alone,
    over images that are ready. `operations`: floating-point operations of an image; `peak`: those a second that the
    product of two large matrices reaches on the device in this precision.
    """

    stage: str
    images: float
    ready: float
    operations: int
    peak: float

    @property
    def share(self) -> float:
        """Of the rate that the network alone would have."""
        return self.images / self.ready

    @property
    def of_peak(self) -> float:
        return self.images * self.operations / self.peak


def utilizations(
    timings: Iterable[Timing], *, network: Mapping[str, str], crops: int, operations: int, peak: Mapping[str, float]
) -> list[Utilization]:
    """Of `network` and `extract`, the latter beyond its start-up, where `ready` was measured too.

    `network`: its variant in each precision. `crops`: images a frame. `peak`: by precision.
    """
    by = {(timing.name, timing.variant): timing for timing in timings}
    start_up = next((timing.wall for timing in by.values() if timing.name == "start-up"), 0.0)
    found = []
    for precision, variant in network.items():
        ready = by.get(("ready", variant))
        for timing, seconds in ((by.get(("network", variant)), 0.0), (by.get(("extract", precision)), start_up)):
            if ready and timing and timing.wall > seconds:
                rates = crops * timing.frames / (timing.wall - seconds), crops * ready.frames / ready.wall
                found.append(Utilization(f"{timing.name} {timing.variant}", *rates, operations, peak[precision]))
    return found


@dataclass(frozen=True)
class Result:
    """All that a bench found. `machine`, `versions`, `asked`: by name; `left_out`: stages and why; `rounds` of each."""

    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    asked: Mapping[str, Any]
    rounds: int
    timings: list[Timing]
    efficiencies: list[Efficiency]
    utilizations: list[Utilization]
    left_out: Mapping[str, str]

    def __str__(self) -> str:
        found = [f"{e.variant} {_ratio(e.whole)}, without start-up {_ratio(e.running)}" for e in self.efficiencies]
        return f"efficiency: {'; '.join(found) or 'not measured'}"

    def json(self) -> dict[str, Any]:
        """All of it, as plain values; medians beside what each round took."""
        timings = [
            {
                "stage": timing.name,
                "variant": timing.variant,
                "frames": timing.frames,
                "wall": timing.wall,
                "processor": timing.processor,
                "rounds": [asdict(cost) for cost in timing.costs],
            }
            for timing in self.timings
        ]
        efficiencies = [
            asdict(e) | {"whole": e.whole, "running": e.running, "processor": e.processor} for e in self.efficiencies
        ]
        return {
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "asked": dict(self.asked),
            "rounds": self.rounds,
            "stages": timings,
            "efficiencies": efficiencies,
            "utilizations": [asdict(u) | {"share": u.share, "of peak": u.of_peak} for u in self.utilizations],
            "times as fast": self.speedups(),
            "left out": dict(self.left_out),
        }

    def speedups(self) -> dict[str, float]:
        """How many times as fast each `extract` is, a frame, as the way that it is measured beside; of that without the
        means over videos, which `extract` does not make."""
        beside = next((timing for timing in self.timings if timing.name == "replaced"), None)
        if beside is None:
            return {}
        theirs = statistics.median((cost.wall - cost.steps.get("mean", 0.0)) / cost.frames for cost in beside.costs)
        return {t.variant: theirs * t.frames / t.wall for t in self.timings if t.name == "extract"}

    def lines(self) -> Iterator[str]:
        """The tables, a line each."""
        yield ", ".join(f"{name} {value}" for name, value in self.machine.items())
        yield ", ".join(f"{name} {value}" for name, value in self.asked.items())
        yield f"medians of {self.rounds} rounds, in brackets the least and the most"
        yield ""
        head = ("stage", "variant", "frames", "wall s", "", "processor s", "frames/s", "others")
        yield from table([head, *(_row(timing, self.machine["cores"]) for timing in self.timings)], align="<<>")
        for timing in self.timings:
            for note in dict.fromkeys(cost.note for cost in timing.costs if cost.note):
                yield f"{timing.name} {timing.variant}: {note}"
            if timing.steps:
                steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in timing.steps.items())
                yield f"{timing.name} {timing.variant}: {steps}"
        yield from (f"{what} left out: {why}" for what, why in self.left_out.items())
        if self.efficiencies:
            yield ""
            yield from table([HEAD, *map(_line, self.efficiencies)], align="<>")
        if self.utilizations:
            yield ""
            yield from table([RATES, *map(_rates, self.utilizations)], align="<>")
        for variant, times in self.speedups().items():
            yield f"extract {variant} is {times:.2f} times as fast as the replaced tool's way"


def _row(timing: Timing, cores: int) -> tuple[str, ...]:
    walls = [cost.wall for cost in timing.costs]
    return (
        timing.name,
        timing.variant,
        str(timing.frames),
        f"{timing.wall:.2f}",
        f"({min(walls):.2f}-{max(walls):.2f})",
        f"{timing.processor:.2f}",
        f"{timing.frames / timing.wall:.1f}",
        f"{min(100, 100 * timing.others / cores / timing.wall):.0f} %",
    )


def _line(found: Efficiency) -> tuple[str, ...]:
    seconds = (found.ideal, found.measured, found.measured - found.start_up)
    ratios = (found.whole, found.running, found.processor)
    return (found.variant, *(f"{value:.2f}" for value in seconds), *map(_ratio, ratios))


def _rates(found: Utilization) -> tuple[str, ...]:
    return (
        found.stage,
        f"{found.images:.1f}",
        f"{found.ready:.1f}",
        f"{found.share:.3f}",
        f"{found.images * found.operations / 1e12:.2f}",
        f"{found.peak / 1e12:.2f}",
        f"{found.of_peak:.3f}",
    )


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
