"""Step 0: inspect a collection before a long run, and estimate what that run would give."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from vfx import validation
from vfx.cli import command
from vfx.cli.config import build, feature_of_model, target_name
from vfx.cli.logging import log_to_files
from vfx.cli.progress_bar import ProgressBar
from vfx.collection.collection import find_collection
from vfx.collection.source import VideoSource
from vfx.errors import ExtractionError, UsageError
from vfx.probing.estimate import feature_shape, file_bytes
from vfx.probing.parallel import probe_all
from vfx.probing.prober import Prober
from vfx.probing.record import Record
from vfx.probing.summary import Summary
from vfx.probing.table_file import remove_leftovers, write_table
from vfx.sampling.segment_table import check_videos
from vfx.sampling.timeline import Timeline
from vfx.system.cpu_count import cores
from vfx.system.folder_lock import lock_folder
from vfx.text import nbytes

log = logging.getLogger("vfx.probe")  # not __name__, which is __main__ when run
WIDTH = 120  # of lines where there is no terminal


def main(*overrides: str) -> Path:
    """Probe as the command line does, `main("collection=toydata", "decode=true")`; returns the table.

    Raises VfxError and its kin, see vfx/errors.py.
    """
    return command.call(probe, "probe", overrides)


def probe(config: DictConfig) -> Path:
    """Write the table as a resolved config of conf/probe.yaml says; returns its path."""
    _check(config)
    collection = find_collection(config.collection, config.rootpath)
    sample = build(config.sampler)
    sample(Timeline(np.empty(0), np.empty(0, bool)))  # refuses options out of range before any work
    prober = Prober(collection.root, sample, build(config.limits), packets=config.packets, decode=config.decode)
    # At least one: a bad video may take its process down.
    workers = cores() if config.num_workers is None else validation.whole("num_workers", config.num_workers, least=1)
    videos, others = collection.files()
    if "file" in config.sampler:
        check_videos(config.sampler.file, {video.id for video in videos})
    dim = _dim(config) if config.estimate and config.packets else None
    path = Path(config.output_dir) / collection.name / f"probe.{config.format}"
    summary = Summary(config.show)
    with lock_folder(path.parent):
        log_to_files(path.with_name("probe.log"))
        remove_leftovers(path.parent)
        write_table(_watched(probe_all(videos, prober, processes=workers), videos, summary), path)
        width = shutil.get_terminal_size((WIDTH, 0)).columns
        log.info("%s", "\n".join(summary.lines(collection.name, others, width=width, path=str(path))))
        if config.packets:
            log.info("%s", _estimate(config, summary.rows, dim))
    if summary.bad and config.strict:
        raise ExtractionError(
            f"strict=true and {summary.bad} videos with a problem, listed in {path}; strict=false accepts them"
        )
    return path


def _check(config: DictConfig) -> None:
    """Raise UsageError for a value that is not one of its key's."""
    if config.decode and not config.packets:
        raise UsageError("decode=true reads the packets too: leave packets=false away")
    if config.format not in ("tsv", "parquet"):
        raise UsageError(f"format ({config.format}) must be tsv or parquet")
    if str(config.oversample) not in ("False", "True", "keep"):
        raise UsageError(f"oversample ({config.oversample}) must be false, true or keep")
    if config.writer.dtype not in ("float32", "float16"):
        raise UsageError(f"writer.dtype ({config.writer.dtype}) must be float32 or float16")
    validation.whole("show", config.show, least=0)


def _dim(config: DictConfig) -> int:
    """Values of a row. The network is built without memory for its weights, where it lets itself be built so."""
    import torch  # late, as it takes seconds

    try:
        with torch.device("meta"):
            return int(build(config.model, weights="random").dim)
    except (RuntimeError, NotImplementedError):  # it computes with tensors while it is built, as RegNet does
        return int(build(config.model, weights="random").dim)


def _watched(records: Iterable[Record], videos: Sequence[VideoSource], summary: Summary) -> Iterator[Record]:
    """Count records as they come, and show their progress."""
    with ProgressBar(sum(video.cost for video in videos)) as bar:
        for record in records:
            summary.add(record)
            counts = f"{summary.videos}/{len(videos)} videos"
            rates = f"{bar.rate(summary.videos):.1f} videos/s, {summary.bad} with a problem"
            bar.show(summary.bytes, counts, rates)
            yield record


def _estimate(config: DictConfig, rows: int, dim: int | None) -> str:
    """What an extraction would give of the frames that the packets announce."""
    taken = f"sampler {target_name(config.sampler)} takes {rows} frames"
    if dim is None:
        return taken
    name = feature_of_model(config.model, config.oversample)
    shape = feature_shape(rows, dim, config.oversample)
    size = nbytes(file_bytes(shape, config.writer.dtype))
    return (
        f"{taken}: {name} would be {' x '.join(map(str, shape))} values of {config.writer.dtype}, about {size} on disk,"
        " and as much again while its parts are merged"
    )


if __name__ == "__main__":
    command.run(probe, "probe")
