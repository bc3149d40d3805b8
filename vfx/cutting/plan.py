"""Which videos of a collection are to be cut, and what became of the others before."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vfx.collection.collection import Collection
from vfx.collection.source import VideoSource
from vfx.cutting.record import Cut, read_record
from vfx.errors import NoFramesError, OutputError
from vfx.text import SHOWN


@dataclass(frozen=True)
class CutPlan:
    """The videos of a collection by what is to be done with them.

    Args:
        todo: to be cut, the longest first, so that none of them is begun at the very end.
        replaced: ids of those among them that were cut when they were other files.
        cuts: what became of those that are done.
        recipes: how these were cut, by id.
        others: those whose frames vfx did not cut, which are left as they are.
    """

    todo: Sequence[VideoSource]
    replaced: Sequence[str] = ()
    cuts: Sequence[Cut] = ()
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    others: Sequence[VideoSource] = ()


def plan_cuts(collection: Collection, videos: Sequence[VideoSource], images: Path, *, overwrite: bool) -> CutPlan:
    """Look at what is there.

    Args:
        collection: whose frames are in `images`.
        videos: all of it.
        images: the folder of the folders of frames.
        overwrite: cut all again whose frames are where vfx puts them.

    Raises:
        CollectionError: Two folders are of one video.
        OutputError: A record is not one.
    """
    nested = _nested(collection, images)
    todo: list[VideoSource] = []
    replaced: list[str] = []
    cuts: list[Cut] = []
    recipes: dict[str, Mapping[str, Any]] = {}
    others = []
    for video in videos:
        if video.id in nested:
            others.append(video)
            continue
        earlier = None if overwrite else read_record(images, video)
        if earlier is None:
            todo.append(video)
        elif earlier.cut is None:
            others.append(video)
        elif earlier.replaced:
            todo.append(video)
            replaced.append(video.id)
        else:
            cuts.append(earlier.cut)
            recipes[video.id] = earlier.recipe
    return CutPlan(sorted(todo, key=lambda video: (-video.cost, video.id)), replaced, cuts, recipes, others)


def check_places(images: Path, ids: Iterable[str]) -> None:
    """Raise OutputError where videos' folders could not have their names once they are cut."""
    folders = [images / id for id in ids]
    # A link to a folder is in the way too: no folder could replace it.
    taken = [str(folder) for folder in folders if folder.is_symlink() or (folder.exists() and not folder.is_dir())]
    if taken:
        raise OutputError(
            f"{len(taken)} names in {images} that folders of frames must have are those of links or files; remove or"
            f" rename them: {', '.join(taken[:SHOWN])}"
        )


def _nested(collection: Collection, images: Path) -> set[str]:
    """The videos whose frames lie deeper in ImageData than vfx puts them, and so are not vfx's."""
    try:
        folders = collection.frame_folders()
    except NoFramesError:
        return set()
    return {folder.id for folder in folders if Path(folder.path).parent != images}
