"""Step 1: cut the frames of a collection's videos to `ImageData`, and write the list files of video-cnn-feat."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
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
from vfx.cutting.cutter import Cutter, survey
from vfx.cutting.frame_folder import remove_leftovers
from vfx.cutting.image_format import ImageFormat
from vfx.cutting.list_files import meta_line, read_metas, write_failures, write_lists
from vfx.cutting.parallel import cut_all
from vfx.cutting.plan import CutPlan, check_places, plan_cuts
from vfx.cutting.record import Cut
from vfx.decoding import check_decoder
from vfx.errors import ExtractionError, OutputError
from vfx.outputs.recipe import differences
from vfx.sampling.segment_table import check_videos
from vfx.sampling.timeline import Timeline
from vfx.sweeps import job_records
from vfx.system.cpu_count import cores
from vfx.system.folder_lock import lock_folder
from vfx.text import SHOWN, first_few, interval

log = logging.getLogger("vfx.frames")  # not __name__, which is __main__ when run
FAILURES = "failures.frames.tsv"

CutAll = Callable[[Sequence[VideoSource], Callable[[VideoSource], Cut]], Iterator[Cut]]


def main(*overrides: str) -> Path:
    """Cut as the command line does, `main("collection=toydata", "sampler=lineage")`; returns the folder of frames.

    Raises VfxError and its kin, see vfx/errors.py.
    """
    return command.call(frames, "frames", overrides)


def frames(config: DictConfig) -> Path:
    """Write `ImageData` and the list files as a resolved config of conf/frames.yaml says; returns its path."""
    collection = find_collection(config.collection, config.rootpath)
    images = collection.root / "ImageData"
    cutter = _cutter(config, images)
    workers = cores() if config.num_workers is None else validation.whole("num_workers", config.num_workers, least=0)
    check_decoder(config.decoder)
    videos = collection.videos()
    if "file" in config.sampler:
        check_videos(config.sampler.file, {video.id for video in videos})
    cut = partial(cut_all, num_workers=workers, limits=build(config.limits))
    with lock_folder(images):
        log_to_files(collection.root / "frames.log")
        for folder in remove_leftovers(images):
            log.warning("%s was left by a run that was killed, and stays for it holds other files too", folder)
        plan = plan_cuts(collection, videos, images, overwrite=config.overwrite)
        _check(plan, images, cutter.recipe)
        log.info("frames of %s: %s", collection.name, _state(len(videos), plan))
        cuts = [*plan.cuts, *_cut(plan.todo, cut, cutter)]
        failed = write_failures(collection.root / FAILURES, cuts)
        if failed:
            log.warning(
                "%d failures, listed in %s; the first: %s",
                len(failed),
                collection.root / FAILURES,
                ": ".join(failed[0]),
            )
        if not plan.others and not any(c.cut for c in cuts):
            raise ExtractionError(
                f"not one of {len(videos)} videos could be read, so there is no frame in {images}: "
                + "; ".join(f"{c.id}: {c.problem}" for c in cuts[:SHOWN])
                + "; python -m vfx.probe collection=... shows them all"
            )
        metas = {c.id: meta_line(c) for c in cuts if c.width} | _metas(plan.others, collection, cut)
        write_lists(collection, videos, metas)
    if failed and config.strict:
        raise ExtractionError(
            f"strict=true and {len(failed)} failures, listed in {collection.root / FAILURES}; strict=false accepts them"
        )
    return images


def _cutter(config: DictConfig, images: Path) -> Cutter:
    sample = build(config.sampler)
    sample(Timeline(np.empty(0), np.empty(0, bool)))  # refuses options out of range before any work
    format = ImageFormat(config.format, config.quality, config.short_side)
    recipe = {"sampler": recipe_entry(config.sampler), **format.recipe()}
    return Cutter(images, sample, config.decoder, format, recipe, build(config.limits))


def _check(plan: CutPlan, images: Path, recipe: Mapping[str, Any]) -> None:
    """Raise OutputError where frames were cut by another recipe, or cannot be put in their place."""
    if plan.replaced:
        log.info(
            "%d videos are other files than those that were cut, and are cut again: %s",
            len(plan.replaced),
            first_few(plan.replaced),
        )
    changed = {id: differences(there, recipe) for id, there in plan.recipes.items()}
    mixed = {id: found for id, found in changed.items() if found}
    if mixed:
        raise OutputError(
            f"frames of {len(mixed)} videos in {images} were cut by another recipe ({', '.join(list(mixed)[:SHOWN])});"
            f" overwrite=true starts over. They differ in\n  " + "\n  ".join(map(str, next(iter(mixed.values()))))
        )
    check_places(images, (video.id for video in plan.todo))


def _state(found: int, plan: CutPlan) -> str:
    theirs = f" ({len(plan.others)} of them not by vfx, left as they are)" if plan.others else ""
    todo = len(plan.todo)
    if todo == 0:
        return f"all {found} videos are done{theirs}, nothing to do (overwrite=true starts over)"
    return f"{todo} videos to do" + (f", {found - todo} of {found} done before{theirs}" if found > todo else "")


def _cut(todo: Sequence[VideoSource], cut: CutAll, cutter: Cutter) -> list[Cut]:
    """Cut videos, and show the progress and a summary."""
    if not todo:
        job_records.update_current(state="nothing to do")
        return []
    start = time.monotonic()
    cuts = list(_watched(cut(todo, cutter), todo))
    remove_leftovers(cutter.images)  # of workers that were brought down
    seconds = time.monotonic() - start
    written, failures = sum(c.cut for c in cuts), sum(bool(c.problem) for c in cuts)
    log.info(
        "%d videos, %d frames in %s (%.1f frames/s); failures: %s",
        len(cuts),
        written,
        interval(seconds),
        written / max(1e-9, seconds),
        failures or "none",
    )
    return cuts


def _watched(cuts: Iterable[Cut], todo: Sequence[VideoSource]) -> Iterator[Cut]:
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


def _metas(others: Sequence[VideoSource], collection: Collection, cut: CutAll) -> dict[str, str]:
    """The lines of id.videometa.txt for videos that vfx did not cut: those that are there, else from the videos."""
    known = read_metas(collection)
    metas = {v.id: known[v.id] for v in others if v.id in known}
    surveyed = cut([v for v in others if v.id not in known], survey)
    return metas | {c.id: meta_line(c) for c in surveyed if c.width}


if __name__ == "__main__":
    command.run(frames, "frames")
