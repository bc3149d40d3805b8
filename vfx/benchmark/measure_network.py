"""Measures what the network takes: in a run, and alone over images that lie ready; and what the device can do."""

from __future__ import annotations

import logging
import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.flop_counter import FlopCounterMode

from vfx.benchmark.dataset_survey import DatasetSurvey, Size
from vfx.benchmark.stopwatch import Stopwatch
from vfx.benchmark.timings import Cost
from vfx.collection.source import VideoSource
from vfx.extraction.clips import Clip
from vfx.extraction.datamodules import Read, SourceDataModule
from vfx.extraction.lightning_module import Extractor
from vfx.extraction.precision import float32_by_tf32
from vfx.inference.encoder import Encoder
from vfx.inference.executors import Pending
from vfx.models.transforms import Preprocess

WARM_UP_BATCHES = 3  # the first may choose algorithms


def network(extractor: Extractor, *, data: ReadyFrames, trainer: Callable[[Callback], Trainer]) -> Cost:
    """Run the network over as many frames as are sampled, in Lightning's loop and the batches of a run.

    Args:
        extractor: with one encoder; is closed.
        data: the frames.
        trainer: makes one with this callback.
    """
    counter = _FeatureCounter(at_sigterm=signal.getsignal(signal.SIGTERM))
    logger = logging.getLogger("vfx.extraction.datamodules")
    logger.setLevel(logging.WARNING)  # it would log workers that there are not
    try:
        trainer(counter).predict(extractor, datamodule=data, return_predictions=False)
    finally:
        extractor.close()
        logger.setLevel(logging.NOTSET)
    assert counter.cost is not None
    return counter.cost


class ReadyFrames(SourceDataModule):
    """The surveyed videos as a run would have them, without reading: frames of each size repeat, resized before."""

    kind = "video"
    divides = False

    def __init__(self, survey: DatasetSurvey, **shared: Any) -> None:
        super().__init__(**shared, num_workers=0, piece_cost=1)
        self._survey = survey
        self.plan(survey.sources, done=())

    def read_by(self, preprocessors: Sequence[Preprocess]) -> Read:
        decoded = self._survey.decoded.items()
        views = {size: [preprocess(frames).numpy() for preprocess in preprocessors] for size, frames in decoded}
        return partial(self._clips, views)

    def _clips(self, views: Mapping[Size, list[NDArray[np.uint8]]], source: VideoSource) -> Iterator[Clip]:
        video = self._survey.videos[source.id]
        for clip in self._survey.clips(video):
            index = np.arange(clip.start, clip.stop)
            frames = [view[: len(index)] for view in views[video.size]]
            yield Clip(source.id, frames, index, index / 2, first=clip.start == 0, last=clip.stop == video.sampled)


class _FeatureCounter(Callback):
    """Waits for features as the writer does, drops them, and measures from the first batch to the last.

    `at_sigterm`: the handler of that signal, in place of Lightning's, which only notes it.
    """

    def __init__(self, *, at_sigterm: Any) -> None:
        self.cost: Cost | None = None
        self._at_sigterm = at_sigterm
        self._pending: deque[Pending] = deque()
        self._frames = 0

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if threading.current_thread() is threading.main_thread():  # elsewhere Lightning sets none
            signal.signal(signal.SIGTERM, self._at_sigterm)

    def on_predict_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # when all is compiled
        self._watch = Stopwatch()

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        assert isinstance(pl_module, Extractor)
        self._pending.append(outputs)
        while len(self._pending) > pl_module.depth:
            self._wait()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        while self._pending:
            self._wait()
        self.cost = self._watch.cost(self._frames)

    def _wait(self) -> None:
        (features,), _ = self._pending.popleft().result()
        self._frames += len(features)


def ready(extractor: Extractor, *, batch_size: int | None, frames: int, trainer: Trainer) -> Cost:
    """Run the network alone over images that lie ready on its device: the most that it can do.

    Args:
        extractor: with one encoder; is closed.
        batch_size: frames; None: what the extractor would choose.
        frames: at least so many, in whole batches.
        trainer: tells the device and the precision.
    """
    (encoder,) = extractor.encoders
    assert isinstance(encoder, Encoder)
    extractor.trainer = trainer
    try:
        extractor.setup("predict")
        trainer.precision_plugin.convert_module(extractor)
        extractor.eval().to(trainer.strategy.root_device)
        images = _ready_images(extractor, encoder, batch_size)

        def work() -> list[torch.Tensor]:
            with torch.inference_mode(), extractor.autocast():
                return [encoder.run(images).float()]

        for _ in range(WARM_UP_BATCHES):
            extractor.submit(work).result()
        batches = math.ceil(frames * encoder.crops / len(images))
        watch = Stopwatch()
        _run_batches(extractor, work, batches)
        cost = watch.cost(batches * len(images) // encoder.crops)
        return replace(cost, note=f"{len(images)} images a batch")
    finally:
        extractor.close()


def _ready_images(extractor: Extractor, encoder: Encoder, batch_size: int | None) -> torch.Tensor:
    """A batch of normalized images on the device, as many as its memory suffices for."""
    with torch.inference_mode(), extractor.autocast():
        frames = batch_size or extractor.default_batch_size()
        extractor.forward([[_random_frames(encoder, frames, extractor.device)]])  # finds what memory suffices for
        return encoder.network_input(_random_frames(encoder, encoder.crops_per_pass(frames), extractor.device))


def _run_batches(extractor: Extractor, work: Callable[[], list[torch.Tensor]], batches: int) -> None:
    """Submit the work so many times, as many at once as in a run."""
    pending: deque[Pending] = deque()
    for _ in range(batches):
        pending.append(extractor.submit(work))
        while len(pending) > extractor.depth:
            pending.popleft().result()
    while pending:
        pending.popleft().result()


def _random_frames(encoder: Encoder, count: int, device: torch.device) -> torch.Tensor:
    side = encoder.preprocess.transform.crop
    return torch.randint(256, (count, side, side, 3), dtype=torch.uint8, device=device)


def operations(encoder: Encoder) -> int:
    """Floating-point operations of the network per image; a multiplication and an addition count as two."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        encoder.run(encoder.network_input(_random_frames(encoder, 1, torch.device("cpu"))))
    return counter.get_total_flops()


def peak(device: torch.device, precision: str, *, tf32: bool) -> float:
    """Floating-point operations per second of the product of two large matrices on a device."""
    with float32_by_tf32(tf32) if device.type == "cuda" else nullcontext():
        return _peak(device, {"bf": torch.bfloat16, "16": torch.float16}.get(precision[:2], torch.float32))


def _peak(device: torch.device, dtype: torch.dtype) -> float:
    side = 2048 if device.type == "cpu" else 8192
    factor = torch.randn(side, side, device=device).to(dtype)
    taken = []
    for _ in range(10):
        start = time.perf_counter()
        product = factor @ factor
        product[0, 0].item()  # waits for it
        taken.append(time.perf_counter() - start)
    return 2 * side**3 / min(taken)
