"""What processes take of the machine is counted to the last of them."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from vfx.system import process_usage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
BURN = "import time\nwhile time.process_time() < 0.5: pass\n"
# Leaves a process behind that works on when its parent has ended, as the server of workers may.
LEAVE = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {BURN!r}]); print('gone')"


def test_a_command_is_charged_for_what_it_leaves_behind() -> None:
    done, taken = process_usage.run([sys.executable, "-c", LEAVE])
    assert (done.returncode, done.stdout) == (0, "gone\n")
    assert taken.processor >= 0.5
    assert taken.wall > 0


def test_how_a_command_ended_is_told() -> None:
    done, _ = process_usage.run([sys.executable, "-c", "import sys; print('why', file=sys.stderr); sys.exit(3)"])
    assert (done.returncode, done.stderr) == (3, "why\n")
    done, _ = process_usage.run([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    assert done.returncode == 128 + 9


def test_a_command_ends_with_the_process_that_runs_it(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    sleep = f"import os, pathlib, time; pathlib.Path({str(note)!r}).write_text(str(os.getpid())); time.sleep(300)"
    code = f"import sys; from vfx.system import process_usage; process_usage.run([sys.executable, '-c', {sleep!r}])"
    runner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    while not note.exists() or not note.read_text():
        time.sleep(0.01)
    runner.kill()
    runner.wait()
    while dict(process_usage.tree(int(note.read_text()))):
        time.sleep(0.01)


def test_processes_below_this_one_count_while_they_live_and_after() -> None:
    before, machine = process_usage.processor_seconds(), process_usage.machine_seconds()
    child = subprocess.Popen([sys.executable, "-c", BURN + "input()"], stdin=subprocess.PIPE)
    while process_usage.processor_seconds() - before < 0.5:  # it never would, were the living not counted
        time.sleep(0.01)
    assert child.pid in dict(process_usage.tree(child.pid))
    child.communicate(b"\n")
    assert process_usage.processor_seconds() - before >= 0.5
    assert process_usage.machine_seconds() - machine >= 0.4  # it counts in ticks of its own
