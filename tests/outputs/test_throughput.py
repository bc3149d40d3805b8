"""Throughput over time: limited in size, added up over runs and ranks, and written by a real run."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT, TOYDATA
from vfx.features.feature_file import FeatureFile
from vfx.outputs import throughput
from vfx.outputs.counters import RunCounters
from vfx.outputs.output_folder import OutputFolder
from vfx.outputs.throughput import Interval, Recorder, add_up


def interval(begin: float, end: float, frames: float, *, waiting: float = 0) -> Interval:
    return Interval(begin, end, end - begin, end - begin, 0, frames, 0, waiting, 0, 0, 0, 0)


def totals(rows: list[Interval]) -> np.ndarray:
    return np.array(rows)[:, 2:].sum(axis=0)


def test_a_recorder_keeps_a_bounded_number_of_intervals_and_loses_no_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    counters = RunCounters()
    recorder = Recorder(counters, [tmp_path], limit=16, step=1)
    for n in range(1000):
        now[0] += 0.5
        counters.frames += n
        counters.waiting += 0.25
        recorder.sample()
    rows = recorder.intervals()
    assert 8 <= len(rows) <= 17
    assert sum(row.frames for row in rows) == sum(range(1000))
    assert sum(row.waiting for row in rows) == 250
    assert rows[-1].end - rows[0].begin == pytest.approx(500)
    assert [a.end for a in rows[:-1]] == [b.begin for b in rows[1:]]
    assert len({round(row.seconds, 6) for row in rows[:-1]}) == 1
    assert throughput.read(next(tmp_path.glob(throughput.PATTERN)))  # it was written meanwhile


def test_ranks_at_work_at_once_are_add_up_interval_by_interval() -> None:
    rows = add_up([[interval(0, 4, 40, waiting=1)], [interval(2, 6, 80)]])
    assert [(r.begin, r.end, r.seconds, r.work, r.frames, r.waiting) for r in rows] == [
        (0, 2, 2, 2, 20, 0.5),
        (2, 4, 2, 4, 60, 0.5),
        (4, 6, 2, 2, 40, 0),
    ]


def test_runs_after_each_other_leave_the_time_between_out() -> None:
    rows = add_up([[interval(0, 4, 40)], [interval(86400, 86402, 10)]])
    assert rows == [interval(0, 4, 40), interval(86400, 86402, 10)]


def test_many_recordings_become_as_many_intervals_as_are_allowed() -> None:
    rng = np.random.default_rng(0)
    recordings = []
    for _ in range(30):
        times = np.sort(rng.uniform(0, 1000, 200)) + rng.choice([0, 5000])
        recordings.append([interval(a, b, rng.integers(9)) for a, b in itertools.pairwise(times)])
    rows = add_up(recordings, limit=50)
    assert 40 <= len(rows) <= 50
    np.testing.assert_allclose(totals(rows)[1:], sum(map(totals, recordings))[1:])
    assert totals(rows)[0] == pytest.approx(2000, rel=0.02)


def test_intervals_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [interval(1e9, 1e9 + 1.5, 12.5), interval(1e9 + 2, 1e9 + 3, 7)]
    assert throughput.write(tmp_path / "x.tsv", rows)
    assert throughput.read(tmp_path / "x.tsv") == rows
    assert throughput.read(tmp_path / "none.tsv") == []


@pytest.mark.parametrize("change", ["", "x\ty\n1\t2\n", "nan", "fewer", "back"])
def test_what_is_no_table_of_intervals_is_none(tmp_path: Path, change: str) -> None:
    path = tmp_path / "x.tsv"
    throughput.write(path, [interval(1e9, 1e9 + 1, 1), interval(1e9 + 2, 1e9 + 3, 7)])
    lines = path.read_text().splitlines()
    if change == "nan":
        lines[1] = lines[1].rpartition("\t")[0] + "\tnan"
    elif change == "fewer":
        lines[1] = lines[1].rpartition("\t")[0]
    elif change == "back":
        lines[1], lines[2] = lines[2], lines[1]
    else:
        lines = [change]
    path.write_text("\n".join(lines))
    assert throughput.read(path) == []


def test_recordings_of_runs_and_shards_end_in_one_file(tmp_path: Path) -> None:
    output = OutputFolder(tmp_path)
    for folder, begin in [(output.parts, 0), (output.parts, 100), (output.shards / "1-of-2/parts", 200)]:
        folder.mkdir(parents=True, exist_ok=True)
        throughput.write(folder / f"throughput-{begin}.tsv", [interval(1e9 + begin, 1e9 + begin + 10, begin + 1)])
    throughput.compact(output.parts)
    assert len(list(output.parts.glob(throughput.PATTERN))) == 1
    throughput.write(tmp_path / throughput.NAME, [interval(9e8, 9e8 + 10, 7)])
    throughput.merge(tmp_path, tmp_path.rglob(throughput.PATTERN))
    assert [row.frames for row in throughput.read(tmp_path / throughput.NAME)] == [7, 1, 101, 201]
    assert not list(tmp_path.rglob(throughput.PATTERN))


def test_a_run_leaves_its_throughput_beside_the_file(toy_features: FeatureFile) -> None:
    folder = toy_features.path.parent
    rows = throughput.read(folder / throughput.NAME)
    assert sum(row.frames for row in rows) == pytest.approx(59)
    assert sum(row.videos for row in rows) == pytest.approx(8)
    assert 0 < sum(row.network for row in rows) <= sum(row.work for row in rows)
    assert not (folder / "parts").exists()


@pytest.mark.slow
def test_an_interrupted_run_and_the_one_that_resumes_it_are_added_up(tmp_path: Path) -> None:
    options = [f"collection={TOYDATA}", f"output_dir={tmp_path}", "trainer=cpu", "batch_size=2", "num_threads=1"]
    command = [sys.executable, "-m", "vfx.extract", *options, "writer.commit_seconds=0"]
    folder = tmp_path / "toydata" / "efficientnet_lite0,avgpool"
    with subprocess.Popen(command, cwd=ROOT, start_new_session=True) as process:
        while process.poll() is None and not list(folder.glob("parts/part-*.h5")):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGTERM)
    assert list(folder.glob(f"parts/{throughput.PATTERN}"))
    subprocess.run(command, cwd=ROOT, check=True)
    rows = throughput.read(folder / throughput.NAME)
    assert any(a.end < b.begin for a, b in itertools.pairwise(rows))
    assert sum(row.videos for row in rows) >= 8
