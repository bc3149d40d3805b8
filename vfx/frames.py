"""Step 1: the frames of a collection's videos, cut to `ImageData`, and the list files of the lineage."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from vfx import validation
from vfx.cli import command
from vfx.cli.config import build, recipe_entry
from vfx.cli.logging import log_to_files
from vfx.cli.progress_bar import ProgressBar
from vfx.collection.collection import Collection, find_collection
from vfx.collection.source import VideoSource
from vfx.cutting.cutter import Cut, Cutter, Pictures, cut_all, done, has_place, remove_leftovers, survey
from vfx.cutting.list_files import meta_line, read_metas, rewrite, write_lists
from vfx.decoding import check_decoder
from vfx.decoding.limits import Limits
from vfx.errors import ExtractionError, NoFramesError, OutputError
from vfx.outputs.recipe import differences
from vfx.sampling.segment_table import check_videos
from vfx.sampling.timeline import Timeline
from vfx.sweeps import job_records
from vfx.system.cpu_count import cores
from vfx.system.folder_lock import lock_folder
from vfx.text import SHOWN, first_few, interval

log = logging.getLogger("vfx.frames")  # not __name__, which is __main__ when run
FAILURES = "failures.frames.tsv"


def main(*overrides: str) -> Path:
    """Cut as the command line does, `main("collection=toydata", "sampler=lineage")`; returns the folder of frames.

    Raises VfxError and its kin, see vfx/errors.py.
    """
    return command.call(frames, "frames", overrides)


def frames(config: DictConfig) -> Path:
    """Write `ImageData` and the list files as a resolved config of conf/frames.yaml says; returns its path."""
    collection = find_collection(config.collection, config.rootpath)
    sample = build(config.sampler)
    sample(Timeline(np.empty(0), np.empty(0, bool)))  # refuses options out of range before any work
    pictures = Pictures(config.format, config.quality, config.short_side)
    num_workers = _workers(config.num_workers)
    check_decoder(config.decoder)
    videos = collection.videos()
    if "file" in config.sampler:
        check_videos(config.sampler.file, {video.id for video in videos})
    images = collection.root / "ImageData"
    limits = build(config.limits)
    recipe = {"sampler": recipe_entry(config.sampler), **pictures.recipe()}
    cutter = Cutter(images, sample, config.decoder, pictures, recipe, limits)
    with lock_folder(images):
        log_to_files(collection.root / "frames.log")
        for folder in remove_leftovers(images):
            log.warning("%s was left by a run that was killed, and stays for it holds other files too", folder)
        nested = _nested(collection, images)
        here = [video for video in videos if video.id not in nested]
        todo, cuts, others = (here, [], []) if config.overwrite else _sort_out(here, images, cutter.recipe)
        others += [video for video in videos if video.id in nested]
        _check_places(todo, images)
        log.info("frames of %s: %s", collection.name, _state(len(videos), len(todo), len(others)))
        start = time.monotonic()
        before = len(cuts)
        cuts += _watched(cut_all(_longest_first(todo), cutter, num_workers=num_workers, limits=limits), todo)
        remove_leftovers(images)  # of workers that were brought down
        if todo:
            log.info("%s", _summary(cuts[before:], time.monotonic() - start))
        else:
            job_records.tell(state="nothing to do")
        _list_failures(cuts, collection)
        if not others and not any(c.cut for c in cuts):
            raise ExtractionError(
                f"not one of {len(videos)} videos could be read, so there is no frame in {images}: "
                + "; ".join(f"{c.id}: {c.problem}" for c in cuts[:SHOWN])
                + "; python -m vfx.probe collection=... shows them all"
            )
        metas = {c.id: meta_line(c) for c in cuts if c.width} | _metas(others, collection, num_workers, limits)
        write_lists(collection, videos, metas)
    failures = sum(bool(c.problem) for c in cuts)
    if failures and config.strict:
        raise ExtractionError(
            f"strict=true and {failures} failures, listed in {collection.root / FAILURES}; strict=false accepts them"
        )
    return images


def _workers(num_workers: int | None) -> int:
    if num_workers is None:
        return cores()
    return validation.whole("num_workers", num_workers, least=0)


def _nested(collection: Collection, images: Path) -> set[str]:
    """The videos whose frames lie deeper in ImageData than vfx would put them: someone else's, who ordered them so.

    Raises CollectionError where two folders are of one video.
    """
    try:
        folders = collection.frame_folders()
    except NoFramesError:
        return set()
    return {folder.id for folder in folders if Path(folder.path).parent != images}


def _sort_out(
    videos: Iterable[VideoSource], images: Path, recipe: Mapping[str, Any]
) -> tuple[list[VideoSource], list[Cut], list[VideoSource]]:
    """The videos to do; what became of those done before; those whose frames vfx did not cut.

    Raises OutputError that shows the differing keys where frames were cut by another recipe.
    """
    todo, cuts, others, replaced, mixed = [], [], [], [], {}
    for video in videos:
        found = done(images, video)
        if found is None:
            todo.append(video)
        elif found.cut is None:
            others.append(video)
        elif found.replaced:
            replaced.append(video)
        else:
            cuts.append(found.cut)
            changed = differences(found.recipe, recipe)
            if changed:
                mixed[video.id] = changed
    if replaced:
        named = first_few([video.id for video in replaced])
        log.info("%d videos are other files than those that were cut, and are cut again: %s", len(replaced), named)
    if mixed:
        raise OutputError(
            f"frames of {len(mixed)} videos in {images} were cut by another recipe ({', '.join(list(mixed)[:SHOWN])});"
            f" overwrite=true starts over. They differ in\n  " + "\n  ".join(map(str, next(iter(mixed.values()))))
        )
    return todo + replaced, cuts, others


def _check_places(todo: list[VideoSource], images: Path) -> None:
    """Raise OutputError where frames could not be put in their place once they are cut."""
    taken = [str(images / video.id) for video in todo if not has_place(images, video.id)]
    if taken:
        raise OutputError(
            f"{len(taken)} names in {images} that folders of frames must have are those of links or files; remove or"
            f" rename them: {', '.join(taken[:SHOWN])}"
        )


def _state(found: int, todo: int, others: int) -> str:
    theirs = f" ({others} of them not by vfx, left as they are)" if others else ""
    if todo == 0:
        return f"all {found} videos are done{theirs}, nothing to do (overwrite=true starts over)"
    return f"{todo} videos to do" + (f", {found - todo} of {found} done before{theirs}" if found > todo else "")


def _longest_first(videos: list[VideoSource]) -> list[VideoSource]:
    return sorted(videos, key=lambda v: (-v.cost, v.id))  # so that no long one is begun at the very end


def _watched(cuts: Iterable[Cut], todo: list[VideoSource]) -> Iterator[Cut]:
    """Show the progress of cuts as they come."""
    costs = {video.id: video.cost for video in todo}
    videos = frames = failures = done = 0
    with ProgressBar(sum(costs.values())) as bar:
        for cut in cuts:
            videos, frames, failures = videos + 1, frames + cut.cut, failures + bool(cut.problem)
            done += costs[cut.id]
            counts = f"{videos}/{len(todo)} videos, {frames} frames"
            bar.show(done, counts, f"{bar.rate(frames):.1f} frames/s, {failures} failures")
            yield cut


def _summary(cuts: list[Cut], seconds: float) -> str:
    pictures = sum(c.cut for c in cuts)
    return (
        f"{len(cuts)} videos, {pictures} frames in {interval(seconds)}"
        f" ({pictures / max(1e-9, seconds):.1f} frames/s); failures: {sum(bool(c.problem) for c in cuts) or 'none'}"
    )


def _list_failures(cuts: list[Cut], collection: Collection) -> None:
    listing = collection.root / FAILURES
    failed = sorted((c.id, c.stage, " ".join(c.problem.split())) for c in cuts if c.problem)
    if failed:
        rewrite(listing, ("\t".join(row) for row in [("id", "stage", "error"), *failed]))
        log.warning("%d failures, listed in %s; the first: %s", len(failed), listing, ": ".join(failed[0]))
    else:
        listing.unlink(missing_ok=True)


def _metas(others: list[VideoSource], collection: Collection, num_workers: int, limits: Limits) -> dict[str, str]:
    """The lines of id.videometa.txt for videos that vfx did not cut: those that are there, else from the videos."""
    known = read_metas(collection)
    metas = {v.id: known[v.id] for v in others if v.id in known}
    unknown = [v for v in others if v.id not in known]
    surveyed = cut_all(unknown, survey, num_workers=num_workers, limits=limits)
    return metas | {c.id: meta_line(c) for c in surveyed if c.width}


if __name__ == "__main__":
    command.run(frames, "frames")
