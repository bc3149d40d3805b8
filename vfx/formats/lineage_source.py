"""A feature of the lineage, as a BigFile or as text: where it is, and its rows read as those of a BigFile."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from vfx.errors import UsageError
from vfx.formats import bigfile, id_feature_txt
from vfx.system.files import remove_abandoned, sha256, working_folder

WORK = ".import."


class LineageInput(NamedTuple):
    """What is read: `bigfile`, a folder, or `txt`, a file."""

    path: Path
    format: str

    def first_id(self) -> str:
        return next(bigfile.read_ids(self.path)) if self.format == "bigfile" else id_feature_txt.first_id(self.path)

    def has_frames(self) -> bool:
        """Whether it says of itself that its rows are those of frames."""
        folder = self.path if self.format == "bigfile" else self.path.parent
        return (folder / "video2frames.txt").is_file()

    def hashes(self) -> dict[str, str]:
        """What tells it from another source."""
        if self.format == "bigfile":
            return {"sha256": sha256(self.path / "feature.bin"), "ids_sha256": sha256(self.path / "id.txt")}
        return {"sha256": sha256(self.path)}

    @contextmanager
    def as_bigfile(self, scratch: Path | None = None) -> Iterator[Path]:
        """The folder of a BigFile with its rows. Those of a text are put in one first, so that each is read once.

        `scratch`: where that one is meanwhile; the system's folder for such things if not given.
        """
        if self.format == "bigfile":
            yield self.path
            return
        if scratch is not None:
            remove_abandoned(scratch, WORK)
        with working_folder(scratch or Path(tempfile.gettempdir()), WORK) as folder:
            id_feature_txt.to_bigfile(self.path, folder)
            yield folder


def find_source(path: Path) -> LineageInput:
    """Raises UsageError where there is neither a whole BigFile nor a text."""
    folder = path.parent if path.name in bigfile.FILES else path
    if (folder / id_feature_txt.NAME).is_file() and not (folder / "feature.bin").is_file():
        return LineageInput(folder / id_feature_txt.NAME, "txt")
    if folder.is_dir():
        bigfile.check(folder)
        return LineageInput(folder, "bigfile")
    if path.is_file():
        return LineageInput(path, "txt")
    raise UsageError(f"source ({path}) is neither the folder of a BigFile nor an id.feature.txt; give one of these")
