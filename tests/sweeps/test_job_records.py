"""Each job of a sweep leaves a record, whatever becomes of it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from vfx.errors import Interrupted, UsageError
from vfx.sweeps import job_records


def test_records_outlive_their_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_records, "_current", None)
    sweep = job_records.SweepRecords(tmp_path / "notes")
    job_records.begin(sweep.folder, 1, overrides=["a=1"])
    assert job_records.current_job() is not None and not job_records.current_job().stopped
    other = job_records.begin(sweep.folder, 0, overrides=["a=0"])
    job_records.update_current(rate=3.0)
    other.fail(UsageError("a (0)\n  is wrong"))
    other = job_records.begin(sweep.folder, 2)
    other.fail(Interrupted(signal.SIGTERM))
    other.stop_sweep(signal.SIGTERM)
    assert other.stopped == sweep.stopped == signal.SIGTERM
    told = [(job.number, job.state, job.reason, job.rate) for job in sweep.close()]
    assert told[0] == (0, "failed", "a (0) is wrong", 3.0)
    assert told[1] == (1, "ended", "", None)
    assert told[2][:2] == (2, "ended")
    assert list((tmp_path / "notes").iterdir()) == []


def test_a_job_that_left_no_word_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_records, "_current", None)
    sweep = job_records.SweepRecords(tmp_path)
    job_records.begin(sweep.folder, 0)
    assert [(job.state, job.reason) for job in sweep.close()] == [("failed", "it ended without a word")]
