"""The stages of a run, each measured by itself: reading videos, the network, writing, and the whole run."""

from __future__ import annotations

import json
import logging
import math
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_lightning import Callback, LightningModule, Trainer
from torch.utils.flop_counter import FlopCounterMode

from vfx.benchmark import dataset_survey as materials
from vfx.benchmark.dataset_survey import Material, Size
from vfx.benchmark.results import Cost
from vfx.collection.source import VideoSource
from vfx.decoding.limits import Limits
from vfx.errors import ExtractionError
from vfx.extraction.clips import Clip, Preprocessors, Sampler
from vfx.extraction.datamodules import Read, SourceDataModule
from vfx.extraction.lightning_module import Extractor, float32_by_tf32
from vfx.features.feature_file import FeatureFile
from vfx.inference.encoder import Encoder
from vfx.inference.executors import Pending
from vfx.models.transforms import Preprocess
from vfx.outputs.output_folder import OutputFolder
from vfx.outputs.part_writer import PartWriter
from vfx.promise import Promise
from vfx.sweeps import job_process
from vfx.system import process_usage, worker_pool

PRELOAD = ("vfx.benchmark.dataset_survey",)  # what workers do here, without the seconds that Lightning takes
SHOWN = 2000  # characters of what a command said that failed


class Watch:
    """Starts when it is made; `cost` says what passed until then."""

    def __init__(self) -> None:
        self._own, self._machine = process_usage.processor_seconds(), process_usage.machine_seconds()
        self._start = time.perf_counter()

    def cost(self, frames: int) -> Cost:
        wall = time.perf_counter() - self._start
        own, machine = process_usage.processor_seconds() - self._own, process_usage.machine_seconds() - self._machine
        return Cost(wall, own, frames, max(0.0, machine - own))


def warm_up(material: Material, *, limits: Limits) -> None:
    """Let the server from which workers are forked make its imports, which are no part of a stage."""
    first = dict(list(material.videos.items())[:1])
    decode(
        replace(material, videos=first), sample=partial(materials.first, 1), decoder="auto", processes=1, limits=limits
    )


def decode(material: Material, *, sample: Sampler, decoder: str, processes: int, limits: Limits) -> Cost:
    """Open, demux and decode all videos in `processes` processes; their frames go nowhere."""
    served: Counter[str] = Counter()
    frames = 0
    watch = Watch()
    delivered = worker_pool.run(
        material.sources,
        partial(materials.decode, sample=sample, decoder=decoder, limits=limits),
        processes=processes,
        patience=limits.patience,
        memory=limits.memory,
        initializer=partial(torch.set_num_threads, 1),
        preload=PRELOAD,
    )
    with closing(delivered):
        for source, item in delivered:
            if isinstance(item, worker_pool.WorkerFailure):
                raise ExtractionError(
                    f"{source.path}: {decoder}: {item.reason}; take it out of the collection to be measured"
                )
            frames += item[0]
            served[item[1]] += 1
    cost = watch.cost(frames)
    others = [f"{count} videos by {by}" for by, count in served.items() if decoder not in ("auto", by)]
    return replace(cost, note=", ".join(others))


def resize(material: Material, preprocess: Preprocess) -> Cost:
    """Resize and crop as many frames of each size as are sampled, in one thread, as a worker does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        watch = Watch()
        frames = 0
        for video in material.videos.values():
            for part in material.clips(video):
                frames += len(preprocess(material.stock[video.size][: part.stop - part.start]))
        return watch.cost(frames)
    finally:
        torch.set_num_threads(threads)


def network(extractor: Extractor, *, data: ReadyFrames, trainer: Callable[[Callback], Trainer]) -> Cost:
    """Run the network over as many frames as are sampled, in Lightning's loop and the batches of a run.

    `trainer`: makes one with this callback.
    """
    taker = _Taker(at_sigterm=signal.getsignal(signal.SIGTERM))
    said = logging.getLogger("vfx.extraction.datamodules")
    said.setLevel(logging.WARNING)  # that nobody reads here
    try:
        trainer(taker).predict(extractor, datamodule=data, return_predictions=False)
    finally:
        extractor.close()
        said.setLevel(logging.NOTSET)
    assert taker.cost is not None
    return taker.cost


class ReadyFrames(SourceDataModule):
    """The videos of a material as a run would have them, but that nothing is read: of each size the same frames come
    again and again, ready for the network. `shared` is what every dataset takes."""

    kind = "video"
    divides = False

    def __init__(self, material: Material, **shared: Any) -> None:
        super().__init__(**shared, num_workers=0, piece_cost=1)
        self._material = material
        self.plan(material.sources, done=())

    def read_by(self, preprocessors: Preprocessors) -> Read:
        assert not isinstance(preprocessors, Promise)
        natives = self._material.stock.items()
        stock = {size: [preprocess(frames).numpy() for preprocess in preprocessors] for size, frames in natives}
        return partial(self._clips, stock)

    def _clips(self, stock: Mapping[Size, list[NDArray[np.uint8]]], source: VideoSource) -> Iterator[Clip]:
        video = self._material.videos[source.id]
        for part in self._material.clips(video):
            index = np.arange(part.start, part.stop)
            views = [view[: len(index)] for view in stock[video.size]]
            yield Clip(source.id, views, index, index / 2, first=part.start == 0, last=part.stop == video.rows)


class _Taker(Callback):
    """Takes features as the writer does, which are then dropped, and measures from the first batch to the last.

    `at_sigterm`: what that signal did before, in place of Lightning's handler, which only notes it.
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
        self._watch = Watch()

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, *_: Any, **__: Any
    ) -> None:
        assert isinstance(pl_module, Extractor)
        self._pending.append(outputs)
        while len(self._pending) > pl_module.depth:
            self._take()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        while self._pending:
            self._take()
        self.cost = self._watch.cost(self._frames)

    def _take(self) -> None:
        (features,), _ = self._pending.popleft().result()
        self._frames += len(features)


def ready(extractor: Extractor, *, batch_size: int | None, rows: int, trainer: Trainer) -> Cost:
    """Run the network alone over images that are ready where it runs, in the batches of a run, `rows` frames at least:
    the most that it could do if nothing else were to be done."""
    (encoder,) = extractor.encoders
    assert isinstance(encoder, Encoder)
    extractor.trainer = trainer
    try:
        extractor.setup("predict")
        trainer.precision_plugin.convert_module(extractor)
        extractor.eval().to(trainer.strategy.root_device)
        with torch.inference_mode(), extractor.autocast():
            frames = batch_size or extractor.default_batch_size()
            extractor.forward([[_frames(encoder, frames, extractor.device)]])  # finds what memory suffices for
            count = encoder.crops_per_pass(frames)
            images = encoder.network_input(_frames(encoder, count, extractor.device))

        def work() -> list[torch.Tensor]:
            with torch.inference_mode(), extractor.autocast():
                return [encoder.run(images).float()]

        for _ in range(3):  # the first may choose algorithms
            extractor.submit(work).result()
        batches = math.ceil(rows * encoder.crops / count)
        pending: deque[Pending] = deque()
        watch = Watch()
        for _ in range(batches):
            pending.append(extractor.submit(work))
            while len(pending) > extractor.depth:
                pending.popleft().result()
        while pending:
            pending.popleft().result()
        return replace(watch.cost(batches * count // encoder.crops), note=f"{count} images a batch")
    finally:
        extractor.close()


def _frames(encoder: Encoder, count: int, device: torch.device) -> torch.Tensor:
    side = encoder.preprocess.transform.crop
    return torch.randint(256, (count, side, side, 3), dtype=torch.uint8, device=device)


def operations(encoder: Encoder) -> int:
    """Floating-point operations of one image in the network, a multiplication and an addition counted as two."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        encoder.run(encoder.network_input(_frames(encoder, 1, torch.device("cpu"))))
    return counter.get_total_flops()


def peak(device: torch.device, precision: str, *, tf32: bool) -> float:
    """Floating-point operations a second that the product of two large matrices reaches on a device."""
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


def write(material: Material, folder: Path, *, shape: tuple[int, ...], **options: Any) -> Cost:
    """Commit rows of this shape in parts and make the one file of them. `options`: those of PartWriter."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((max(map(len, material.stock.values())), *shape), np.float32)
    attributes = {"feature": "bench", "collection": "bench", "config": "", "provenance": json.dumps({"recipe": {}})}
    output = OutputFolder(folder)
    watch = Watch()
    with output.locked():
        output.prepare({}, overwrite=True)
        parts = PartWriter(output, shape=shape, attributes=attributes, **options)
        for id, video in material.videos.items():
            parts.start(id)
            for part in material.clips(video):
                index = np.arange(part.start, part.stop)
                parts.append(id, rows[: len(index)], index, index / 2)
            parts.finish(id, [], "pyav")
        parts.close()
        output.assemble(attributes)
    cost = watch.cost(material.rows)
    cost = replace(cost, frames=_rows(output.features))
    shutil.rmtree(folder)
    return cost


def extract(config: Mapping[str, Any], folder: Path) -> Cost:
    """Run `vfx.extract` of a resolved config in a process of its own, from its start to its end."""
    printed, cost = _command(["-m", "vfx.extract"], config, folder)
    cost = replace(cost, frames=_rows(Path(printed)))
    shutil.rmtree(folder)
    return cost


def replaced(script: Path, config: Mapping[str, Any], folder: Path) -> Cost:
    """Run a script that makes the same features in another way; its last line is JSON that counts `frames`, and the
    `seconds` of each step."""
    printed, cost = _command([str(script)], config, folder)
    told = json.loads(printed)
    shutil.rmtree(folder)
    return replace(cost, frames=told["frames"], steps=told["seconds"])


def _command(program: list[str], config: Mapping[str, Any], folder: Path) -> tuple[str, Cost]:
    """Run a program of this Python on a resolved config; its last line, and what it took, but for the frames.

    What it writes goes below `folder`. Raises ExtractionError where it fails.
    """
    folder.mkdir(parents=True)
    command = job_process.command(program, {**config, "output_dir": str(folder / "out")}, folder / "bench_run.yaml")
    machine = process_usage.machine_seconds()
    done, taken = process_usage.run(command)
    others = max(0.0, process_usage.machine_seconds() - machine - taken.processor)
    if done.returncode:
        raise ExtractionError(f"{subprocess.list2cmdline(command)} failed: {done.stderr[-SHOWN:]}")
    return done.stdout.splitlines()[-1], Cost(taken.wall, taken.processor, 0, others)


def _rows(features: Path) -> int:
    """Raises ExtractionError where something could not be read."""
    with FeatureFile(features) as file:
        if file.failures:
            raise ExtractionError(
                f"{features}: {len(file.failures)} failures; the first: {file.failures[0]}; take these videos"
                " out of the collection to be measured"
            )
        return int(file.features.shape[0])
