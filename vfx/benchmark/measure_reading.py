"""Measures what reading takes: decoding in worker processes, and resizing."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import replace
from functools import partial

import torch

from vfx.benchmark import dataset_survey
from vfx.benchmark.dataset_survey import DatasetSurvey
from vfx.benchmark.stopwatch import Stopwatch
from vfx.benchmark.timings import Cost
from vfx.decoding.limits import Limits
from vfx.errors import ExtractionError
from vfx.models.transforms import Preprocess
from vfx.sampling.timeline import Sampler
from vfx.system import worker_pool

PRELOAD = ("vfx.benchmark.dataset_survey",)  # all that workers need here; Lightning would take seconds more


def warm_up(survey: DatasetSurvey, *, limits: Limits) -> None:
    """Decode one frame, so that the server of workers has made its imports before anything is measured."""
    first = dict(list(survey.videos.items())[:1])
    sample = partial(dataset_survey.first_frames, 1)
    decode(replace(survey, videos=first), sample=sample, decoder="auto", processes=1, limits=limits)


def decode(survey: DatasetSurvey, *, sample: Sampler, decoder: str, processes: int, limits: Limits) -> Cost:
    """Open, demux and decode all videos in worker processes, and drop the frames.

    Raises:
        ExtractionError: a video takes its worker down.
    """
    decoders: Counter[str] = Counter()
    frames = 0
    watch = Stopwatch()
    results = worker_pool.run(
        survey.sources,
        partial(dataset_survey.decode, sample=sample, decoder=decoder, limits=limits),
        processes=processes,
        patience=limits.patience,
        memory=limits.memory,
        preload=PRELOAD,
        initializer=partial(torch.set_num_threads, 1),
    )
    with closing(results):
        for source, item in results:
            if isinstance(item, worker_pool.WorkerFailure):
                raise ExtractionError(
                    f"{source.path}: {decoder}: {item.reason}; take it out of the collection to be measured"
                )
            decoded, by = item
            frames += decoded
            decoders[by] += 1
    cost = watch.cost(frames)
    others = [f"{count} videos by {by}" for by, count in decoders.items() if decoder not in ("auto", by)]
    return replace(cost, note=", ".join(others))


def resize(survey: DatasetSurvey, preprocess: Preprocess) -> Cost:
    """Resize and crop as many frames of each size as are sampled, in one thread, as a worker does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        watch = Stopwatch()
        frames = 0
        for video in survey.videos.values():
            for clip in survey.clips(video):
                frames += len(preprocess(survey.decoded[video.size][: clip.stop - clip.start]))
        return watch.cost(frames)
    finally:
        torch.set_num_threads(threads)
