"""A sweep ends with a table of what its jobs wrote, and why others did not."""

from __future__ import annotations

from vfx import sweeps
from vfx.features.feature_file import FeatureFile
from vfx.sweeps import job_table
from vfx.sweeps.job_records import Job
from vfx.sweeps.written import Written


def test_what_is_told_of_files_that_are_there(toy_features: FeatureFile) -> None:
    folder = toy_features.path.parent
    assert [line.split() for line in sweeps.table([folder, toy_features.path])] == [
        ["collection", "feature", "rows", "dims", "failures"],
        *[["toydata", "efficientnet_lite0,avgpool", "59", "1280", "0"]] * 2,
    ]


def test_the_table_of_jobs() -> None:
    wrote = Written("f.h5", "a", "f,os", 1234567, "10x1280", 3)
    jobs = [
        Job(0, ["collection=a", "oversample=keep"], "a", "f,oskeep", "done", rate=61.25, written=[wrote]),
        Job(1, ["collection=b", "oversample=keep"], "b", "", "failed", reason="no such thing"),
    ]
    assert list(job_table.lines(jobs)) == [
        "job  collection  feature  state      rows     dims  frames/s  failures",
        "0    a           f,os     done    1234567  10x1280      61.2         3",
        "1    b           -        failed        -        -         -         -",
        "job 1 failed (collection=b): no such thing",
    ]
    assert job_table.own_overrides(jobs[0], jobs[:1]) == ["collection=a", "oversample=keep"]
