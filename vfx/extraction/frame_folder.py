"""Reads the frames of a folder that were cut before, `<video id>_<index>.jpg`, as a decoder reads those of a video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vfx.collection.collection import FRAME_FORMATS, FRAME_SUFFIXES
from vfx.collection.ids import split_frame_id
from vfx.collection.source import VideoSource
from vfx.decoding import Frame, cached_timeline
from vfx.decoding.limits import Limits
from vfx.errors import SamplerError, VideoError
from vfx.features.rows import Failure
from vfx.sampling.timeline import Sampler, Timeline
from vfx.system import heartbeat

UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError, VideoError)


class FrameFolder:
    """Iterates over the sampled frames of a folder, ascending by index.

    Their times are those of the video that they were cut from, NaN where that is not at hand. An unreadable frame is a
    failure of its video, and the rest is read.

    Args:
        source: the folder, or a chunk of its frames.
        sample: which of the frames are taken.
        limits: how many frames of which size are accepted.

    Raises:
        VideoError: the sampler cannot use the times, or a frame of a chunk cannot be read.
    """

    decoder = "pillow"
    discarded = False  # frames that were read stay valid

    def __init__(self, source: VideoSource, sample: Sampler, *, limits: Limits) -> None:
        self.failures: list[Failure] = []
        self.share = 0.0  # of the sampled frames that have been read
        self._source = source
        self._limits = limits
        self._paths = self._find_frames()
        limits.check_count(f"the folder of {source.id}", len(self._paths))
        self._indices = np.array(sorted(self._paths), np.int64)
        self._seconds = self._read_times()
        self._chosen = self._choose(sample)

    def __iter__(self) -> Iterator[Frame]:
        unread = []
        for n, i in enumerate(self._chosen):
            self.share = n / len(self._chosen)
            path = self._paths[int(self._indices[i])]
            try:
                with Image.open(path, formats=FRAME_FORMATS) as image:
                    self._limits.check_size("it", *image.size)
                    pixels = np.asarray(image.convert("RGB"))
            except UNREADABLE as error:
                unread.append(f"{path.name}: {error}")
                continue
            heartbeat.tick()
            yield Frame(int(self._indices[i]), float(self._seconds[i]), pixels, False)
        if unread:
            problem = f"{len(unread)} of {len(self._chosen)} frames cannot be read, the first being {unread[0]}"
            if self._source.chunk is not None:
                raise VideoError(problem)
            self._fail("decode", problem)

    def _fail(self, stage: str, why: str) -> None:
        self.failures.append(Failure(self._source.id, stage, why))

    def _choose(self, sample: Sampler) -> NDArray[np.int64]:
        """Which frames are read, as positions in `_indices`."""
        timeline = Timeline(self._seconds, np.ones(len(self._indices), bool), video=self._source.id)
        try:
            chosen = sample(timeline) if len(timeline) else self._indices
        except SamplerError as error:  # its options are right, so it is the times that it cannot use
            raise VideoError(str(error)) from error
        if self._source.chunk is None:
            return chosen
        begin, end, total = self._source.chunk
        return chosen[len(chosen) * begin // total : len(chosen) * end // total]

    def _find_frames(self) -> dict[int, Path]:
        """The frames by index. A name that does not fit, or an index that two files have, is a failure."""
        paths: dict[int, Path] = {}
        for path in sorted(Path(self._source.path).iterdir()):
            if path.suffix.lower() not in FRAME_SUFFIXES or path.name.startswith("."):
                continue
            try:
                video, index = split_frame_id(path.stem)
                if video != self._source.id:
                    raise ValueError(f"frame {path.name} is in the folder of video {self._source.id}")
                if index in paths:
                    raise ValueError(f"{path.name} and {paths[index].name} are the same frame")
                paths[index] = path
            except ValueError as error:
                self._fail("open", str(error))
        return paths

    def _read_times(self) -> NDArray[np.float64]:
        """Seconds of each frame, from the video where the collection has it."""
        seconds = np.full(len(self._indices), np.nan)
        if self._source.video is None:
            return seconds
        try:
            known = cached_timeline(Path(self._source.video)).seconds
        except VideoError as error:
            self._fail("open", f"the times of its frames are unknown: {error}")
            return seconds
        inside = self._indices < len(known)
        seconds[inside] = known[self._indices[inside]]
        if not inside.all():
            self._fail(
                "open",
                f"{(~inside).sum()} frames, the first {self._indices[~inside][0]}, lie beyond the {len(known)} of"
                f" {self._source.video}, and their times are unknown: were they cut from it?",
            )
        return seconds
