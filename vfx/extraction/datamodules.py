"""The two datasets, as Lightning DataModules: videos decoded on the fly, and folders of frames cut before."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Collection as Container
from functools import partial

import numpy as np
import torch
from pytorch_lightning import LightningDataModule

from vfx import validation
from vfx.collection.collection import Collection
from vfx.collection.source import Chunk, VideoSource
from vfx.decoding import ChunkReader, check_decoder
from vfx.decoding.limits import Limits
from vfx.extraction.batching import Batch, Batches
from vfx.extraction.clips import Clip, read_frames, read_video
from vfx.extraction.lightning_module import Extractor
from vfx.extraction.parallel_reader import ParallelReader
from vfx.extraction.work_sharing import divide, share
from vfx.models.transforms import Preprocess
from vfx.outputs.counters import RunCounters
from vfx.sampling.timeline import Sampler, Timeline
from vfx.system.cpu_count import cores

log = logging.getLogger(__name__)
Read = Callable[[VideoSource], Iterator[Clip]]
UNIT_BYTES = 8 << 20  # of a video: a second or two of decoding, beside which listing its packets is little
UNIT_FRAMES = 256  # of a folder of frames: about as long


class SourceDataModule(LightningDataModule):
    """What both datasets share: what is left to do, its sharing out over ranks, and the batches.

    `plan` comes first, on rank 0. `setup` starts the decoding workers, which read ahead while the network is made
    ready; whoever runs the predict loop calls `close` in the end.

    Args:
        collection: whose videos or frames are read.
        sample: the sampler; is called on an empty timeline at once, which refuses options out of range.
        limits: what a file may ask for.
        batch_size: frames; None takes it from the device.
        num_workers: decoding processes; None takes it from the machine.
        piece_cost: the least cost of each chunk of a source that is divided, in the unit of `VideoSource.cost`; runs
            that go on with each other's chunks must agree on it.
        counters: gain what has been read.
        check: is called again and again while batches are made; ends the run by raising.
    """

    kind: str  # the name of the dataset in configs and recipes
    divides = True

    def __init__(
        self,
        collection: Collection,
        *,
        sample: Sampler,
        limits: Limits,
        batch_size: int | None = None,
        num_workers: int | None = None,
        piece_cost: int,
        counters: RunCounters | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__()
        if batch_size is not None:
            validation.whole("batch_size", batch_size, least=1)
        if num_workers is not None:
            validation.whole("dataset.num_workers", num_workers, least=0)
        validation.whole("dataset.piece_cost", piece_cost, least=1)
        sample(Timeline(np.empty(0), np.empty(0, bool)))
        self.collection = collection
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.piece_cost = piece_cost
        self.planned: list[VideoSource] = []
        self.todo: list[VideoSource] = []
        self._sample = sample
        self._limits = limits
        self._check = check
        self._counters = counters or RunCounters()
        self._begun: Container[tuple[str, Chunk]] = frozenset()
        self._copying: torch.cuda.Stream | None = None
        self._reader: ParallelReader | None = None
        self._divided: list[str] = []  # the ids of long videos, once for each of their chunks

    def sources(self) -> list[VideoSource]:
        """All that the collection holds, sorted by id."""
        raise NotImplementedError

    def read_by(self, preprocessors: Sequence[Preprocess]) -> Read:
        """How a worker reads one source, with a view for each preprocessor; is pickled to the workers."""
        raise NotImplementedError

    def plan(
        self,
        sources: list[VideoSource],
        *,
        done: Container[str] = frozenset(),
        chunks: Container[tuple[str, Chunk]] = frozenset(),
    ) -> None:
        """Say what is to be read: all ranks take the first rank's list.

        Args:
            sources: those of this run.
            done: ids of videos that need not be read again.
            chunks: units that need not be read again, of videos that are not done.
        """
        self.planned = [source for source in sources if source.id not in done]
        self._begun = chunks

    def setup(self, stage: str) -> None:
        trainer = self.trainer
        assert trainer is not None
        assert isinstance(trainer.lightning_module, Extractor)
        if self.num_workers is None:
            # One a core, also where the network runs on the same cores: readers that are ahead sleep.
            self.num_workers = max(1, cores() // trainer.num_devices)
        todo = self.planned
        if self.divides:
            consumers = max(1, self.num_workers) * trainer.world_size
            todo = divide(todo, consumers, piece_cost=self.piece_cost, begun=self._begun)
            self._divided = [source.id for source in todo if source.chunk is not None]
        # One list for all: the collection may change while they start, and machines differ.
        todo = trainer.strategy.broadcast(todo)
        self.todo = share(todo, trainer.global_rank, trainer.world_size)
        self._reader = ParallelReader(
            self.todo,
            self.read_by(trainer.lightning_module.preprocessors),
            num_workers=min(self.num_workers, len(self.todo)),
            limits=self._limits,
            counters=self._counters,
            check=self._check,
        )
        self._reader.start()

    def close(self) -> None:
        """End the decoding workers."""
        if self._reader is not None:
            self._reader.close()

    def predict_dataloader(self) -> Batches:
        assert self.trainer is not None and self._reader is not None
        extractor = self.trainer.lightning_module
        assert isinstance(extractor, Extractor)
        if self.batch_size is None:
            self.batch_size = extractor.default_batch_size()
        if self.trainer.is_global_zero:
            if self._divided:
                log.info("%d long videos are read in %d pieces", len(set(self._divided)), len(self._divided))
            log.info("%s, %s, %d frames a batch", self._reader.placed, extractor.placed, self.batch_size)
        return Batches(self._reader, self.batch_size, pinned=extractor.device.type == "cuda")

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """The batch where the network is; a GPU copies it while it is busy with the one before."""
        if device.type != "cuda":
            return batch.to(device)
        if self._copying is None:
            self._copying = torch.cuda.Stream(device)
        with torch.cuda.stream(self._copying):
            moved = batch.to(device)
        stream = torch.cuda.current_stream(device)
        stream.wait_stream(self._copying)
        for run in (run for view in moved.views for run in view):
            run.record_stream(stream)  # its memory is not free before the network has read it
        return moved


class VideoDataModule(SourceDataModule):
    """Videos of a collection, decoded on the fly. `decoder`: auto, decord, pyav or torchcodec."""

    kind = "video"

    def __init__(
        self, collection: Collection, *, decoder: str = "auto", piece_cost: int = UNIT_BYTES, **shared: object
    ) -> None:
        super().__init__(collection, piece_cost=piece_cost, **shared)  # type: ignore[arg-type]
        check_decoder(decoder)
        self._decoder = decoder
        self.divides = decoder in ("auto", ChunkReader.decoder)

    def sources(self) -> list[VideoSource]:
        return self.collection.videos()

    def read_by(self, preprocessors: Sequence[Preprocess]) -> Read:
        return partial(
            read_video, sample=self._sample, decoder=self._decoder, preprocessors=preprocessors, limits=self._limits
        )


class FrameDataModule(SourceDataModule):
    """Frames cut before, in a collection's `ImageData`. Their times come from the videos where those are there."""

    kind = "frame"

    def __init__(self, collection: Collection, *, piece_cost: int = UNIT_FRAMES, **shared: object) -> None:
        super().__init__(collection, piece_cost=piece_cost, **shared)  # type: ignore[arg-type]

    def sources(self) -> list[VideoSource]:
        return self.collection.frame_folders()

    def read_by(self, preprocessors: Sequence[Preprocess]) -> Read:
        return partial(read_frames, sample=self._sample, preprocessors=preprocessors, limits=self._limits)
