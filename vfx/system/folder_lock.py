"""One run to a folder: a lock that ends with its holder, says who that is, and is seen from other machines too.

<folder>/.lock     who holds the folder; locked by the kernel, touched every BEAT_SECONDS, removed at the end
"""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import shlex
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from vfx.errors import OutputError
from vfx.system import launch_environment
from vfx.system.files import make_folder, unwritten, writing

log = logging.getLogger(__name__)

NAME = ".lock"
BEAT_SECONDS = 15
# A holder on another machine that gave no sign for so long is no more: eight beats, and more than the minute for which
# NFS may show old times.
STALE_SECONDS = 120
# For a holder that is to be outlived: until it is stale, or has let go upon the signal that ended it.
PATIENCE_SECONDS = 5 * STALE_SECONDS
LOOK_SECONDS = 2
SETTLE_SECONDS = 1  # where there are no locks, and two may sign at once: until the later signature shows
LONGEST_COMMAND = 300
NAMELESS = "it gives no name"
HELD = (errno.EAGAIN, errno.EACCES)  # SMB says the latter
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)

_held: set[int] = set()


@dataclass(frozen=True)
class Holder:
    """Who has a folder. `kernel`: that boot of that machine; `processes`: whose numbers `pid` is one of;
    `started`: when, in the kernel's ticks, so that another process of the same number is not taken for this one;
    `job`: of torchrun or SLURM."""

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


@dataclass(frozen=True)
class Lock:
    """A run's hold of a folder, or the number of the error for which it has none. Can be pickled."""

    path: Path
    run: str
    refusal: int = 0

    def check(self) -> None:
        """Raises OutputError where the folder is gone, in other hands, or was never held."""
        if self.refusal:
            raise unwritten(self.path.parent, OSError(self.refusal, os.strerror(self.refusal)))
        try:
            holder = _read(self.path.read_bytes())
        except OSError:
            raise OutputError(
                f"{self.path.parent} was removed or emptied while this run was writing to it; run the same command"
                " again, which does again what is gone"
            ) from None
        if holder is None or holder.run != self.run:
            raise OutputError(
                f"{self.path.parent} has been taken over by another run ({holder or NAMELESS}), which goes on in place"
                " of this one"
            )


class _Held(OutputError):
    """The folder is another's."""

    def __init__(self, path: Path, holder: Holder | None, way_out: str) -> None:
        super().__init__(f"another run is writing to {path.parent} ({holder or NAMELESS}); {way_out}")
        self.holder = holder


@contextmanager
def lock_folder(folder: Path, *, patient: bool = False) -> Iterator[Lock]:
    """Make a folder, and hold it against a second run, here or on another machine that has the same disk.

    What a run that was killed holds is taken over: at once where the kernel, which is the same, has let go of it, or
    where there are no locks but the process is gone; else once it has given no sign of life for STALE_SECONDS.
    `patient`: where torchrun or SLURM has started this job anew, and its first rank was on another machine before, that
    is waited for.
    Where nothing can be written nothing is held, so that a finished output can be found there; whoever finds none has
    `check` say why nothing can be done.

    Raises OutputError that names the holder where there is one, and where the disk refuses.
    """
    lock = Lock(folder / NAME, uuid.uuid4().hex)
    with writing(folder):
        make_folder(folder)
        try:
            descriptor = _outlive(lock) if patient else _take(lock)
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            lock, descriptor = replace(lock, refusal=error.errno), None
    if descriptor is None:
        yield lock
        return
    owner = os.getpid()
    end = threading.Event()
    beating = threading.Thread(target=_beat, args=(descriptor, end), name="vfx lock", daemon=True)
    beating.start()
    try:
        yield lock
    finally:
        if os.getpid() == owner:  # a forked child is not to end what it does not hold
            end.set()
            beating.join()
            with suppress(OSError, OutputError):  # the folder is gone
                lock.check()
                lock.path.unlink()
            _let_go(descriptor)


def _outlive(lock: Lock) -> int:
    """`_take`, once an earlier attempt of this job on another machine has ended or fallen silent."""
    until = time.monotonic() + PATIENCE_SECONDS
    waiting = False
    while True:
        try:
            return _take(lock)
        except _Held as held:
            other = held.holder
            earlier = other is not None and other.kernel != _kernel() and other.job == launch_environment.job() != ""
            if not earlier or time.monotonic() > until:
                raise
            if not waiting:
                log.info("%s: waiting for an earlier attempt of this job to end: %s", lock.path.parent, other)
            waiting = True
        time.sleep(LOOK_SECONDS)


def _take(lock: Lock) -> int:
    """Open, lock and sign a lock file. Raises OutputError if it is another's, and OSError."""
    while True:
        with ExitStack() as stack:
            try:
                descriptor = os.open(lock.path, os.O_RDWR | os.O_CREAT, 0o666)
            except PermissionError:
                if not lock.path.exists():
                    raise
                way_out = "let it end first, or remove the lock if it has"
                raise _Held(lock.path, _read(lock.path.read_bytes()), way_out) from None
            _held.add(descriptor)
            stack.callback(_let_go, descriptor)
            locks = _flock(lock.path, descriptor)
            if not _is_at(lock.path, descriptor):
                continue  # its holder has just removed it
            before = os.pread(descriptor, 1 << 16, 0)
            if before:
                _judge(lock.path, _read(before), descriptor, locks=locks)
            _sign(lock, descriptor)
            if not locks:
                time.sleep(SETTLE_SECONDS)
                lock.check()
            stack.pop_all()
            return descriptor


def _flock(path: Path, descriptor: int) -> bool:
    """Whether the file is locked now; False where the file system knows no locks. Raises OutputError if held."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in HELD and _is_at(path, descriptor):
            raise _Held(path, _read(os.pread(descriptor, 1 << 16, 0)), "let it end first") from None
        return error.errno in HELD
    return True


def _judge(path: Path, holder: Holder | None, descriptor: int, *, locks: bool) -> None:
    """Say that a lock which was not let go of is taken over. Raises OutputError if its holder may live."""
    here = holder is not None and holder.kernel == _kernel()
    if holder is not None and here and not locks and holder.started and holder.processes == _processes():
        if _started(holder.pid) == holder.started:
            raise _Held(path, holder, "let it end first")
    elif not (here and locks):  # that kernel's locks may not reach here
        silence = _now(path) - os.fstat(descriptor).st_mtime
        if silence < STALE_SECONDS:
            raise _Held(
                path,
                holder,
                f"its last sign of life is {max(0, silence):.0f} s old. If it is known to have ended, remove {path};"
                f" after {STALE_SECONDS} s of silence a run takes over by itself",
            )
    log.info("%s: taking over from a run that was killed: %s", path.parent, holder or NAMELESS)


def _sign(lock: Lock, descriptor: int) -> None:
    os.ftruncate(descriptor, 0)
    try:
        os.pwrite(descriptor, json.dumps(asdict(_myself(lock.run))).encode(), 0)
    except OSError:
        lock.path.unlink()
        raise


def _beat(descriptor: int, end: threading.Event) -> None:
    while not end.wait(BEAT_SECONDS):
        with suppress(OSError):  # whatever is wrong with the disk is found by what is written to it
            os.utime(descriptor)


def _let_go(descriptor: int) -> None:
    _held.discard(descriptor)
    os.close(descriptor)


def _let_go_in_child() -> None:
    """A forked child that lives on must not keep the lock of its parent."""
    while _held:
        os.close(_held.pop())


os.register_at_fork(after_in_child=_let_go_in_child)


def _is_at(path: Path, descriptor: int) -> bool:
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    return False


def _now(path: Path) -> float:
    """The time as the disk has it, whose clock may be another machine's."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


def _read(record: bytes) -> Holder | None:
    """The holder that a lock file names; None where it is none of ours, or in the making."""
    try:
        fields: dict[str, Any] = json.loads(record)
        return Holder(**fields)
    except (ValueError, TypeError):
        return None


def _myself(run: str) -> Holder:
    command = shlex.join(sys.orig_argv)
    return Holder(
        run=run,
        host=socket.gethostname(),
        kernel=_kernel(),
        processes=_processes(),
        pid=os.getpid(),
        started=_started(os.getpid()),
        since=datetime.now().astimezone().isoformat(sep=" ", timespec="seconds"),
        command=command if len(command) <= LONGEST_COMMAND else f"{command[:LONGEST_COMMAND]} ...",
        job=launch_environment.job(),
    )


def _kernel() -> str:
    """Who grants the locks: containers of a machine share it, a machine that was started anew is another."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _processes() -> str:
    """Within what a process number means one process: a container has numbers of its own."""
    try:
        return os.readlink("/proc/self/ns/pid")  # noqa: PTH115  (no path)
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> int:
    """When a process was started, in ticks since the kernel was; 0 for one that is no more, or cannot be asked for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[19])
