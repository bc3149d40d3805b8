"""The prediction writer: a Lightning callback that commits finished videos as the run goes on."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter

from vfx import validation
from vfx.collection.source import VideoSource
from vfx.errors import ExtractionError, Interrupted, UsageError
from vfx.extraction.batching import Batch
from vfx.extraction.lightning_module import Extractor
from vfx.extraction.rank_barrier import RankBarrier
from vfx.features.rows import Failure
from vfx.inference.executors import Pending
from vfx.outputs.counters import RunCounters
from vfx.outputs.output_folder import OutputFolder
from vfx.outputs.part_writer import PartWriter
from vfx.outputs.throughput import Recorder
from vfx.text import first_few

log = logging.getLogger(__name__)
DTYPES = ("float32", "float16")


class FeatureWriter(BasePredictionWriter):
    """Writes the rows of each encoder to its output: parts while the run goes on, `features.h5` at its end, by rank 0.

    Args:
        outputs: one for each encoder of the extractor, whose `attributes` they take.
        counters: gain what has been written.
        check: is called while ranks wait for each other; ends that by raising.
        dtype: float32 or float16.
        commit_mb: finished videos wait in memory until they are this many MiB; a crash loses no more than that.
        commit_seconds: or until they are this old.
        silence_seconds: without a heartbeat before a rank counts as lost.

    Attributes:
        total: after the run, the counters of all ranks together.

    Raises:
        UsageError: a value is out of range.
    """

    def __init__(
        self,
        outputs: Sequence[OutputFolder],
        *,
        counters: RunCounters | None = None,
        check: Callable[[], None] = lambda: None,
        dtype: str = "float32",
        commit_mb: float = 64,
        commit_seconds: float = 60,
        silence_seconds: float = 600,
    ) -> None:
        super().__init__(write_interval="batch")
        if dtype not in DTYPES:
            raise UsageError(f"writer.dtype ({dtype}) must be one of {', '.join(DTYPES)}")
        validation.number("writer.commit_mb", commit_mb, least=0)
        validation.number("writer.commit_seconds", commit_seconds, least=0)
        validation.number("writer.silence_seconds", silence_seconds, above=0)
        self.total = RunCounters()
        self._outputs = outputs
        self._counters = counters or RunCounters()
        self._check = check
        self._new_part_writer = partial(PartWriter, dtype=dtype, commit_mb=commit_mb, commit_seconds=commit_seconds)
        self._silence_seconds = silence_seconds
        self._parts: list[PartWriter] = []
        self._pending: deque[tuple[Batch, Pending]] = deque()
        self._barrier: RankBarrier | None = None
        self._recorder: Recorder | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        assert isinstance(pl_module, Extractor)
        self._parts = [
            self._new_part_writer(output, shape=shape, attributes=attributes)
            for output, shape, attributes in zip(self._outputs, pl_module.row_shapes, pl_module.attributes, strict=True)
        ]
        # before a batch is fetched
        self._recorder = Recorder(self._counters, [output.parts for output in self._outputs])
        if trainer.world_size > 1:
            self._barrier = RankBarrier(silence=self._silence_seconds, check=self._check)

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: Pending,
        batch_indices: Sequence[int] | None,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        assert isinstance(pl_module, Extractor)
        self._pending.append((batch, prediction))
        while len(self._pending) > pl_module.depth:
            self._write()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        while self._pending:
            self._write()

    def _write(self) -> None:
        """Wait for the features of the oldest batch, and hand them to the parts."""
        batch, prediction = self._pending.popleft()
        with self._counters.time("network"):
            features, seconds = prediction.result()
        self._counters.threads += seconds
        with self._counters.time("writing"):
            failures = [self._add(batch, parts, rows) for parts, rows in zip(self._parts, features, strict=True)]
        for found in zip(*failures, strict=True):
            self._counters.failures.update(failure.stage for failure in set().union(*found))
        self._counters.frames += len(batch)
        if self._recorder is not None:
            self._recorder.sample()

    def _add(self, batch: Batch, parts: PartWriter, rows: NDArray[np.float32]) -> list[list[Failure]]:
        """Give one encoder's rows to its parts; returns the failures of each video that ends in the batch."""
        failures = []
        at = 0
        for span in batch.spans:
            stop = at + len(span)
            if span.first:
                parts.start(span.video, span.chunk)
            parts.append(span.video, rows[at:stop], span.index, span.seconds, span.chunk)
            at = stop
            if span.last:
                failures.append(parts.finish(span.video, span.failures, span.decoder, span.chunk))
        return failures

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, Interrupted):  # nothing is wrong with what is in the network
            self.on_predict_end(trainer, pl_module)
        self._pending.clear()
        self._close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        assert isinstance(pl_module, Extractor)
        with self._counters.time("writing"):
            self._close()
        self.total = self._counters
        if self._barrier is not None:
            self._barrier.wait()  # until all have written their rows
            self.total = sum(self._barrier.gather(self._counters), RunCounters())
        complete = False
        try:
            if trainer.is_global_zero:
                with self.total.time("writing"):
                    self._assemble(trainer.datamodule.planned, pl_module.attributes)  # type: ignore[attr-defined]
                complete = True
        finally:
            if self._barrier is not None:
                self._barrier.wait()  # nobody leaves before the file is there
                complete = any(self._barrier.gather(complete))
        if not complete:  # whoever started the ranks should hear of it from all
            raise ExtractionError("the first rank could not make the file, and says why")

    def _close(self) -> None:
        """Commit what is finished, drop the rest, and end the record of the run's speed."""
        for parts in self._parts:
            parts.close()
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None

    def _assemble(self, planned: Sequence[VideoSource], attributes_by_output: Sequence[Mapping[str, str]]) -> None:
        """Merge the parts of each output. Raises ExtractionError where a video is in none of them."""
        for output, attributes in zip(self._outputs, attributes_by_output, strict=True):
            if output.is_complete():
                continue
            if missing := output.missing(source.id for source in planned):
                raise ExtractionError(
                    f"{len(missing)} of {len(planned)} videos were not delivered ({first_few(missing)}); the others are"
                    " kept: run the same command again"
                )
            output.assemble(attributes)
