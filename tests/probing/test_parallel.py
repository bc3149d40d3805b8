"""A collection is probed by processes that really go down, and each costs its video alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.clips import Clip
from tests.conftest import LIMITS
from tests.probing.test_prober import facts
from vfx.collection.collection import Collection
from vfx.collection.source import VideoSource
from vfx.probing.parallel import probe_all, tasks_of
from vfx.probing.prober import Prober, Task
from vfx.probing.record import Record
from vfx.sampling.samplers import half_second


def test_files_of_one_size_are_to_be_digested_and_those_of_one_id_know_each_other() -> None:
    sources = [VideoSource(id, f"{n}", size) for n, (id, size) in enumerate([("a", 5), ("a", 0), ("b", 5), ("c", 0)])]
    assert [(t.number, t.digest, t.same) for t in tasks_of(sources)] == [
        (0, True, "1"),
        (1, False, "0"),
        (2, True, ""),
        (3, False, ""),
    ]


@dataclass(frozen=True)
class Doomed(Prober):
    """Meets its end where a decoder would."""

    def _steps(self, task: Task, record: Record) -> Iterator[str]:
        for step in super()._steps(task, record):
            yield step
            if step == "its packets" and task.source.id == "c":
                os.kill(os.getpid(), signal.SIGSEGV)
            if step == "its packets" and task.source.id == "h":
                time.sleep(1000)
            if step == "its packets" and task.source.id == "o":
                raise KeyError("odd")
            if step == "its packets" and task.source.id == "m":
                raise MemoryError
        if task.source.id == "d":
            yield "decord"
            os.abort()


@pytest.mark.dear
def test_one_that_crashes_or_hangs_is_told_and_the_others_are_read(tmp_path: Path) -> None:
    clip = Clip("a.mp4", "mpeg4", num_frames=10).write(tmp_path)
    names = ["a", "b", "c", "d", "e", "h", "m", "o", *"tuvwxyz"]
    for name in names[1:]:
        (tmp_path / f"{name}.mp4").symlink_to(clip)
    sources = Collection("c", tmp_path).files()[0]
    start = time.monotonic()
    prober = Doomed(tmp_path, half_second, replace(LIMITS, patience=2))
    records = list(probe_all(sources, prober, processes=2))
    assert time.monotonic() - start < 30
    assert [r.id for r in records] == sorted(names)
    found = {r.id: r for r in records}
    assert {id: r.problem for id, r in found.items() if r.problem} == {
        "c": "crash",
        "h": "hang",
        "m": "limit",
        "o": "crash",
    }
    assert found["c"].error == "decoder crashed (SIGSEGV), reading its packets"
    assert found["h"].error == "no frame for 2 s, reading its packets"
    assert found["o"].error == "unexpected KeyError('odd')"
    assert found["m"].error == "it takes more memory than limits.memory_gb allows"
    assert facts(found["c"], "codec", "width", "frames", "twin") == ("mpeg4", 128, None, "a.mp4")
    assert facts(found["d"], "frames", "problem", "decoders") == (10, "", "")  # decord is not the one that is asked
    assert found["z"].frames == 10
