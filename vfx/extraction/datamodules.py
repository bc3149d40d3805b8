"""The two datasets, as Lightning DataModules: videos decoded on the fly, and folders of frames cut before."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
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
from vfx.extraction.clips import Clip, Preprocessors, Sampler, read_frames, read_video
from vfx.extraction.lightning_module import Extractor
from vfx.extraction.parallel_reader import Batch, Batches, Reader, divide, share
from vfx.outputs.counters import RunCounters
from vfx.sampling.timeline import Timeline
from vfx.system.cpu_count import cores

log = logging.getLogger(__name__)
Read = Callable[[VideoSource], Iterator[Clip]]
PIECE_BYTES = 8 << 20  # of a video: a second or two of decoding, beside which listing its packets is little
PIECE_FRAMES = 256  # of a folder of frames: about as long


class SourceDataModule(LightningDataModule):
    """What both datasets share: what remains to be done, its sharing out over ranks, and the batches.

    `batch_size`: frames; `num_workers`: processes that read; None takes both from the machine. `piece_cost`: what each
    piece of a source that is divided costs at least, in the unit of `VideoSource.cost`; runs that go on with each
    other's pieces
    must agree on it. `check` is called again and again while batches are made, and ends the run by raising.
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
        sample(Timeline(np.empty(0), np.empty(0, bool)))  # refuses options out of range before any work
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
        self._reader: Reader | None = None
        self._chunks: Counter[str] = Counter()  # of each video that is divided

    def sources(self) -> list[VideoSource]:
        """All that the collection holds, sorted by id."""
        raise NotImplementedError

    def read_by(self, preprocessors: Preprocessors) -> Read:
        """How a worker reads one source, for networks that want frames in these ways; pickled to the workers."""
        raise NotImplementedError

    def plan(
        self, sources: list[VideoSource], *, done: Container[str], chunks: Container[tuple[str, Chunk]] = frozenset()
    ) -> None:
        """What remains of the sources, of some a few `chunks` less; on the first rank, whose list all work from."""
        planned = [s for s in sources if s.id not in done]
        if planned != self.planned or chunks != self._begun:
            self.close()  # what was begun is out of date
        self.planned, self._begun = planned, chunks

    def begin(self, preprocessors: Preprocessors) -> None:
        """Start to read ahead, where that was not begun, for a run that has one rank: while its network is made ready,
        or not even known, cores are idle."""
        if self._reader is not None:
            return
        self.todo = share(self._divided(ranks=1, ranks_here=1), 0, 1)
        self._reader = self._made_reader(preprocessors)
        self._reader.begin()

    def close(self) -> None:
        """End what reads, where that was begun."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def teardown(self, stage: str) -> None:
        self.close()

    def setup(self, stage: str) -> None:
        assert self.trainer is not None
        assert isinstance(self.trainer.lightning_module, Extractor)
        if self._reader is not None:  # begun
            return
        todo = self._divided(ranks=self.trainer.world_size, ranks_here=self.trainer.num_devices)
        # One list for all: the collection may change while they start, and machines differ.
        todo = self.trainer.strategy.broadcast(todo)
        self.todo = share(todo, self.trainer.global_rank, self.trainer.world_size)
        self._reader = self._made_reader(self.trainer.lightning_module.preprocessors)

    def _divided(self, *, ranks: int, ranks_here: int) -> list[VideoSource]:
        """What is planned, as all ranks are to share it out."""
        if self.num_workers is None:
            self.num_workers = default_workers(ranks=ranks_here)
        if not self.divides:
            return self.planned
        consumers = max(1, self.num_workers) * ranks
        todo = divide(self.planned, consumers, piece_cost=self.piece_cost, begun=self._begun)
        self._chunks = Counter(source.id for source in todo if source.chunk is not None)
        return todo

    def _made_reader(self, preprocessors: Preprocessors) -> Reader:
        assert self.num_workers is not None
        return Reader(
            self.todo,
            self.read_by(preprocessors),
            num_workers=min(self.num_workers, len(self.todo)),
            limits=self._limits,
            counters=self._counters,
            check=self._check,
        )

    def predict_dataloader(self) -> Batches:
        assert self.trainer is not None and self._reader is not None
        extractor = self.trainer.lightning_module
        assert isinstance(extractor, Extractor)
        if self.batch_size is None:
            self.batch_size = extractor.default_batch_size()
        if self.trainer.is_global_zero:
            if self._chunks:
                log.info("%d long videos are read in %d pieces", len(self._chunks), self._chunks.total())
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
        self, collection: Collection, *, decoder: str = "auto", piece_cost: int = PIECE_BYTES, **shared: object
    ) -> None:
        super().__init__(collection, piece_cost=piece_cost, **shared)  # type: ignore[arg-type]
        check_decoder(decoder)
        self._decoder = decoder
        self.divides = decoder in ("auto", ChunkReader.decoder)

    def sources(self) -> list[VideoSource]:
        return self.collection.videos()

    def read_by(self, preprocessors: Preprocessors) -> Read:
        return partial(
            read_video, sample=self._sample, decoder=self._decoder, preprocessors=preprocessors, limits=self._limits
        )


class FrameDataModule(SourceDataModule):
    """Frames cut before, in a collection's `ImageData`. Their times come from the videos where those are there."""

    kind = "frame"

    def __init__(self, collection: Collection, *, piece_cost: int = PIECE_FRAMES, **shared: object) -> None:
        super().__init__(collection, piece_cost=piece_cost, **shared)  # type: ignore[arg-type]

    def sources(self) -> list[VideoSource]:
        return self.collection.frame_folders()

    def read_by(self, preprocessors: Preprocessors) -> Read:
        return partial(read_frames, sample=self._sample, preprocessors=preprocessors, limits=self._limits)


def default_workers(*, ranks: int) -> int:
    """Reading processes for each rank on this machine: one a core, also where the network runs on the same cores, for
    whichever of the two is behind then gets them; readers that are ahead sleep."""
    return max(1, cores() // ranks)
