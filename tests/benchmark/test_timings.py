"""Stages are measured in turns, and have medians."""

from __future__ import annotations

from vfx.benchmark.timings import Cost, Name, Stage, measure_in_turns


def test_stages_are_measured_in_turns_that_go_back_and_forth() -> None:
    order: list[str] = []

    def stage(name: Name) -> Stage:
        def run() -> Cost:
            order.append(name)
            return Cost(len(order), 10 * len(order), 7)

        return Stage(name, "x", run)

    said: list[str] = []
    timings = measure_in_turns([stage("decode"), stage("network"), stage("write")], rounds=3, report=said.append)
    assert order == ["decode", "network", "write", "write", "network", "decode", "decode", "network", "write"]
    assert [[cost.wall for cost in t.costs] for t in timings] == [[1, 6, 7], [2, 5, 8], [3, 4, 9]]
    assert [(t.wall, t.processor, t.frames) for t in timings] == [(6, 60, 7), (5, 50, 7), (4, 40, 7)]
    assert said[3] == "round 2 of 3: write x: 4.00 s"
