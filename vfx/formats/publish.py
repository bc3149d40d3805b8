"""Exports that appear complete or not at all, and never replace anything by mistake."""

from __future__ import annotations

import filecmp
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from vfx.errors import OutputError
from vfx.system.files import remove_abandoned, sync, sync_all, working_folder, write_error
from vfx.text import SHOWN

WORK = ".export."  # prefix of the working folder beside the destination; it may hold new and old/<name>
SLACK_NS = 2_000_000_000  # the coarsest file systems keep times of files in steps of two seconds

log = logging.getLogger(__name__)


@contextmanager
def publish(destination: Path, *, source: Path, files: tuple[str, ...], overwrite: bool) -> Iterator[Path]:
    """A place to write an export to, which becomes `destination` once all of it is on the disk.

    An exception inside leaves nothing, and the next run removes what a killed one left. An equal export that exists
    stays as it is. A file is replaced in one step. A folder is moved aside first, so its name is free for an instant,
    but never names half an export.

    Args:
        destination: The file or folder to make.
        source: The feature file. The export gets its time, which shows before any work whether an export that exists
            was made of this source.
        files: Patterns of the files in a folder, () for a single file. A folder with other files is never replaced.
        overwrite: Replace another export.

    Yields:
        A path where nothing exists yet.

    Raises:
        OutputError: Something else exists and `overwrite` is not set, or the disk refuses.
    """
    real = destination.resolve()  # a link to another disk stays one
    time_ns = source.stat().st_mtime_ns
    try:
        real.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(real.parent, WORK, rescue=_restore)
        _check_kind(real, files)
        if not overwrite and any(abs(path.stat().st_mtime_ns - time_ns) > SLACK_NS for path in _files(real)):
            raise OutputError(f"{destination} holds another export, not made of {source}; overwrite=true replaces it")
        with working_folder(real.parent, WORK) as work:
            target = work / "new"
            yield target
            for path in _files(target):
                os.utime(path, ns=(time_ns, time_ns))
            sync_all(target)
            _put_in_place(target, real, work / "old", destination=destination, overwrite=overwrite)
            sync(real.parent)
    except OSError as error:
        raise write_error(destination, error) from error


def _put_in_place(target: Path, real: Path, aside: Path, *, destination: Path, overwrite: bool) -> None:
    """Give a finished export its name, unless an equal one has it."""
    if not real.exists() or (real.is_dir() and not any(real.iterdir())):
        target.rename(real)
    elif _is_equal(target, real):
        log.info("%s is there already and holds the very same export", destination)
    elif not overwrite:
        raise OutputError(f"{destination} holds another export; overwrite=true replaces it")
    elif real.is_file():
        target.replace(real)
    elif others := sorted(_names(real) - _names(target)):
        raise _other_files(real, "does", others)
    else:
        _swap(target, real, aside)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _files(export: Path) -> list[Path]:
    """The files of an export, [] where there is none."""
    if export.is_dir():
        return [path for path in export.iterdir() if not path.name.startswith(".")]
    return [export] if export.exists() else []


def _check_kind(real: Path, files: tuple[str, ...]) -> None:
    """Raises OutputError where a file is in the place of a folder or the reverse, or a folder holds other files."""
    if not real.exists():
        return
    if real.is_dir() != bool(files):
        raise OutputError(f"{real} is a {'folder' if real.is_dir() else 'file'}: choose another destination")
    if files:
        names = sorted(path.name for path in _files(real))
        others = [name for name in names if not any(fnmatch(name, pattern) for pattern in files)]
        if others:
            raise _other_files(real, "would", others)


def _other_files(real: Path, verb: str, others: list[str]) -> OutputError:
    return OutputError(
        f"{real} holds what this export {verb} not write: {', '.join(others[:SHOWN])}; move that away, or"
        " choose another destination"
    )


def _is_equal(a: Path, b: Path) -> bool:
    """Whether `b` has the files of `a` with the same bytes."""
    if a.is_file():
        return filecmp.cmp(a, b, shallow=False)
    names = sorted(_names(a))
    return filecmp.cmpfiles(a, b, names, shallow=False)[0] == names


def _swap(new: Path, real: Path, aside: Path) -> None:
    aside.mkdir()
    old = aside / real.name
    real.rename(old)
    try:
        new.rename(real)
    except BaseException:
        old.rename(real)
        raise
    shutil.rmtree(aside)


def _restore(work: Path) -> None:
    """Give an export its name back that a killed run had moved aside without replacing it."""
    for old in work.glob("old/*"):
        if not (work.parent / old.name).exists():
            old.rename(work.parent / old.name)
            log.warning("%s is there again: a run was killed as it replaced it", work.parent / old.name)
