"""The prediction writer: a Lightning callback that commits finished videos as the run goes on."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import BasePredictionWriter

from vfx import validation
from vfx.collection.source import VideoSource
from vfx.errors import ExtractionError, Interrupted, UsageError
from vfx.extraction.lightning_module import Extractor
from vfx.extraction.parallel_reader import Batch
from vfx.extraction.rank_barrier import RankBarrier
from vfx.features.rows import Failure
from vfx.inference.executors import Pending
from vfx.outputs.counters import RunCounters
from vfx.outputs.output_folder import OutputFolder
from vfx.outputs.part_writer import PartWriter
from vfx.outputs.throughput import Recorder

log = logging.getLogger(__name__)
DTYPES = ("float32", "float16")
SHOWN = 5


class FeatureWriter(BasePredictionWriter):
    """Writes `features.h5` of each of `outputs`, one for each encoder of the extractor: parts while the run goes on,
    the whole at its end, by rank 0.

    `attributes`: of each file. `dtype`: float32 or float16. `commit_mb`, `commit_seconds`: finished videos wait in
    memory until they are this many MiB or this old; a crash loses no more than that.
    `silence_seconds`: ranks of which nothing is heard for so long are taken for gone.
    `check` is called while ranks wait for each other, and ends that by raising.
    After the run `total` is the tally of all ranks together.
    """

    def __init__(
        self,
        outputs: Sequence[OutputFolder],
        *,
        attributes: Sequence[Mapping[str, str]],
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
        self._attributes = attributes
        self._counters = counters or RunCounters()
        self._check = check
        self._dtype = dtype
        self._commit_mb = commit_mb
        self._commit_seconds = commit_seconds
        self._silence_seconds = silence_seconds
        self._parts: list[PartWriter] = []
        self._pending: deque[tuple[Batch, Pending]] = deque()
        self._meeting: RankBarrier | None = None
        self._recorder: Recorder | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        assert isinstance(pl_module, Extractor)
        self._parts = [
            PartWriter(
                output,
                shape=shape,
                dtype=self._dtype,
                attributes=attributes,
                commit_mb=self._commit_mb,
                commit_seconds=self._commit_seconds,
            )
            for output, shape, attributes in zip(self._outputs, pl_module.row_shapes, self._attributes, strict=True)
        ]
        self._recorder = Recorder(
            self._counters, [output.parts for output in self._outputs]
        )  # before a batch is fetched
        if trainer.world_size > 1:
            self._meeting = RankBarrier(silence=self._silence_seconds, check=self._check)

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
            stop = at + len(span.index)
            if span.start:
                parts.start(span.video, span.chunk)
            parts.append(span.video, rows[at:stop], span.index, span.seconds, span.chunk)
            at = stop
            if span.end:
                failures.append(parts.finish(span.video, span.failures, span.decoder, span.chunk))
        return failures

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if isinstance(exception, Interrupted):  # nothing is wrong with what is in the network
            self.on_predict_end(trainer, pl_module)
        self._pending.clear()
        for parts in self._parts:
            parts.close()
        self._close_record()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        with self._counters.time("writing"):
            for parts in self._parts:
                parts.close()
        self._close_record()
        counters_by_rank = [self._counters]
        if self._meeting is not None:
            self._meeting.wait()
            counters_by_rank = self._meeting.gather(self._counters)
        self.total = sum(counters_by_rank, RunCounters())
        whole = False
        try:
            if trainer.is_global_zero:
                with self.total.time("writing"):
                    self._finish(trainer.datamodule.planned)  # type: ignore[attr-defined]
                whole = True
        finally:
            if self._meeting is not None:
                self._meeting.wait()  # nobody leaves before the file is there
                whole = any(self._meeting.gather(whole))
        if not whole:  # whoever started the ranks should hear of it from all
            raise ExtractionError("the first rank could not make the file, and says why")

    def _close_record(self) -> None:
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None

    def _finish(self, planned: Sequence[VideoSource]) -> None:
        """Make the one file of the parts of each output. Raises ExtractionError where a video is in none of them."""
        for output, attributes in zip(self._outputs, self._attributes, strict=True):
            if output.is_complete():
                continue
            if missing := output.missing(source.id for source in planned):
                named = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
                raise ExtractionError(
                    f"{len(missing)} of {len(planned)} videos were not delivered ({named}); the others are kept:"
                    " run the same command again"
                )
            output.assemble(attributes)
