"""The bench in short, on real clips: its table is complete and its counts are right. Of times nothing is said."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.clips import CLIPS, Clip, truncate
from tests.commands import run_python
from tests.conftest import ROOT, link_clips
from tests.feature_files import cosine
from vfx import bench
from vfx.benchmark.results import Result
from vfx.errors import UsageError
from vfx.features.feature_file import FeatureFile
from vfx.system.cpu_count import cores

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what processes took")
ROWS = 4 + 3  # 40 frames at 25 a second, and 30 at 25: every half second
PATH = os.environ | {"PYTHONPATH": str(ROOT)}
COUNTS = sorted({1, cores()})


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two clips of different sizes."""
    root = tmp_path / "two"
    root.mkdir()
    CLIPS["h264.mp4"].write(root)
    Clip("wide.mp4", "libx264", options={"preset": "veryfast"}, b_frames=2, num_frames=30, width=192).write(root)
    monkeypatch.chdir(ROOT)  # from where commands find vfx where it is not installed
    return root


@pytest.mark.dear
def test_every_stage_is_measured_and_counts_its_frames(
    two: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tmp_path / "found.json"
    result = bench.main(
        f"collection={two}", f"folder={tmp_path / 'cache'}", "decoders=[auto,decord]", "precisions=[32-true]",
        "rounds=1", "trainer=cpu", f"json={found}",
    )  # fmt: skip
    assert result == found
    plain = json.loads(found.read_text())
    workers = [f"{n} worker{'s' * (n > 1)}" for n in COUNTS]
    stages = [
        *(("decode", f"{decoder}, {count}") for decoder in ("auto", "decord") for count in workers),
        ("resize", "1 worker"),
        ("network", "32-true, channels_last"),
        ("network", "32-true, contiguous"),
        ("ready", "32-true, channels_last"),
        ("write", "float32"),
        ("start-up", "one frame"),
        ("extract", "32-true"),
    ]
    assert [(stage["stage"], stage["variant"]) for stage in plain["stages"]] == stages
    for stage in plain["stages"]:
        frames = {"start-up": 1, "ready": 8}.get(stage["stage"], ROWS)  # ready: whole batches
        assert [cost["frames"] for cost in stage["rounds"]] == [frames], stage
        assert stage["wall"] == stage["rounds"][0]["wall"] > 0
    by = {(stage["stage"], stage["variant"]): stage for stage in plain["stages"]}
    (efficiency,) = plain["efficiencies"]
    needed = by["decode", "auto, 1 worker"]["processor"] + by["network", "32-true, channels_last"]["processor"]
    assert efficiency["ideal"] == needed / cores()
    assert efficiency["whole"] == efficiency["ideal"] / by["extract", "32-true"]["wall"]
    assert efficiency["start_up"] == by["start-up", "one frame"]["wall"]
    rates = {found["stage"]: found for found in plain["utilizations"]}
    ready = by["ready", "32-true, channels_last"]
    assert rates["network 32-true, channels_last"]["ready"] == 8 / ready["wall"]
    assert rates["network 32-true, channels_last"]["images"] == ROWS / by["network", "32-true, channels_last"]["wall"]
    assert 7e8 < rates["network 32-true, channels_last"]["operations"] < 9e8  # 0.4 billion of two each
    assert rates["network 32-true, channels_last"]["peak"] > 1e9
    assert plain["asked"]["frames"] == 70
    assert plain["asked"]["sampled"] == ROWS
    assert plain["asked"]["collection"] == "two (1 of 128x96, 1 of 192x96)"
    assert {"cores", "processor", "memory", "device"} <= plain["machine"].keys()
    assert {"torch", "av", "vfx"} <= plain["versions"].keys()
    printed = capsys.readouterr().out
    for name, variant in stages:
        assert f"\n{name:<8}  {variant} " in printed
    assert "\nextract  ideal s " in printed
    assert list((tmp_path / "cache").iterdir()) == []  # nothing is left of what was written


@pytest.mark.dear
def test_one_stage_alone(two: Path, tmp_path: Path) -> None:
    result = bench.main(
        f"collection={two}", f"folder={tmp_path}", "stages=[network]", "oversample=true", "precisions=[32-true]",
        "rounds=1", "trainer=cpu",
    )  # fmt: skip
    assert isinstance(result, Result)
    assert [(t.name, t.variant, t.frames) for t in result.timings] == [
        ("network", "32-true, channels_last", ROWS),
        ("network", "32-true, contiguous", ROWS),
    ]
    assert result.efficiencies == []
    assert str(result) == "efficiency: not measured"


@pytest.mark.dear
def test_sigterm_ends_it_at_once(two: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "vfx.bench", f"collection={two}", f"folder={tmp_path}", "trainer=cpu"]
    options = ["stages=[network]", "precisions=[32-true]", "rounds=100000"]
    with subprocess.Popen([*command, *options], cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("round 2 of 100000: network"):
                break
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["stages=[decode,sleep]"],
            r"stages \(decode, sleep\) must be of decode, resize, network, ready, write, extract",
        ),
        (["stages=[]"], r"stages \(\) must be of decode"),
        (["rounds=0"], r"rounds \(0\) must be a whole number of at least 1"),
        (["model=[efficientnet_lite0,resnet50]"], "a bench is of one model"),
        (["dataset=frame"], "a bench is of videos"),
        (["beside=nowhere.py"], r"beside \(nowhere.py\) must be a script; there is no such file"),
        (["decoders=[mpeg]", "trainer=cpu"], r"decoder \(mpeg\) must be one of"),
        (["trainer=cpu", "trainer.devices=2"], "a bench is of one device, not of 2: trainer.devices=1"),
    ],
)
def test_what_cannot_be_measured_is_refused(overrides: list[str], message: str, two: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        bench.main(f"collection={two}", f"folder={tmp_path / 'cache'}", *overrides)


def test_a_video_that_cannot_be_read_is_refused(two: Path, tmp_path: Path) -> None:
    truncate(two / "h264.mp4", two / "cut.mp4", keep=0.5)
    with pytest.raises(UsageError, match=r"cut\.mp4: a bench needs videos that can be read; take it away"):
        bench.main(f"collection={two}", f"folder={tmp_path / 'cache'}", "trainer=cpu")


@pytest.mark.slow
def test_the_way_that_vfx_replaces_gives_the_same_features(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("cv2")
    monkeypatch.chdir(ROOT)
    some = link_clips(tmp_path / "some", "people/astronaut.mp4", "cat.mp4")
    options = [f"collection={some}", f"output_dir={tmp_path}", "sampler=lineage", "trainer=cpu"]
    done, made = (run_python(*program, *options) for program in (["bench/replaced.py"], ["-m", "vfx.extract"]))
    told = json.loads(done.stdout.splitlines()[-1])
    assert list(told["seconds"]) == ["frames", "loading", "network", "bigfile", "mean"]
    theirs = tmp_path / "some.replaced"
    with FeatureFile(made.stdout.splitlines()[-1]) as file:
        assert (told["frames"], told["videos"]) == (len(file.ids), 2)
        rows = np.fromfile(theirs / "frames" / "feature.bin", "<f4").reshape(-1, 1280)
        assert (theirs / "frames" / "id.txt").read_text().split(" ") == list(file.ids)
        assert cosine(rows, file.features[:]).min() > 0.98  # theirs went through JPEG
        means = np.fromfile(theirs / "videos" / "feature.bin", "<f4").reshape(-1, 1280)
        np.testing.assert_allclose(means[0], rows[: len(file["astronaut"])].mean(0), atol=1e-5)
