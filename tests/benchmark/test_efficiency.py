"""What is ideal, and how near runs and networks come to it."""

from __future__ import annotations

import pytest

from tests.benchmark.examples import DECODE, NETWORK, TIMINGS, WAYS, timing
from vfx.benchmark.efficiency import Efficiency, Utilization, efficiencies, ideal_seconds, utilizations


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
    assert ideal_seconds(DECODE, NETWORK, cores=cores, on_device=on_device) == seconds


def test_a_device_that_waits_for_the_cores_is_no_faster_than_they_are() -> None:
    slow = timing("decode", "auto, 1 worker", 90.0, 90.0)
    assert ideal_seconds(slow, NETWORK, cores=2, on_device=True) == 45.0


def test_efficiency_is_ideal_over_measured_with_and_without_start_up() -> None:
    (found,) = efficiencies(TIMINGS, decode="auto, 1 worker", network=WAYS, cores=2, on_device=False)
    assert found == Efficiency("32-true", ideal=20.0, measured=30.0, start_up=5.0, needed=40.0, taken=50.0)
    assert (found.whole, found.running, found.processor) == (pytest.approx(2 / 3), 0.8, 0.8)
    assert Efficiency("x", 1.0, measured=4.0, start_up=4.0, needed=1.0, taken=0.0).running is None


@pytest.mark.parametrize("without", ["decode", "network", "start-up", "extract"])
def test_there_is_none_without_all_its_stages(without: str) -> None:
    some = [t for t in TIMINGS if t.name != without]
    assert efficiencies(some, decode="auto, 1 worker", network=WAYS, cores=2, on_device=False) == []


def test_rates_are_compared_with_those_of_images_that_are_ready() -> None:
    timings = [*TIMINGS, timing("ready", WAYS["32-true"], 16.0, 32.0)]
    found = utilizations(timings, network=WAYS, crops=10, operations=10**12, peak={"32-true": 1e15, "bf16-mixed": 4e15})
    network, whole = found  # bf16-mixed was not measured with ready images
    assert network == Utilization("network 32-true, channels_last", 1000 / 20, 1000 / 16, 10**12, 1e15)
    assert (network.share, network.of_peak) == (0.8, 0.05)
    assert whole.stage == "extract 32-true"
    assert (whole.images, whole.share) == (1000 / 25, 0.64)  # beyond the 5 s of start-up


def test_without_ready_images_no_rates_are_compared() -> None:
    assert utilizations(TIMINGS, network=WAYS, crops=1, operations=1, peak={"32-true": 1.0, "bf16-mixed": 1.0}) == []
