"""The cores that a process may use: what it may run on, and what its control groups leave it."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vfx.system.cpu_count import cores, quota


def made(folder: Path, own: str, files: dict[str, str]) -> float:
    (folder / "own").write_text(own)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return quota(folder / "own", folder)


@pytest.mark.parametrize(
    ("own", "files", "wanted"),
    [
        ("0::/\n", {}, math.inf),
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/system.slice/run.service\n", {"system.slice/run.service/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "200000 100000\n", "a/cpu.max": "300000 100000\n"}, 2),
        ("0::/docker/of-the-host\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/../of-another-container\n", {"cpu.max": "200000 100000\n"}, 2),
        ("1:cpu:/\n0::/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, math.inf),
        ("4:cpuset:/\n1:cpu:/a\n", {"cpu/a/cpu.cfs_quota_us": "250000\n", "cpu/a/cpu.cfs_period_us": "50000\n"}, 5),
        ("3:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2.5),
    ],
)
def test_the_narrowest_group_counts(tmp_path: Path, own: str, files: dict[str, str], wanted: float) -> None:
    assert made(tmp_path, own, files) == wanted


def test_without_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert quota(tmp_path / "own", tmp_path) == math.inf


TELL = [sys.executable, "-c", "from vfx.system.cpu_count import cores; print(cores())"]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="needs Linux")
def test_a_process_on_one_core_has_one() -> None:
    core = min(os.sched_getaffinity(0))
    done = subprocess.run(TELL, capture_output=True, text=True, preexec_fn=lambda: os.sched_setaffinity(0, {core}))
    assert done.stdout == "1\n"


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group with a quota of half a core."""
    for mount, file, text in (("", "cpu.max", "50000 100000"), ("cpu", "cpu.cfs_quota_us", "50000")):
        folder = Path("/sys/fs/cgroup") / mount
        if os.access(folder, os.W_OK) and (folder / "cgroup.procs").exists():
            made = folder / f"vfx-test-{os.getpid()}"
            made.mkdir()
            if (made / file).exists():
                (made / file).write_text(text)
                yield made
                made.rmdir()
                return
            made.rmdir()
    pytest.skip("may not make control groups here")


def test_a_process_with_half_a_core_has_one(group: Path) -> None:
    enter = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(group), *TELL]
    done = subprocess.run(enter, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert cores() == math.ceil(min(len(os.sched_getaffinity(0)), quota()))
