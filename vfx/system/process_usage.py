"""What processes take of the machine: processor seconds and memory, those that they start included (Linux).

The workers of a run are children of a server which nobody waits for, so the usual account, that of children which were
waited for, would lack them.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from vfx.system import memory

PROC = Path("/proc")
# Of <sys/prctl.h>: a process is sent a signal when its parent ends; orphans below a process become its own children.
PDEATHSIG, SUBREAPER = 1, 36


class Usage(NamedTuple):
    """`wall`: seconds from start to end. `processor`: seconds of processors, of all processes together."""

    wall: float
    processor: float


def processor_seconds() -> float:
    """What this process and all below it have taken of the processors so far, to 10 ms each, ended ones included.

    Raises OSError where the system does not tell, which only Linux does.
    """
    return sum(seconds for _, seconds in tree(os.getpid()))


def machine_seconds() -> float:
    """What all of the machine has taken of its processors since it was started, and what its host withheld."""
    fields = (PROC / "stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def tree(root: int) -> Iterator[tuple[int, float]]:
    """The processes from `root` down, with the processor seconds of each and of those it has waited for."""
    below: dict[int, list[int]] = defaultdict(list)
    seconds: dict[int, float] = {}
    for folder in PROC.iterdir():
        if not folder.name.isdecimal():
            continue
        with suppress(OSError):  # it has ended meanwhile
            # the name, in brackets, may hold anything; the fields are those of proc_pid_stat(5) from the third on
            fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
            below[int(fields[1])].append(int(folder.name))
            seconds[int(folder.name)] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    waiting = [root]
    while waiting:
        process = waiting.pop()
        if process in seconds:
            yield process, seconds[process]
        waiting += below[process]


def peak_bytes(process: int) -> int:
    """The most memory that a process has had so far, shared memory included; 0 if it is gone."""
    with suppress(OSError):
        for line in (PROC / str(process) / "status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


def give_back_memory() -> None:
    """Let go of what nobody can reach any more, and have the allocators return it to the system and the devices.

    Lightning's parts hold each other in cycles, which wait for the collector with all their tensors.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    memory.give_back()


def run(command: Sequence[str]) -> tuple[subprocess.CompletedProcess[str], Usage]:
    """Run a command to its end; also what it and all that it started took. It is told to end when this process does."""
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
    """Run a command below a process to which all that it leaves behind is handed, and which waits for it."""
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
