"""Measures writing alone, and whole runs in processes of their own."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from vfx.benchmark.dataset_survey import DatasetSurvey
from vfx.benchmark.stopwatch import Stopwatch
from vfx.benchmark.timings import Cost
from vfx.errors import ExtractionError
from vfx.features.feature_file import FeatureFile
from vfx.outputs.output_folder import OutputFolder
from vfx.outputs.part_writer import PartWriter
from vfx.sweeps import job_process
from vfx.system import process_usage

MAX_ERROR_CHARACTERS = 2000  # of the error output of a failed command


def write(survey: DatasetSurvey, folder: Path, *, shape: tuple[int, ...], **options: Any) -> Cost:
    """Commit a row per sampled frame in parts, and merge these to a feature file.

    Args:
        survey: the videos.
        folder: is made, and removed again.
        shape: of a row.
        options: those of PartWriter.
    """
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((max(map(len, survey.decoded.values())), *shape), np.float32)
    attributes = {"feature": "bench", "collection": "bench", "config": "", "provenance": json.dumps({"recipe": {}})}
    output = OutputFolder(folder)
    watch = Stopwatch()
    with output.locked():
        output.prepare({}, overwrite=True)
        parts = PartWriter(output, shape=shape, attributes=attributes, **options)
        for id, video in survey.videos.items():
            parts.start(id)
            for clip in survey.clips(video):
                index = np.arange(clip.start, clip.stop)
                parts.append(id, rows[: len(index)], index, index / 2)
            parts.finish(id, [], "pyav")
        parts.close()
        output.assemble(attributes)
    cost = watch.cost(survey.sampled)
    cost = replace(cost, frames=_count_rows(output.features))
    shutil.rmtree(folder)
    return cost


def extract(config: Mapping[str, Any], folder: Path) -> Cost:
    """Run `vfx.extract` of a resolved config in a process of its own, from its start to its end.

    `folder` is made for what it writes, and removed again.
    """
    last_line, cost = _run(["-m", "vfx.extract"], config, folder)
    cost = replace(cost, frames=_count_rows(Path(last_line)))
    shutil.rmtree(folder)
    return cost


def replaced(script: Path, config: Mapping[str, Any], folder: Path) -> Cost:
    """Run a script that makes the same features in another way.

    Its last line is JSON with `frames`, their number, and `seconds` of each step. `folder` is made for what it writes,
    and removed again.
    """
    last_line, cost = _run([str(script)], config, folder)
    told = json.loads(last_line)
    shutil.rmtree(folder)
    return replace(cost, frames=told["frames"], steps=told["seconds"])


def _run(program: list[str], config: Mapping[str, Any], folder: Path) -> tuple[str, Cost]:
    """Run a program of this Python on a config; its last line, and what it took without the number of frames.

    Raises ExtractionError if it fails.
    """
    folder.mkdir(parents=True)
    command = job_process.command(program, {**config, "output_dir": str(folder / "out")}, folder / "bench_run.yaml")
    machine = process_usage.machine_seconds()
    done, taken = process_usage.run(command)
    others = max(0.0, process_usage.machine_seconds() - machine - taken.processor)
    if done.returncode:
        raise ExtractionError(f"{subprocess.list2cmdline(command)} failed: {done.stderr[-MAX_ERROR_CHARACTERS:]}")
    return done.stdout.splitlines()[-1], Cost(taken.wall, taken.processor, 0, others)


def _count_rows(features: Path) -> int:
    """Raises ExtractionError if a video could not be read."""
    with FeatureFile(features) as file:
        if file.failures:
            raise ExtractionError(
                f"{features}: {len(file.failures)} failures; the first: {file.failures[0]}; take these videos"
                " out of the collection to be measured"
            )
        return int(file.features.shape[0])
