"""Decodes with torchcodec, guarded: it is believed only if its frame count and times are those of the packets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vfx.decoding.frame import Frame
from vfx.errors import UsageError, VideoError
from vfx.sampling.timeline import Timeline
from vfx.system import heartbeat
from vfx.system.optional_imports import need

BATCH_FRAMES = 16
BATCH_BYTES = 64 * 2**20

TOLERANCE = 1e-6
"""Seconds by which times may differ: both sides compute float64 from the same ticks."""


def load() -> Any:
    """Import torchcodec. Raises UsageError if it, or the FFmpeg it needs, is not installed."""
    try:
        need("torchcodec.decoders", extra="torchcodec", for_="decoder=torchcodec")
        library: Any = need("torchcodec", extra="torchcodec", for_="decoder=torchcodec")
        if getattr(library, "ffmpeg_major_version", 0) is None:  # since 0.17, only decoders raise if FFmpeg is missing
            raise RuntimeError("torchcodec could not load them")
    except (ImportError, OSError, RuntimeError) as error:
        raise UsageError(
            "decoder=torchcodec needs FFmpeg's shared libraries from the system, version 4 to 8, as the package ffmpeg"
            f" of most systems has them: {str(error).strip().splitlines()[0]}"
        ) from error
    return library


def frames(path: Path, timeline: Timeline, indices: NDArray[np.int64]) -> Iterator[Frame]:
    """Yield the frames at `indices` (ascending).

    Raises:
        VideoError: torchcodec fails or cannot be believed.
    """
    if timeline.pts is None:
        raise VideoError("torchcodec cannot be checked here: the container's times are not those of presentation")
    try:
        decoder = load().decoders.VideoDecoder(
            str(path.absolute()), dimension_order="NHWC", num_ffmpeg_threads=1, seek_mode="exact"
        )
        if len(decoder) != len(timeline):
            raise VideoError(f"torchcodec counts {len(decoder)} frames where the packets show {len(timeline)}")
        for some in _batches(decoder, indices):
            batch = decoder.get_frames_at(some.tolist())
            heartbeat.tick()
            if np.abs(batch.pts_seconds.numpy() - timeline.seconds[some]).max() > TOLERANCE:
                raise VideoError("torchcodec's times differ from those of the packets")
            for index, pixels in zip(some, batch.data.numpy(), strict=True):
                yield Frame(int(index), float(timeline.seconds[index]), pixels)
    except (RuntimeError, ValueError, IndexError) as error:
        raise VideoError(f"torchcodec: {str(error).strip().splitlines()[0]}") from error


def _batches(decoder: Any, indices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Split `indices` so that memory holds the frames of a part: torchcodec returns them in one tensor."""
    size = (decoder.metadata.height or 1) * (decoder.metadata.width or 1) * 3
    length = int(np.clip(BATCH_BYTES // size, 1, BATCH_FRAMES))
    return (indices[i : i + length] for i in range(0, len(indices), length))
