"""All that a benchmark found, as tables and as JSON."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from vfx.benchmark.efficiency import Efficiency, Utilization
from vfx.benchmark.timings import Timing
from vfx.text import table

TIMING_HEAD = ("stage", "variant", "frames", "wall s", "", "processor s", "frames/s", "others")
EFFICIENCY_HEAD = (
    "extract", "ideal s", "measured s", "beyond start-up s",
    "efficiency", "beyond start-up", "of processor",
)  # fmt: skip
UTILIZATION_HEAD = ("against ready images", "images/s", "ready images/s", "share", "TFLOP/s", "peak", "of peak")


@dataclass(frozen=True)
class Result:
    """What a benchmark found.

    Args:
        machine, versions, asked: what it ran on, and what was measured, by name.
        rounds: of each stage.
        timings, efficiencies, utilizations: the measurements.
        left_out: why stages were left out, by name.
    """

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
        """All of it as plain values; medians beside what each round took."""
        return {
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "asked": dict(self.asked),
            "rounds": self.rounds,
            "stages": [
                {
                    "stage": timing.name,
                    "variant": timing.variant,
                    "frames": timing.frames,
                    "wall": timing.wall,
                    "processor": timing.processor,
                    "rounds": [asdict(cost) for cost in timing.costs],
                }
                for timing in self.timings
            ],
            "efficiencies": [
                asdict(e) | {"whole": e.whole, "running": e.running, "processor": e.processor}
                for e in self.efficiencies
            ],
            "utilizations": [asdict(u) | {"share": u.share, "of peak": u.of_peak} for u in self.utilizations],
            "times as fast": self.speedups(),
            "left out": dict(self.left_out),
        }

    def speedups(self) -> dict[str, float]:
        """How many times as fast per frame each `extract` is as the replaced tool.

        The tool's means over videos do not count, since `extract` makes none.
        """
        beside = next((timing for timing in self.timings if timing.name == "replaced"), None)
        if beside is None:
            return {}
        theirs = statistics.median((cost.wall - cost.steps.get("mean", 0.0)) / cost.frames for cost in beside.costs)
        return {t.variant: theirs * t.frames / t.wall for t in self.timings if t.name == "extract"}

    def lines(self) -> Iterator[str]:
        """The lines of the tables."""
        yield ", ".join(f"{name} {value}" for name, value in self.machine.items())
        yield ", ".join(f"{name} {value}" for name, value in self.asked.items())
        yield f"medians of {self.rounds} rounds, in brackets the least and the most"
        yield ""
        rows = [_timing_row(timing, self.machine["cores"]) for timing in self.timings]
        yield from table([TIMING_HEAD, *rows], align="<<>")
        for timing in self.timings:
            yield from _notes(timing)
        yield from (f"{what} left out: {why}" for what, why in self.left_out.items())
        if self.efficiencies:
            yield ""
            yield from table([EFFICIENCY_HEAD, *map(_efficiency_row, self.efficiencies)], align="<>")
        if self.utilizations:
            yield ""
            yield from table([UTILIZATION_HEAD, *map(_utilization_row, self.utilizations)], align="<>")
        for variant, times in self.speedups().items():
            yield f"extract {variant} is {times:.2f} times as fast as the replaced tool's way"


def _notes(timing: Timing) -> Iterator[str]:
    for note in dict.fromkeys(cost.note for cost in timing.costs if cost.note):
        yield f"{timing.name} {timing.variant}: {note}"
    if timing.steps:
        steps = ", ".join(f"{step} {seconds:.1f} s" for step, seconds in timing.steps.items())
        yield f"{timing.name} {timing.variant}: {steps}"


def _timing_row(timing: Timing, cores: int) -> tuple[str, ...]:
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


def _efficiency_row(found: Efficiency) -> tuple[str, ...]:
    seconds = (found.ideal, found.measured, found.measured - found.start_up)
    ratios = (found.whole, found.running, found.processor)
    return (found.variant, *(f"{value:.2f}" for value in seconds), *map(_ratio, ratios))


def _utilization_row(found: Utilization) -> tuple[str, ...]:
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
