"""The list files of a collection, which the tools of video-cnn-feat read: its videos and frames, and their paths.

id.videopath.txt              <video id> <path>, sorted by id; paths are relative to the collection's folder
id.videometa.txt              <video id> <whole frames a second> <frames> <width> <height>
id.imagepath.txt              <frame id> <path>, sorted by video id, then by index
VideoSets/<collection>.txt    the video ids, one a line, sorted
ImageSets/<collection>.txt    the frame ids, sorted as text, as video-cnn-feat has them
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from vfx.collection.collection import Collection
from vfx.collection.source import VideoSource
from vfx.cutting.frame_folder import frame_indices
from vfx.cutting.record import Cut
from vfx.system.files import replacing

META = "id.videometa.txt"


def write_lists(collection: Collection, videos: list[VideoSource], metas: dict[str, str]) -> None:
    """Write the list files; those whose content is right already are left alone.

    Args:
        collection: that they are of.
        videos: all of it, sorted by id.
        metas: the lines of id.videometa.txt by video id, for the videos that could be opened.

    Raises:
        OutputError: The disk refuses.
    """
    root = collection.root
    folders = collection.frame_folders()
    rewrite(root / "id.videopath.txt", (f"{v.id} {os.path.relpath(v.path, root)}" for v in videos))
    rewrite(root / META, (metas[v.id] for v in videos if v.id in metas))
    rewrite(root / "VideoSets" / f"{collection.name}.txt", (v.id for v in videos))
    rewrite(
        root / "id.imagepath.txt",
        (
            f"{folder.id}_{index} {os.path.relpath(folder.path, root)}/{name}"
            for folder in folders
            for index, name in frame_indices(Path(folder.path), folder.id).items()
        ),
    )
    rewrite(root / "ImageSets" / f"{collection.name}.txt", _sorted_frame_ids(folders))


def meta_line(cut: Cut) -> str:
    """A video's line of id.videometa.txt."""
    return f"{cut.id} {int(cut.rate)} {cut.frames} {cut.width} {cut.height}"


def read_metas(collection: Collection) -> dict[str, str]:
    """The lines of id.videometa.txt by video id, as far as they are well-formed; {} if there is no such file."""
    path = collection.root / META
    if not path.exists():
        return {}
    lines = path.read_text(errors="replace").splitlines()
    return {line.split()[0]: line for line in lines if len(line.split()) == 5}


def write_failures(path: Path, cuts: Iterable[Cut]) -> list[tuple[str, str, str]]:
    """Write a table of the videos that failed, or remove the file if none has.

    Args:
        path: of the table, as tab-separated text.
        cuts: of all videos.

    Returns:
        Its rows: id, stage, error; sorted.

    Raises:
        OutputError: The disk refuses.
    """
    failed = sorted((c.id, c.stage, " ".join(c.problem.split())) for c in cuts if c.problem)
    if failed:
        rewrite(path, ("\t".join(row) for row in [("id", "stage", "error"), *failed]))
    else:
        path.unlink(missing_ok=True)
    return failed


def rewrite(path: Path, lines: Iterable[str]) -> None:
    """Write lines to a file, which appears whole and is not touched where that would change nothing.

    Raises OutputError where the disk refuses.
    """
    with replacing(path) as temporary:
        path.parent.mkdir(exist_ok=True)
        with temporary.open("wb") as file:
            file.writelines(os.fsencode(f"{line}\n") for line in lines)  # paths as the file system has them


def _sorted_frame_ids(folders: list[VideoSource]) -> Iterator[str]:
    """All frame ids, sorted as text, with no more of them in memory than of a few videos.

    Ids of `a` and `a_1` interleave (a_0, a_1_0, a_2), but none of a video comes before `<video id>_`.
    """
    waiting: list[str] = []
    for folder in sorted(folders, key=lambda f: f"{f.id}_"):
        while waiting and waiting[0] < f"{folder.id}_":
            yield heapq.heappop(waiting)
        for index in frame_indices(Path(folder.path), folder.id):
            heapq.heappush(waiting, f"{folder.id}_{index}")
    while waiting:
        yield heapq.heappop(waiting)
