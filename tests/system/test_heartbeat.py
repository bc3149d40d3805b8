"""Signs of life reach whoever looks, whenever that is."""

import mmap
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT
from vfx.system import heartbeat

BEATING = """
import mmap, sys, time
from vfx.system import heartbeat
with open(sys.argv[1], "r+b") as file:
    heartbeat.use(memoryview(mmap.mmap(file.fileno(), 8)))
heartbeat.tick()
print("begun", flush=True)
end = time.monotonic() + 1
while time.monotonic() < end:
    heartbeat.tick()
heartbeat.pause()
"""


def test_one_that_beats_is_never_seen_silent(tmp_path: Path) -> None:
    (tmp_path / "clock").write_bytes(bytes(8))
    with (tmp_path / "clock").open("r+b") as file, mmap.mmap(file.fileno(), 8) as memory:
        with subprocess.Popen(
            [sys.executable, "-c", BEATING, tmp_path / "clock"], cwd=ROOT, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"begun\n"
            clock = memoryview(memory)
            looks = []
            end = time.monotonic() + 0.8
            while time.monotonic() < end:
                looks.append(heartbeat.age(clock))
        assert len(looks) > 1000
        assert max(looks) < 0.5
        assert heartbeat.age(clock) < 0  # it rests
        clock.release()


def test_a_process_that_nobody_watches_may_beat() -> None:
    heartbeat.tick()
    heartbeat.pause()
