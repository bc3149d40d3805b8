"""The networks' part of a run: batches of frames in, features on their way out."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.plugins.precision import MixedPrecision

from vfx import validation
from vfx.errors import ExtractionError
from vfx.extraction.batching import Batch
from vfx.extraction.precision import check_precision, float32_by_tf32
from vfx.inference.compilation import cache_folder
from vfx.inference.encoder import Encoder
from vfx.inference.executors import Executor, Pending, Work, executor_for, one_torch_thread
from vfx.models.transforms import Preprocess
from vfx.outputs.counters import RunCounters
from vfx.system import memory
from vfx.system.cpu_count import cores

log = logging.getLogger(__name__)
SIZES = (64, 256)  # images a batch that are tried on a GPU, which chooses algorithms for each
WORTH = 1.03  # times as fast: smaller gains are not worth the memory
COMPILED_IMAGES = 256
CPU_IMAGES = 8  # where larger batches leave the caches: lite0 48 images/s, at 32 a third less


class Extractor(LightningModule):
    """Runs encoders over the same frames, each decoded once. Call `close()` after the predict loop.

    Args:
        encoders: the networks.
        attributes: of each encoder's feature file, as the prediction writer writes them.
        num_threads: batches in the network at once on a CPU, each on one core; None takes all that this rank may use.
        tf32: whether a GPU may compute float32 by TensorFloat-32, of 10 bits in place of 23; torch would, in
            convolutions, without being asked.
        counters: gain the time spent in the networks.

    Attributes:
        preprocessors: how frames must have been made ready, no two the same.
        depth: how many batches should be submitted before the first is waited for.
        autocast: makes the context in which the networks compute.
    """

    def __init__(
        self,
        encoders: Sequence[Encoder],
        *,
        attributes: Sequence[Mapping[str, str]] = (),
        num_threads: int | None = None,
        tf32: bool = False,
        counters: RunCounters | None = None,
    ) -> None:
        super().__init__()
        if num_threads is not None:
            validation.whole("num_threads", num_threads, least=1)
        self.encoders = torch.nn.ModuleList(encoders)  # by which Lightning moves them
        self._encoders = list(encoders)
        self.preprocessors: list[Preprocess] = list(dict.fromkeys(encoder.preprocess for encoder in encoders))
        self.attributes = list(attributes)
        self.row_shapes = [encoder.row_shape for encoder in encoders]
        self.crops = max(encoder.crops for encoder in encoders)
        self.num_threads = num_threads
        self.depth = 0
        self._views = [self.preprocessors.index(encoder.preprocess) for encoder in encoders]
        self._counters = counters or RunCounters()
        self._executor: Executor | None = None
        self._tf32 = tf32
        self._restore = ExitStack()
        self.autocast: Any = nullcontext

    def setup(self, stage: str) -> None:
        device = self.trainer.strategy.root_device
        precision = str(self.trainer.precision)
        check_precision(precision, device.type, tf32=self._tf32)
        if device.type == "cuda":
            self._restore.enter_context(float32_by_tf32(self._tf32))
        plugin = self.trainer.precision_plugin
        if isinstance(plugin, MixedPrecision):  # the others work by the dtype of the weights
            self.autocast = plugin.predict_step_context
        if self.num_threads is None:
            self.num_threads = max(1, cores() // self.trainer.num_devices)
        for encoder in self._encoders:
            encoder.optimize(device.type, precision=precision, threads=self.num_threads, tf32=self._tf32)
        self._restore.enter_context(one_torch_thread())
        if device.type == "cpu":
            self._restore.enter_context(memory.keep_freed_memory())
        self._executor = executor_for(device, self.num_threads)
        self.depth = self._executor.depth

    def on_predict_start(self) -> None:
        """Compile what is to be compiled, once: threads that start together would each do it.

        What is compiled, like a GPU's choice of algorithms, is for one batch size; another would take seconds again.
        """
        assert self._executor is not None
        if self.device.type == "cuda" or any(encoder.compiles for encoder in self._encoders):
            for encoder in self._encoders:
                encoder.pad_batches(self.trainer.datamodule.batch_size)  # type: ignore[attr-defined]
        if any(encoder.compiles for encoder in self._encoders):
            log.info("compiling; what this machine has compiled before is kept in %s", cache_folder())
            views = self._blank(self.trainer.datamodule.batch_size)  # type: ignore[attr-defined]
            try:
                self._executor.submit(partial(self.forward, views)).result()
            except ExtractionError:
                raise
            except Exception as error:
                why = str(error).strip().splitlines()[:1] or [type(error).__name__]
                raise ExtractionError(
                    f"model.compile=true: the network cannot be compiled here ({why[0]}); on a processor that takes a"
                    " C++ compiler; model.compile=false does without"
                ) from error

    def default_batch_size(self) -> int:
        """Frames a batch that suit the device."""
        if self.device.type == "cpu":
            return max(1, CPU_IMAGES // self.crops)
        if any(encoder.compiles for encoder in self._encoders):
            return max(1, COMPILED_IMAGES // self.crops)  # each size would be compiled
        return self.find_batch_size()

    def find_batch_size(self) -> int:
        """The least number of frames, of those that make SIZES images, from which on more make it no faster."""
        best, rate = 1, 0.0
        for images in SIZES:
            frames = max(1, images // self.crops)
            faster = frames / self._seconds(self._blank(frames))
            if faster < rate * WORTH:
                break
            best, rate = frames, faster
        return best

    def _seconds(self, views: Sequence[Sequence[torch.Tensor]]) -> float:
        """The least that a batch took of a few; the first ones may choose algorithms."""
        taken = []
        with torch.inference_mode():
            for _ in range(5):
                start = time.perf_counter()
                for features in self.forward(views):
                    features.cpu()
                taken.append(time.perf_counter() - start)
        return min(taken[2:])

    def _blank(self, frames: int) -> list[list[torch.Tensor]]:
        sides = [preprocess.transform.crop for preprocess in self.preprocessors]
        return [[torch.zeros(frames, side, side, 3, dtype=torch.uint8, device=self.device)] for side in sides]

    @property
    def placed(self) -> str:
        """Where the networks run, in words."""
        if self.device.type == "cpu":
            running = "1 thread runs" if self.num_threads == 1 else f"{self.num_threads} threads run"
            return f"{running} the network, a core each"
        return f"the network runs on {self.device}"

    def close(self) -> None:
        """End the threads, and restore what was set in torch."""
        if self._executor is not None:
            self._executor.close()
        self._restore.close()

    def forward(self, views: Sequence[Sequence[torch.Tensor]]) -> list[torch.Tensor]:
        """Frames by preprocessor, as runs (t,h,w,3) uint8 -> their features, by encoder."""
        with self.autocast():
            return [encoder(views[view]) for encoder, view in zip(self._encoders, self._views, strict=True)]

    def predict_step(self, batch: Batch, batch_idx: int) -> Pending:
        """The features of the batch by encoder, (T,*row_shape) float32; only their `result()` waits."""
        with self._counters.time("network"):
            return self.submit(partial(self.forward, batch.views) if len(batch) else self._nothing)

    def submit(self, work: Work) -> Pending:
        """Run `work` where the networks run; only its `result()` waits."""
        assert self._executor is not None
        return self._executor.submit(work)

    def _nothing(self) -> list[torch.Tensor]:
        return [torch.empty(0, *shape) for shape in self.row_shapes]
