"""Features of video-cnn-feat as input: where a BigFile or a text is, and its rows as those of a BigFile."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from vfx.collection.ids import split_frame_id
from vfx.errors import UsageError
from vfx.features.schema import Level
from vfx.formats import bigfile, id_feature_txt
from vfx.system.files import remove_abandoned, sha256, working_folder

WORK = ".import."


class LineageInput(NamedTuple):
    """A feature of video-cnn-feat.

    Args:
        path: The folder of a BigFile, or a text file.
        format: `bigfile` or `txt`.
    """

    path: Path
    format: str

    def first_id(self) -> str:
        """The id of its first row. Raises OutputError where there is none."""
        return next(bigfile.read_ids(self.path)) if self.format == "bigfile" else id_feature_txt.first_id(self.path)

    def has_frames(self) -> bool:
        """Whether a `video2frames.txt` says that its rows are frames."""
        folder = self.path if self.format == "bigfile" else self.path.parent
        return (folder / "video2frames.txt").is_file()

    def level(self) -> Level:
        """`frame` if it has frames, `video` if its first id is not that of a frame.

        Raises:
            UsageError: Its ids may be those of frames or of videos.
        """
        if self.has_frames():
            return "frame"
        first = self.first_id()
        try:
            split_frame_id(first)
        except ValueError:
            return "video"
        raise UsageError(
            f"level: without a video2frames.txt, an id such as {first} of {self.path} can be that of a frame or of a"
            " video; give level=frame or level=video"
        )

    def hashes(self) -> dict[str, str]:
        """The sha256 of its files, for a recipe."""
        if self.format == "bigfile":
            return {"sha256": sha256(self.path / "feature.bin"), "ids_sha256": sha256(self.path / "id.txt")}
        return {"sha256": sha256(self.path)}

    @contextmanager
    def as_bigfile(self, scratch: Path | None = None) -> Iterator[Path]:
        """The folder of a BigFile with its rows. A text is converted to a temporary BigFile.

        Args:
            scratch: Where to make the temporary one; None for the system's temporary folder.
        """
        if self.format == "bigfile":
            yield self.path
            return
        if scratch is not None:
            remove_abandoned(scratch, WORK)
        with working_folder(scratch or Path(tempfile.gettempdir()), WORK) as folder:
            id_feature_txt.to_bigfile(self.path, folder)
            yield folder


def find_input(path: Path) -> LineageInput:
    """The BigFile or text at a path.

    Args:
        path: A folder, a file of a BigFile, or a text.

    Raises:
        UsageError: There is neither.
        OutputError: The BigFile is damaged or incomplete.
    """
    folder = path.parent if path.name in bigfile.FILES else path
    if (folder / id_feature_txt.NAME).is_file() and not (folder / "feature.bin").is_file():
        return LineageInput(folder / id_feature_txt.NAME, "txt")
    if folder.is_dir():
        bigfile.checked_shape(folder)
        return LineageInput(folder, "bigfile")
    if path.is_file():
        return LineageInput(path, "txt")
    raise UsageError(f"source ({path}) is neither the folder of a BigFile nor an id.feature.txt; give one of these")
