"""Files that survive crashes and full disks: complete under their names or not there, and errors that say why."""

from __future__ import annotations

import errno
import fcntl
import filecmp
import hashlib
import logging
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from vfx.errors import OutputError
from vfx.system import heartbeat

log = logging.getLogger(__name__)


@contextmanager
def working_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a folder to work in, and remove it at the end; `remove_abandoned` leaves it alone meanwhile.

    Args:
        parent: the folder to make it in.
        prefix: of its name, which a random part follows.

    Yields:
        The folder.
    """
    descriptor = None
    while descriptor is None:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        try:
            descriptor = _lock(folder)
        except OSError:
            break  # this file system has no locks
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if descriptor is not None:
            os.close(descriptor)


def remove_abandoned(parent: Path, prefix: str, *, rescue: Callable[[Path], None] = lambda folder: None) -> None:
    """Remove the working folders that killed runs left, and log their names.

    On a file system without locks nobody can tell which they are, and all stay.

    Args:
        parent, prefix: those of `working_folder`.
        rescue: is called with each folder before it is removed.
    """
    for folder in parent.iterdir():
        if not re.fullmatch(re.escape(prefix) + r"\w{8}", folder.name) or folder.is_symlink():
            continue
        try:
            descriptor = _lock(folder)
        except OSError:
            log.warning("%s may be left of a run that was killed; remove it if none is at work here", folder)
            continue
        if descriptor is not None:
            rescue(folder)
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)
            log.info("removed %s, left by a run that was killed", folder)


def _lock(folder: Path) -> int | None:
    """Lock a folder until the returned descriptor is closed; None if another run has it or has just removed it."""
    with suppress(FileNotFoundError, BlockingIOError), ExitStack() as stack:
        descriptor = os.open(folder, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.stat()
        stack.pop_all()
        return descriptor
    return None


def sync(path: Path) -> None:
    """Flush a file's content, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems have nothing to flush of a folder and say so in these ways.
        if not (error.errno in (errno.EINVAL, errno.EBADF) and path.is_dir()):
            raise
    finally:
        os.close(descriptor)


def sync_all(path: Path) -> None:
    """Flush a file, or a folder with the files in it."""
    if path.is_dir():
        for inside in path.iterdir():
            sync(inside)
    sync(path)


def replace_durably(temporary: Path, path: Path) -> None:
    """Rename a finished file so that no crash can leave the name without the content."""
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def make_folder(path: Path) -> None:
    """Make a folder and its missing parents so that no crash can undo it."""
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in made:
        sync(folder.parent)


def write_text(path: Path, text: str) -> None:
    """Write a small file in one step: a crash leaves the old one or the new one.

    A file with this text already is left untouched.

    Raises:
        OutputError: the disk refuses.
    """
    if path.is_file() and path.read_bytes() == text.encode():
        return
    with replacing(path) as temporary:
        temporary.write_bytes(text.encode())


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file anew: it appears whole, when the block has ended, and is not touched if its content stays the same.

    Args:
        path: of the file.

    Yields:
        Another path in the same folder, for the block to write to.

    Raises:
        OutputError: the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    with writing(path):
        try:
            yield temporary
            if not (path.exists() and filecmp.cmp(temporary, path, shallow=False)):
                replace_durably(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn each OSError inside into an OutputError that names the path, the cause and the way out."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> OutputError:
    """The error that says that the disk refused a file or folder, and why."""
    cause = os.strerror(error.errno) if error.errno else str(error)
    if error.errno == errno.ENOENT:
        cause = "its folder is gone, removed while this run was at work"
    return OutputError(
        f"{path} could not be written: {cause}. Nothing half-written is left there, and what was finished before is"
        " kept: put the cause right and run the same command again"
    )


def sha256(path: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
            heartbeat.tick()
    return digest.hexdigest()
