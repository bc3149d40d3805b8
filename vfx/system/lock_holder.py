"""Who holds a folder: a record of a process that tells whether it still runs, here or on another machine."""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from vfx.system import launch_environment

LONGEST_COMMAND = 300


@dataclass(frozen=True)
class Holder:
    """A process that holds a folder.

    Args:
        run: a random name of the hold.
        host: the name of the machine.
        kernel: the boot of that machine, see `_kernel`.
        processes: the namespace that `pid` belongs to.
        pid: the number of the process.
        started: clock ticks between the kernel's start and the process's; 0 if unknown. Another process of the same
            number has another value.
        since: the local time of the hold, in ISO 8601.
        command: the command line, cut to LONGEST_COMMAND characters.
        job: see `launch_environment.job`.
    """

    run: str
    host: str
    kernel: str
    processes: str
    pid: int
    started: int
    since: str
    command: str
    job: str = ""

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}: {self.command}"

    @classmethod
    def current(cls, run: str) -> Holder:
        """This process."""
        command = shlex.join(sys.orig_argv)
        return cls(
            run=run,
            host=socket.gethostname(),
            kernel=_kernel(),
            processes=_pid_namespace(),
            pid=os.getpid(),
            started=_start_ticks(os.getpid()),
            since=datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
            command=command if len(command) <= LONGEST_COMMAND else f"{command[:LONGEST_COMMAND]} ...",
            job=launch_environment.job(),
        )

    @classmethod
    def from_json(cls, record: bytes) -> Holder | None:
        """The holder that a record names; None if it is incomplete or of another program."""
        try:
            return cls(**json.loads(record))
        except (ValueError, TypeError):
            return None

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    def is_local(self) -> bool:
        """Whether the process ran on this machine since its last boot."""
        return self.kernel == _kernel()

    def is_alive(self) -> bool | None:
        """Whether the process still runs; None if that cannot be told from here."""
        if not self.is_local() or self.processes != _pid_namespace() or not self.started:
            return None
        return _start_ticks(self.pid) == self.started


def _kernel() -> str:
    """What kernel locks reach: the containers of a machine share it, a machine that was rebooted has another."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _pid_namespace() -> str:
    """In which a process number means one process; a container has its own."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115  (no path)
    except OSError:
        return socket.gethostname()


def _start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since the kernel did; 0 if it has ended or is unknown."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])
