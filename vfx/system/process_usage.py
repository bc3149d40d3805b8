"""CPU time and memory of processes, with the processes that they start (Linux).

The workers of a run are children of a server which nobody waits for. What `getrusage` tells of waited-for children
would lack them.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import psutil

# Of <sys/prctl.h>: a process gets a signal when its parent ends; orphans below a process become its own children.
PDEATHSIG, SUBREAPER = 1, 36


class Usage(NamedTuple):
    """`wall`: seconds from start to end. `processor`: CPU seconds, summed over processes."""

    wall: float
    processor: float


def processor_seconds() -> float:
    """CPU seconds of this process and all below it so far, in steps of 10 ms, ended processes included."""
    return sum(seconds for _, seconds in tree(os.getpid()))


def machine_seconds() -> float:
    """CPU seconds of all processes since the machine was started, and those that its host withheld (steal)."""
    times = psutil.cpu_times()
    return float(sum(getattr(times, name, 0.0) for name in ("user", "nice", "system", "irq", "softirq", "steal")))


def tree(root: int) -> Iterator[tuple[int, float]]:
    """The processes from `root` down: each number, and CPU seconds with those of the children it has waited for."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(root)
        for each in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):  # it has ended meanwhile
                times = each.cpu_times()
                yield each.pid, times.user + times.system + times.children_user + times.children_system


def run(command: Sequence[str]) -> tuple[subprocess.CompletedProcess[str], Usage]:
    """Run a command to its end, which comes at the latest with that of this process.

    Returns:
        The completed process, and what it took with all that it started.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "usage"
        done = subprocess.run(
            [sys.executable, "-m", "vfx.system.process_usage", str(report), *command],
            capture_output=True,
            text=True,
            check=False,
        )
        return done, Usage(*json.loads(report.read_text()))


def _main(report: Path, command: list[str]) -> int:
    """Run a command below this process, which adopts and waits for all that the command leaves behind."""
    prctl = ctypes.CDLL(None).prctl
    prctl(SUBREAPER, 1, 0, 0, 0)
    prctl(PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    start = time.monotonic()
    child = subprocess.Popen(command, preexec_fn=lambda: prctl(PDEATHSIG, signal.SIGTERM, 0, 0, 0))
    code = child.wait()
    wall = time.monotonic() - start
    with suppress(ChildProcessError):
        while True:
            os.wait()
    taken = resource.getrusage(resource.RUSAGE_CHILDREN)
    report.write_text(json.dumps([wall, taken.ru_utime + taken.ru_stime]))
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), sys.argv[2:]))
