"""The tables of a benchmark, and its JSON."""

from __future__ import annotations

import json

from tests.benchmark.examples import TIMINGS, WAYS, timing
from vfx.benchmark.efficiency import efficiencies, utilizations
from vfx.benchmark.results import Result


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


def test_rates_have_a_table_too() -> None:
    timings = [*TIMINGS, timing("ready", WAYS["32-true"], 16.0, 32.0)]
    found = utilizations(timings, network=WAYS, crops=10, operations=10**12, peak={"32-true": 1e15, "bf16-mixed": 4e15})
    result = Result({"cores": 2}, {}, {}, 3, timings, [], found, {})
    lines = list(result.lines())
    assert lines[lines.index("") :][-5:-2] == [
        "against ready images            images/s  ready images/s  share  TFLOP/s     peak  of peak",
        "network 32-true, channels_last      50.0            62.5  0.800    50.00  1000.00    0.050",
        "extract 32-true                     40.0            62.5  0.640    40.00  1000.00    0.040",
    ]
    assert json.loads(json.dumps(result.json()))["utilizations"][1]["of peak"] == 0.04
