"""A collection is probed as its user does it: the real app on real files."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.clips import CLIPS, Clip, truncate
from tests.commands import run_verb
from tests.conftest import ROOT, TOYDATA
from vfx import probe
from vfx.errors import CollectionError, ExtractionError, ModelError, SamplerError, UsageError
from vfx.features.feature_file import FeatureFile
from vfx.probing.record import COLUMNS


@pytest.fixture
def some(tmp_path: Path) -> Path:
    """A good video, a copy of it, one that is cut short, one without a byte, and a file that is none."""
    root = tmp_path / "my data" / "some"
    (root / "VideoData" / "deep").mkdir(parents=True)
    clip = CLIPS["h264_fast.mp4"].write(tmp_path)
    for name in ["good.mp4", "deep/same.mp4"]:
        (root / "VideoData" / name).write_bytes(clip.read_bytes())
    truncate(clip, root / "VideoData" / "short.mp4", keep=0.7)
    (root / "VideoData" / "empty.mp4").write_bytes(b"")
    (root / "VideoData" / "notes.txt").write_text("no video")
    return root


def run(root: Path, out: Path, *overrides: str) -> Path:
    return probe.main(f"collection='{root}'", f"output_dir={out}", "num_workers=2", "estimate=false", *overrides)


def read(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def test_the_toy_collection(tmp_path: Path, toy_features: FeatureFile) -> None:
    done = run_verb("probe", f"collection={TOYDATA}", f"output_dir={tmp_path}", "estimate=false")
    table = tmp_path / "toydata" / "probe.tsv"
    assert done.stdout == f"{table}\n"
    assert "toydata: 8 videos, 999 kB, 00:28 of video\n" in done.stderr
    assert "camera        h264   320x240  19.84   8.0 s     159    16  variable rate\n" in done.stderr
    assert "coffee_phone  h264   240x320     30   2.4 s      72     5  turned by 270\n" in done.stderr
    assert "problems: none\n" in done.stderr
    assert "sampler half_second takes 59 frames\n" in done.stderr
    rows = read(table)
    assert [list(row) for row in rows] == [list(COLUMNS)] * 8
    assert {row["id"]: int(row["rows"]) for row in rows} == {v: len(toy_features[v]) for v in toy_features}
    assert toy_features.features.shape == (59, 1280)
    assert toy_features.path.stat().st_size == pytest.approx(707e3, rel=0.05)  # as the estimate says, see below
    assert sorted(p.name for p in table.parent.iterdir()) == ["probe.log", "probe.tsv"]


def test_problems_copies_and_other_files_are_counted(
    some: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    table = run(some, tmp_path / "out")
    assert [(r["id"], r["path"], r["problem"], r["twin"]) for r in read(table)] == [
        ("empty", "VideoData/empty.mp4", "empty", ""),
        ("good", "VideoData/good.mp4", "", ""),
        ("same", "VideoData/deep/same.mp4", "", "VideoData/good.mp4"),
        ("short", "VideoData/short.mp4", "short", ""),
    ]
    log = (table.parent / "probe.log").read_text()
    for line in [
        "some: 4 videos, ",
        "; other files passed over: 1 .txt\n",
        "problems: 1 empty, 1 short\n  empty: empty.mp4 is empty (0 bytes)\n  short: file holds ",
        "copies of other files: 1 (",
        "sampler half_second takes ",
    ]:
        assert line in log
    assert "would be" not in log
    assert "same   h264   128x96   25   1.6 s      40     4  copy of Vi…\n" in log


def test_strict_makes_a_problem_an_error_and_the_table_is_there(some: Path, tmp_path: Path) -> None:
    with pytest.raises(ExtractionError, match=r"strict=true and 2 videos with a problem, listed in .*probe\.tsv"):
        run(some, tmp_path, "strict=true")
    assert len(read(tmp_path / "some" / "probe.tsv")) == 4
    for name in ["short", "empty"]:
        (some / "VideoData" / f"{name}.mp4").unlink()
    assert len(read(run(some, tmp_path, "strict=true"))) == 2  # a copy is no problem, and the table is made anew


def test_parquet_holds_the_same(some: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(run(some, tmp_path, "format=parquet"))
    rows = read(run(some, tmp_path))
    assert table.column_names == list(COLUMNS)
    assert {"id": "string", "bytes": "int64", "rate": "double", "variable": "bool"}.items() <= {
        field.name: str(field.type) for field in table.schema
    }.items()
    found = table.to_pylist()
    assert [row["id"] for row in found] == ["empty", "good", "same", "short"]
    for a, b in zip(found, rows, strict=True):
        for name, value in a.items():
            if isinstance(value, float):
                assert float(b[name]) == pytest.approx(value, abs=1e-6)
            elif isinstance(value, bool):
                assert b[name] == str(value).lower()
            else:
                assert b[name] == ("" if value is None else str(value))
    assert found[0]["width"] is None
    assert found[1]["width"] == 128


def test_headers_alone(some: Path, tmp_path: Path) -> None:
    rows = {row["id"]: row for row in read(run(some, tmp_path, "packets=false"))}
    assert (rows["good"]["codec"], rows["good"]["promised"], rows["good"]["frames"]) == ("h264", "40", "")
    assert rows["short"]["problem"] == ""
    assert "takes" not in (tmp_path / "some" / "probe.log").read_text()


def test_a_pipe_is_not_waited_for(some: Path, tmp_path: Path) -> None:
    os.mkfifo(some / "VideoData" / "pipe.mp4")
    rows = {row["id"]: row for row in read(run(some, tmp_path, "limits.patience=20"))}
    assert rows["pipe"]["problem"] == "open"
    assert rows["pipe"]["error"] == "pipe.mp4 is not a file"
    assert rows["good"]["frames"] == "40"


def test_ids_that_extract_refuses_are_told(tmp_path: Path) -> None:
    clip = Clip("a.mp4", "mpeg4", num_frames=4).write(tmp_path)
    root = tmp_path / "c"
    (root / "deep").mkdir(parents=True)
    for name in ["two words.mp4", "x.mp4", "deep/x.avi", os.fsdecode(b"latin\xe9.mp4")]:
        (root / name).symlink_to(clip)
    found = {row["path"]: row["problem"] for row in read(run(root, tmp_path / "out"))}
    assert found == {
        "deep/x.avi": "same_id", "x.mp4": "same_id", "two words.mp4": "name", r"latin\udce9.mp4": "name",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "text"),
    [
        (
            (),
            "efficientnet_lite0,avgpool would be 59 x 1280 values of float32, about 707 kB on disk, and as much again",
        ),
        (
            ("oversample=keep", "writer.dtype=float16"),
            "avgpool,oskeep would be 59 x 10 x 1280 values of float16, about 1.91 MB",
        ),
        (
            ("model=resnext101_32x48d", "sampler=uniform", "sampler.num_frames=3"),
            "24 x 2048 values of float32, about",
        ),
        (("model=torchvision", "model.name=regnet_x_400mf"), "regnet_x_400mf,pre_logits would be 59 x 400 values"),
    ],
)
def test_the_estimate_needs_no_weights(tmp_path: Path, overrides: tuple[str, ...], text: str) -> None:
    table = probe.main(f"collection={TOYDATA}", f"output_dir={tmp_path}", *overrides)
    assert text in (table.parent / "probe.log").read_text()


@pytest.mark.parametrize(("overrides", "error", "text"), [
    (("format=csv",), UsageError, r"format \(csv\) must be tsv or parquet"),
    (("packets=false", "decode=true"), UsageError, "decode=true reads the packets too"),
    (("packets=perhaps",), UsageError, r"packets \(perhaps\) must be true or false"),
    (("num_workers=0",), UsageError, r"num_workers \(0\) must be a whole number of at least 1"),
    (("show=-1",), UsageError, r"show \(-1\) must be a whole number of at least 0"),
    (("oversample=perhaps",), UsageError, r"oversample \(perhaps\) must be false, true or keep"),
    (("writer.dtype=int8",), UsageError, r"writer\.dtype \(int8\) must be float32 or float16"),
    (("sampler=fps", "sampler.fps=0"), SamplerError, r"sampler\.fps \(0\) must be positive"),
    (("limits.patience=0",), UsageError, r"limits\.patience \(0\) must be a number above 0"),
    (("estimate=true", "model=timm", "model.name=resnet5"), ModelError, r"model\.name \(resnet5\) is not a network"),
])  # fmt: skip
def test_a_mistake_is_named_before_any_work(
    some: Path, tmp_path: Path, overrides: tuple[str, ...], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        run(some, tmp_path / "out", *overrides)
    assert not (tmp_path / "out").exists()


def test_a_collection_without_a_video_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(CollectionError, match="no video in"):
        run(tmp_path, tmp_path / "out")


def test_a_killed_probe_leaves_the_table_of_the_one_before(some: Path, tmp_path: Path) -> None:
    table = run(some, tmp_path / "out")
    before = table.read_bytes()
    os.mkfifo(some / "VideoData" / "pipe.mp4")
    options = [f"collection='{some}'", f"output_dir={tmp_path / 'out'}", "estimate=false", "limits.patience=100"]
    command = [sys.executable, "-m", "vfx.probe", *options, "num_workers=1"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not list(table.parent.glob(".probe.tsv.*.tmp")) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(table.parent.glob(".probe.tsv.*.tmp"))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert table.read_bytes() == before
    (some / "VideoData" / "pipe.mp4").unlink()
    run(some, tmp_path / "out")
    assert sorted(p.name for p in table.parent.iterdir()) == ["probe.log", "probe.tsv"]
