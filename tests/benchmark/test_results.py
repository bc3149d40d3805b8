"""The bench's arithmetic: turns, medians, what is ideal, and the table."""

from __future__ import annotations

import json

import pytest

from vfx.benchmark.results import (
    Cost,
    Efficiency,
    Name,
    Result,
    Stage,
    Timing,
    Utilization,
    efficiencies,
    ideal,
    in_turns,
    utilizations,
)  # fmt: skip


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


def test_stages_are_measured_in_turns_that_go_back_and_forth() -> None:
    order: list[str] = []

    def stage(name: Name) -> Stage:
        def run() -> Cost:
            order.append(name)
            return Cost(len(order), 10 * len(order), 7)

        return Stage(name, "x", run)

    said: list[str] = []
    timings = in_turns([stage("decode"), stage("network"), stage("write")], rounds=3, tell=said.append)
    assert order == ["decode", "network", "write", "write", "network", "decode", "decode", "network", "write"]
    assert [[cost.wall for cost in t.costs] for t in timings] == [[1, 6, 7], [2, 5, 8], [3, 4, 9]]
    assert [(t.wall, t.processor, t.frames) for t in timings] == [(6, 60, 7), (5, 50, 7), (4, 40, 7)]
    assert said[3] == "round 2 of 3: write x: 4.00 s"


@pytest.mark.parametrize(
    ("cores", "on_device", "seconds"),
    [
        (1, False, 40.0),  # 6 + 34 processor seconds
        (2, False, 20.0),
        (1, True, 20.0),  # the device works for 20 s while the core decodes for 6 s
        (16, True, 20.0),
    ],
)
def test_what_would_be_ideal(cores: int, on_device: bool, seconds: float) -> None:
    assert ideal(DECODE, NETWORK, cores=cores, on_device=on_device) == seconds


def test_a_device_that_waits_for_the_cores_is_no_faster_than_they_are() -> None:
    slow = timing("decode", "auto, 1 worker", 90.0, 90.0)
    assert ideal(slow, NETWORK, cores=2, on_device=True) == 45.0


def test_efficiency_is_ideal_over_measured_with_and_without_start_up() -> None:
    (found,) = efficiencies(TIMINGS, decode="auto, 1 worker", network=WAYS, cores=2, on_device=False)
    assert found == Efficiency("32-true", ideal=20.0, measured=30.0, start_up=5.0, needed=40.0, taken=50.0)
    assert (found.whole, found.running, found.processor) == (pytest.approx(2 / 3), 0.8, 0.8)
    assert Efficiency("x", 1.0, measured=4.0, start_up=4.0, needed=1.0, taken=0.0).running is None


@pytest.mark.parametrize("without", ["decode", "network", "start-up", "extract"])
def test_there_is_none_without_all_its_stages(without: str) -> None:
    some = [t for t in TIMINGS if t.name != without]
    assert efficiencies(some, decode="auto, 1 worker", network=WAYS, cores=2, on_device=False) == []


def test_the_table_has_a_line_for_each_stage_and_for_each_efficiency() -> None:
    best = efficiencies(TIMINGS, decode="auto, 1 worker", network=WAYS, cores=2, on_device=False)
    result = Result({"cores": 2}, {}, {"sampled": 100}, 3, TIMINGS, best, [], {"fp8": "no instructions"})
    lines = list(result.lines())
    assert lines == [
        "cores 2",
        "sampled 100",
        "medians of 3 rounds, in brackets the least and the most",
        "",
        "stage     variant                 frames  wall s                 processor s  frames/s  others",
        "decode    auto, 1 worker             100    6.00   (3.00-12.00)         6.00      16.7     0 %",
        "decode    auto, 2 workers            100    3.50    (1.75-7.00)         7.00      28.6     0 %",
        "network   32-true, channels_last     100   20.00  (10.00-40.00)        34.00       5.0     0 %",
        "network   32-true, contiguous        100   30.00  (15.00-60.00)        60.00       3.3     0 %",
        "start-up  one frame                  100    5.00   (2.50-10.00)         6.00      20.0     0 %",
        "extract   32-true                    100   30.00  (15.00-60.00)        56.00       3.3     0 %",
        "extract   bf16-mixed                 100   15.00   (7.50-30.00)        26.00       6.7     0 %",
        "replaced  32-true                    100   65.00  (65.00-65.00)        90.00       1.5     0 %",
        "replaced 32-true: network 60.0 s, mean 5.0 s",
        "fp8 left out: no instructions",
        "",
        "extract  ideal s  measured s  beyond start-up s  efficiency  beyond start-up  of processor",
        "32-true    20.00       30.00              25.00       0.667            0.800         0.800",
        "extract 32-true is 2.00 times as fast as the replaced tool's way",
        "extract bf16-mixed is 4.00 times as fast as the replaced tool's way",
    ]
    assert str(result) == "efficiency: 32-true 0.667, without start-up 0.800"
    plain = json.loads(json.dumps(result.json(), allow_nan=False))
    assert plain["times as fast"] == {"32-true": 2.0, "bf16-mixed": 4.0}
    assert [len(stage["rounds"]) for stage in plain["stages"]] == [3] * len(TIMINGS)


def test_rates_are_compared_with_those_of_images_that_are_ready() -> None:
    timings = [*TIMINGS, timing("ready", WAYS["32-true"], 16.0, 32.0)]
    found = utilizations(timings, network=WAYS, crops=10, operations=10**12, peak={"32-true": 1e15, "bf16-mixed": 4e15})
    network, whole = found  # bf16-mixed was not measured with ready images
    assert network == Utilization("network 32-true, channels_last", 1000 / 20, 1000 / 16, 10**12, 1e15)
    assert (network.share, network.of_peak) == (0.8, 0.05)
    assert whole.stage == "extract 32-true"
    assert (whole.images, whole.share) == (1000 / 25, 0.64)  # beyond the 5 s of start-up
    result = Result({"cores": 2}, {}, {}, 3, timings, [], found, {})
    lines = list(result.lines())
    assert lines[lines.index("") :][-5:-2] == [
        "against ready images            images/s  ready images/s  share  TFLOP/s     peak  of peak",
        "network 32-true, channels_last      50.0            62.5  0.800    50.00  1000.00    0.050",
        "extract 32-true                     40.0            62.5  0.640    40.00  1000.00    0.040",
    ]
    assert json.loads(json.dumps(result.json()))["utilizations"][1]["of peak"] == 0.04


def test_without_ready_images_no_rates_are_compared() -> None:
    assert utilizations(TIMINGS, network=WAYS, crops=1, operations=1, peak={"32-true": 1.0, "bf16-mixed": 1.0}) == []
