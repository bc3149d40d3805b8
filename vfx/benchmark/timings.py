"""What the stages of a run take: one cost each round, measured in turns, and their medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Name = Literal["decode", "resize", "network", "ready", "write", "start-up", "extract", "replaced"]


@dataclass(frozen=True)
class Cost:
    """What a stage took in one round.

    Args:
        wall: seconds.
        processor: CPU seconds of all its processes together.
        frames: how many it handled.
        others: CPU seconds that other programs took of the machine meanwhile.
        steps: wall seconds of its parts, if it tells.
        note: what else is to be known of it.
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
    """A stage and what it took in each round; `wall`, `processor`, `others` and `steps` are medians."""

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


def measure_in_turns(stages: Sequence[Stage], *, rounds: int, report: Callable[[str], None]) -> list[Timing]:
    """Measure all stages once a round, in the opposite order every other round.

    So whatever else the machine does, and however it slows down, affects all alike.

    Args:
        stages: what to measure.
        rounds: how many times.
        report: is given a line after each stage.
    """
    timings = [Timing(stage.name, stage.variant, []) for stage in stages]
    for number in range(rounds):
        turn = list(zip(stages, timings, strict=True))
        for stage, timing in turn if number % 2 == 0 else reversed(turn):
            cost = stage.run()
            timing.costs.append(cost)
            report(f"round {number + 1} of {rounds}: {stage.name} {stage.variant}: {cost.wall:.2f} s")
    return timings
