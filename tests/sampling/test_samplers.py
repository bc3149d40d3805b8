"""Samplers choose the indices that their definitions give, from hand-made timelines."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.conftest import ROOT
from vfx import sampling
from vfx.errors import SamplerError
from vfx.sampling import samplers
from vfx.sampling.timeline import Timeline

CONFIGS = sorted(
    path for path in (ROOT / "conf" / "sampler").glob("*.yaml") if "_target_: vfx.sampling." in path.read_text()
)


def at(seconds: Any, keys: tuple[int, ...] = (0,), rate: float = 25) -> Timeline:
    seconds = np.asarray(seconds, dtype=np.float64)
    keyframe = np.zeros(len(seconds), dtype=bool)
    keyframe[[k for k in keys if k < len(seconds)]] = True
    return Timeline(seconds, keyframe, rate=rate)


def every(rate: float, n: int, start: float = 0.0) -> Timeline:
    return at(start + np.arange(n) / rate, rate=rate)


@pytest.mark.parametrize(
    ("timeline", "expected"),
    [
        (every(25, 51), [0, 13, 25, 38, 50]),  # 0.52 is the first time >= 0.5
        (every(2, 5), [0, 1, 2, 3, 4]),
        (every(1, 4), [0, 1, 2, 3]),
        (every(25, 26, start=8.34), [0, 4, 17]),  # 8.34 is the first >= 0, ..., 8.0; then 8.5 and 9.0
        (every(10, 8, start=-0.3), [3]),  # times below zero come before the grid
        (at([0, 0.1, 7.3, 7.4, 7.6]), [0, 2, 4]),  # a gap of many grid points gives one frame
        (at([0, 0.4999999, 0.5, 0.5000001]), [0, 2]),
        (at([30000.0, 30000.1, 30000.6]), [0, 2]),
        (at([3.7]), [0]),
        (at([-2.0, -1.0]), [1]),
        (at([]), []),
    ],
)
def test_half_second(timeline: Timeline, expected: list[int]) -> None:
    assert samplers.half_second(timeline).tolist() == expected
    assert samplers.fps(timeline, fps=2).tolist() == expected


@pytest.mark.parametrize("fps", [0.1, 1, 2, 3, 7, 10, 24, 25, 30, 1000 / 3])
@pytest.mark.parametrize("rate", [(25, 1), (30000, 1001), (24000, 1001), (12, 1), (60, 1)])
def test_fps_equals_its_definition(fps: float, rate: tuple[int, int]) -> None:
    """The first frame whose time is >= k / fps, for each k, by the plainest code there is."""
    seconds = np.arange(400) * rate[1] / rate[0]
    grid = (k / fps for k in range(int(seconds[-1] * fps) + 2))
    expected = sorted({int(np.argmax(seconds >= t)) for t in grid if t <= seconds[-1]})
    assert samplers.fps(at(seconds), fps=fps).tolist() == expected


def test_ties_of_times_and_grid_are_exact() -> None:
    """At the video's own rate every frame is chosen, however the rate divides."""
    for rate in (3, 7, 10, 24, 25, 30, 49, 60, 90000 / 7):
        assert len(samplers.fps(every(rate, 10000), fps=rate)) == 10000


def test_stride() -> None:
    assert samplers.stride(every(25, 8), stride=3).tolist() == [0, 3, 6]
    assert samplers.stride(every(25, 8), stride=100).tolist() == [0]
    assert samplers.stride(at([np.nan, np.nan, np.nan]), stride=2).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("timeline", "num_frames", "expected"),
    [
        (every(1, 8), 4, [1, 3, 5, 7]),  # centres at 1, 3, 5, 7 s
        (every(1, 8), 1, [4]),
        (every(1, 8), 3, [1, 4, 6]),  # 1.33, 4, 6.67
        (every(1, 3), 30, [0, 1, 2]),
        (every(25, 100, start=500), 2, [25, 75]),
        (at([0, 1, 2, 8]), 2, [2, 3]),  # 14 s with the last gap; centres at 3.5 and 10.5
        (at([5.0]), 4, [0]),
        (at([]), 4, []),
    ],
)
def test_uniform(timeline: Timeline, num_frames: int, expected: list[int]) -> None:
    assert samplers.uniform(timeline, num_frames=num_frames).tolist() == expected


@pytest.mark.parametrize("num_frames", [1, 2, 3, 5, 8, 17, 100, 5000])
def test_uniform_equals_its_definition(num_frames: int) -> None:
    """The last frame with time <= centre, of uneven times."""
    seconds = 3 + np.cumsum(np.random.default_rng(num_frames).uniform(0.01, 0.3, 300))
    duration = seconds[-1] - seconds[0] + seconds[-1] - seconds[-2]
    centres = seconds[0] + (np.arange(num_frames) + 0.5) * duration / num_frames
    expected = np.unique(np.searchsorted(seconds, centres + 1e-6, side="right") - 1)
    assert samplers.uniform(at(seconds), num_frames=num_frames).tolist() == expected.tolist()


def test_keyframes_and_all() -> None:
    assert samplers.keyframes(at([0, 1, 2, 3], keys=(0, 2))).tolist() == [0, 2]
    assert samplers.keyframes(at([0, 1, 2, 3], keys=())).tolist() == [0]
    assert samplers.keyframes(at([])).tolist() == []
    assert samplers.all_frames(at([np.nan, np.nan])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("rate", "lineage", "lineage_py3"),
    [
        (25, [0, 12, 25, 37, 50, 62, 75, 87, 100, 112, 125], [0, 25, 50, 75, 100, 125]),
        (30000 / 1001, [0, 14, 29, 43, 58, 72, 87, 101, 116], [0, 29, 58, 87, 116]),
        (24000 / 1001, [0, 11, 23, 34, 46, 57, 69, 80, 92, 103, 115, 126], [0, 23, 46, 69, 92, 115]),
        (30, [0, 15, 30, 45, 60, 75, 90, 105, 120], [0, 15, 30, 45, 60, 75, 90, 105, 120]),
        (15, [*range(0, 128, 15), *range(7, 128, 15)], [*range(0, 128, 15)]),
        (2, [*range(128)], [*range(128)]),
        (1, [*range(128)], [*range(128)]),
        (0.9, [*range(128)], [*range(128)]),
        (0, [*range(128)], [*range(128)]),
        (1000, [0], [0]),
    ],
)
def test_lineage_equals_its_table(rate: float, lineage: list[int], lineage_py3: list[int]) -> None:
    """Of 128 frames; times do not matter, and at a rate below 1 every frame is kept."""
    timeline = at(np.full(128, np.nan), rate=rate)
    assert samplers.lineage(timeline).tolist() == sorted(lineage)
    assert samplers.lineage_py3(timeline).tolist() == lineage_py3


def test_loose_frames_have_no_rate() -> None:
    timeline = Timeline(np.zeros(3), np.ones(3, bool))
    for sample in (samplers.lineage, samplers.lineage_py3):
        with pytest.raises(SamplerError, match=f"sampler={sample.__name__} needs the frame rate .* use sampler=all"):
            sample(timeline)
        assert len(sample(Timeline(np.zeros(0), np.ones(0, bool)))) == 0


SAMPLERS: list[Callable[[Timeline], Any]] = [
    samplers.half_second,
    partial(samplers.fps, fps=0.3),
    partial(samplers.fps, fps=1e6),
    partial(samplers.stride, stride=4),
    partial(samplers.uniform, num_frames=9),
    samplers.keyframes,
    samplers.all_frames,
    samplers.lineage,
    samplers.lineage_py3,
]


@pytest.mark.parametrize("sample", SAMPLERS)
def test_at_least_one_index_ascending_and_unique(sample: Callable[[Timeline], Any]) -> None:
    for timeline in (every(25, 1), every(25, 2), every(24, 333), at([-1.0]), at([1e9]), at([0, 1e9])):
        chosen = sample(timeline)
        assert chosen.dtype == np.int64
        assert len(chosen) > 0
        assert np.all(np.diff(chosen) > 0)
        assert 0 <= chosen[0] <= chosen[-1] < len(timeline)
    assert len(sample(at([]))) == 0


@pytest.mark.parametrize("sample", SAMPLERS)
def test_work_does_not_grow_with_time(sample: Callable[[Timeline], Any]) -> None:
    """Ten hours of frames spread over 1e9 s: work is of frames, not of grid points."""
    timeline = at(np.linspace(0, 1e9, 25 * 36000))
    begin = time.perf_counter()
    sample(timeline)
    assert time.perf_counter() - begin < 2


@pytest.mark.parametrize(
    ("sampler", "options", "message"),
    [
        (samplers.fps, {"fps": 0}, "sampler.fps (0) must be positive"),
        (samplers.fps, {"fps": -1.5}, "sampler.fps (-1.5) must be positive"),
        (samplers.fps, {"fps": float("nan")}, "sampler.fps (nan) must be a number"),
        (samplers.fps, {"fps": "two"}, "sampler.fps (two) must be a number"),
        (samplers.stride, {"stride": 0}, "sampler.stride (0) must be positive"),
        (samplers.stride, {"stride": 2.5}, "sampler.stride (2.5) must be a whole number"),
        (samplers.uniform, {"num_frames": -3}, "sampler.num_frames (-3) must be positive"),
        (samplers.uniform, {"num_frames": None}, "sampler.num_frames (None) must be a number"),
    ],
)
def test_options_out_of_range_are_found_on_an_empty_timeline(
    sampler: Callable[..., Any], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(SamplerError) as error:
        sampler(at([]), **options)
    assert str(error.value) == message


def test_unknown_times_are_refused_by_samplers_of_time() -> None:
    timeline = at([np.nan, np.nan])
    for name, sample in [
        ("half_second", samplers.half_second),
        ("fps", partial(samplers.fps, fps=1)),
        ("uniform", partial(samplers.uniform, num_frames=1)),
    ]:
        with pytest.raises(SamplerError, match=f"sampler={name} .* use sampler=all"):
            sample(timeline)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_each_config_gives_a_sampler(path: Path, tmp_path: Path) -> None:
    """Its keys are the options of the function that it names, and its defaults are in range."""
    options = yaml.safe_load(path.read_text())
    module, _, function = options.pop("_target_").rpartition(".")
    assert module == "vfx.sampling"
    assert options.pop("_partial_") is True
    if options.get("file") == "???":
        options["file"] = str(tmp_path / "shots.tsv")
        (tmp_path / "shots.tsv").write_text("s1\tcat\t0\t1\n")
    assert len(getattr(sampling, function)(every(25, 100), **options)) > 0
    assert path.read_text().startswith("# ")
