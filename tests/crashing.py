"""Datasets whose decoders really crash, hang or take all memory; workers can import them."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from vfx.collection.source import VideoSource
from vfx.extraction.clips import Clip
from vfx.extraction.datamodules import Read, VideoDataModule
from vfx.models.transforms import Preprocess

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
