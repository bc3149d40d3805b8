"""Datasets whose decoders really crash, hang or take all memory; workers can import them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from pytorch_lightning import Trainer

from tests.conftest import LIMITS
from tests.feature_files import ATTRIBUTES
from vfx.collection.collection import find_collection
from vfx.collection.source import VideoSource
from vfx.extraction.clips import Clip
from vfx.extraction.datamodules import Read, VideoDataModule
from vfx.extraction.lightning_module import Extractor
from vfx.extraction.prediction_writer import FeatureWriter
from vfx.features.feature_file import FeatureFile
from vfx.inference.encoder import Encoder
from vfx.models import Network
from vfx.models.transforms import Preprocess
from vfx.outputs.output_folder import OutputFolder
from vfx.sampling.samplers import half_second

LIBC = ctypes.CDLL(None)


class CrashingVideos(VideoDataModule):
    """Videos whose decoder does, after their first clip, what their id says: segfaults, aborts, hangs, eats, trusts."""

    def read_by(self, preprocessors: Sequence[Preprocess]) -> Read:
        return partial(crash_by_id, read=super().read_by(preprocessors))


def crash_by_id(source: VideoSource, *, read: Read) -> Iterator[Clip]:
    yield replace(next(read(source)), last=False)
    match source.id.partition("_")[0]:
        case "segfaults":
            ctypes.string_at(0)
        case "aborts":
            LIBC.abort()
        case "hangs":
            LIBC.sleep(100_000)
        case "eats":
            eaten = []
            while True:
                eaten.append(bytearray(64 << 20))
        case "trusts":  # decord, of which vfx asks no such file
            import decord

            reader = decord.VideoReader(source.path, num_threads=1)
            reader.get_batch(list(range(0, len(reader), 12)))
    yield from read(source)


class CrashingChunk(VideoDataModule):
    """Videos whose chunk with the fourth unit crashes its decoder, after its first clip."""

    def read_by(self, preprocessors: Sequence[Preprocess]) -> Read:
        return partial(crash_in_chunk, read=super().read_by(preprocessors))


def crash_in_chunk(source: VideoSource, *, read: Read) -> Iterator[Clip]:
    if source.chunk is not None and source.chunk.begin <= 3 < source.chunk.end:
        yield replace(next(read(source)), last=False)
        ctypes.string_at(0)
    yield from read(source)


def extract_by(
    datamodule: type[VideoDataModule], collection: Path, folder: Path, network: Network, **options: int
) -> FeatureFile:
    """Extract a collection with two workers of one of these datasets, which may take a GB and be silent for 6 s."""
    output = OutputFolder(folder)
    output.prepare({}, overwrite=False)
    data = datamodule(
        find_collection(str(collection), "."),
        sample=half_second,
        limits=replace(LIMITS, patience=6, memory_gb=1),
        num_workers=2,
        **options,
    )
    data.plan(data.sources(), done=())
    trainer = Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[FeatureWriter([output])],
    )
    extractor = Extractor([Encoder(network)], attributes=[ATTRIBUTES])
    with closing(extractor), closing(data):
        trainer.predict(extractor, datamodule=data, return_predictions=False)
    return FeatureFile(output.features)
