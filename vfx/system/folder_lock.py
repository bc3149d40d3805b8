"""One run per folder: a lock that ends with its holder, says who that is, and is seen from other machines too.

<folder>/.lock     the holder as JSON; locked by the kernel, touched every HEARTBEAT_SECONDS, removed at the end
"""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from vfx.errors import OutputError
from vfx.system import launch_environment
from vfx.system.files import make_folder, write_error, writing
from vfx.system.lock_holder import Holder

log = logging.getLogger(__name__)

NAME = ".lock"
HEARTBEAT_SECONDS = 15
# A holder on another machine is lost after so long without a heartbeat: eight of them, and more than the minute for
# which NFS may show old times.
STALE_SECONDS = 120
# How long to wait for an earlier attempt of the same job, which ends or becomes stale.
WAIT_SECONDS = 5 * STALE_SECONDS
POLL_SECONDS = 2
SETTLE_SECONDS = 1  # on a disk without locks two may sign at once: until the later signature shows
NAMELESS = "it gives no name"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
READ_ONLY = (errno.EROFS, errno.EACCES, errno.EPERM)


@dataclass(frozen=True)
class Lock:
    """A run's hold of a folder. Can be pickled.

    Args:
        path: of the lock file.
        run: the name of the hold, which the file has while it lasts.
        refusal: the number of the error for which the folder is not held; 0 if it is.
    """

    path: Path
    run: str
    refusal: int = 0

    def check(self) -> None:
        """Raises OutputError if the folder is gone, is another run's now, or was never held."""
        if self.refusal:
            raise write_error(self.path.parent, OSError(self.refusal, os.strerror(self.refusal)))
        try:
            holder = Holder.from_json(self.path.read_bytes())
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


class _HeldError(OutputError):
    """Another run holds the folder."""

    def __init__(self, path: Path, holder: Holder | None, way_out: str) -> None:
        super().__init__(f"another run is writing to {path.parent} ({holder or NAMELESS}); {way_out}")
        self.holder = holder


@contextmanager
def lock_folder(folder: Path, *, patient: bool = False) -> Iterator[Lock]:
    """Make a folder, and hold it against a second run, here or on another machine that has the same disk.

    The lock of a run that was killed is taken over: at once if the kernel has released it, or if the disk has no locks
    but the process is gone; else after STALE_SECONDS without a heartbeat. Where nothing can be written the folder is
    not held, so that a finished output can be found there; `check` then raises.

    Args:
        folder: is made with its parents if it is not there.
        patient: wait for an earlier attempt of this job on another machine, if torchrun or SLURM started it again.

    Yields:
        The hold.

    Raises:
        OutputError: another run holds the folder, or the disk refuses.
    """
    lock = Lock(folder / NAME, uuid.uuid4().hex)
    with writing(folder):
        make_folder(folder)
        try:
            release = _acquire_patiently(lock) if patient else _acquire(lock)
        except OSError as error:
            if error.errno not in READ_ONLY:
                raise
            lock, release = replace(lock, refusal=error.errno), None
    if release is None:
        yield lock
        return
    owner = os.getpid()
    end = threading.Event()
    heartbeat = threading.Thread(target=_send_heartbeats, args=(lock, end), name="vfx lock", daemon=True)
    heartbeat.start()
    try:
        yield lock
    finally:
        if os.getpid() == owner:  # a forked child does not hold it
            end.set()
            heartbeat.join()
            with suppress(OSError, OutputError):  # the folder is gone
                lock.check()
                lock.path.unlink()
            release()


def _acquire_patiently(lock: Lock) -> Callable[[], None]:
    """`_acquire` once an earlier attempt of this job on another machine has ended or is stale."""
    until = time.monotonic() + WAIT_SECONDS
    job = launch_environment.job()
    waiting = False
    while True:
        try:
            return _acquire(lock)
        except _HeldError as held:
            other = held.holder
            if other is None or other.is_local() or not job == other.job != "" or time.monotonic() > until:
                raise
            if not waiting:
                log.info("%s: waiting for an earlier attempt of this job to end: %s", lock.path.parent, other)
            waiting = True
        time.sleep(POLL_SECONDS)


def _acquire(lock: Lock) -> Callable[[], None]:
    """Lock and sign the file; returns what releases it. Raises _HeldError if it is another's, and OSError."""
    from filelock import FileLock, Timeout  # late: it takes 80 ms, for which --help need not wait

    file_lock = FileLock(lock.path, timeout=0, thread_local=False, fallback_to_soft=False)
    while True:
        # Before anything is done to the file: kernel locks may not reach another machine.
        record = _read(lock.path)
        holder = Holder.from_json(record)
        local = holder is not None and holder.is_local()
        if record and not local:
            _check_silent(lock.path, holder)
        try:
            file_lock.acquire()
        except Timeout:
            if not lock.path.exists():
                continue  # its holder has just removed it
            raise _HeldError(lock.path, Holder.from_json(_read(lock.path)), "let it end first") from None
        except PermissionError:
            if not lock.path.exists():
                raise
            way_out = "let it end first, or remove the lock if it has"
            raise _HeldError(lock.path, Holder.from_json(_read(lock.path)), way_out) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            if holder is not None and local:
                _check_ended(lock.path, holder)
        if record:
            log.info("%s: taking over from a run that was killed: %s", lock.path.parent, holder or NAMELESS)
        try:
            _sign(lock, settle=not file_lock.is_locked)
        except BaseException:
            file_lock.release()
            raise
        return file_lock.release


def _sign(lock: Lock, *, settle: bool) -> None:
    """Write this process into the file. `settle`: then see whether another has at the same time."""
    try:
        lock.path.write_bytes(Holder.current(lock.run).to_json())
    except OSError:
        lock.path.unlink()
        raise
    if settle:
        time.sleep(SETTLE_SECONDS)
        lock.check()


def _check_ended(path: Path, holder: Holder) -> None:
    """Raises _HeldError if a process of this machine may be alive; for disks without locks."""
    alive = holder.is_alive()
    if alive:
        raise _HeldError(path, holder, "let it end first")
    if alive is None:
        _check_silent(path, holder)


def _check_silent(path: Path, holder: Holder | None) -> None:
    """Raises _HeldError if the last heartbeat is not old."""
    with suppress(FileNotFoundError):  # it has ended meanwhile
        silence = _disk_time(path) - path.stat().st_mtime
        if silence < STALE_SECONDS:
            raise _HeldError(
                path,
                holder,
                f"its last sign of life is {max(0, silence):.0f} s old. If it is known to have ended, remove {path};"
                f" after {STALE_SECONDS} s of silence a run takes over by itself",
            )


def _send_heartbeats(lock: Lock, end: threading.Event) -> None:
    while not end.wait(HEARTBEAT_SECONDS):
        with suppress(OSError, OutputError):  # whatever is wrong is found when the run writes
            lock.check()
            os.utime(lock.path)


def _read(path: Path) -> bytes:
    """The record in a lock file; empty if there is none."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _disk_time(path: Path) -> float:
    """The time by the disk's clock, which may be another machine's."""
    probe = path.with_name(f"{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        probe.touch()
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)
