"""Cuts one video to a folder of frames, which appears whole."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from vfx.collection.source import VideoSource
from vfx.cutting.frame_folder import publish, remove, temporary_folder
from vfx.cutting.image_format import ImageFormat
from vfx.cutting.record import Cut, file_identity, write_record
from vfx.decoding import Frame, VideoReader
from vfx.decoding.limits import UNLIMITED, Limits
from vfx.sampling.timeline import Sampler
from vfx.system.files import write_error


@dataclass(frozen=True)
class Cutter:
    """Cuts a video to its folder. Can be pickled.

    Args:
        images: the folder of all folders.
        sample: chooses frame indices (m,) from the timeline.
        decoder: the backend that is tried first, or "auto".
        format: of the frames.
        recipe: written into the folder's record.
        limits: what the video may ask of the machine.
    """

    images: Path
    sample: Sampler
    decoder: str
    format: ImageFormat
    recipe: Mapping[str, Any]
    limits: Limits = UNLIMITED

    def __call__(self, source: VideoSource) -> Cut:
        """Cut a video, of which no frame may be there; never raises for a bad video.

        Raises:
            OutputError: The disk does not take the frames.
        """
        temporary = temporary_folder(self.images, source.id)
        video = file_identity(source)
        try:
            temporary.mkdir()
            try:
                cut = self._decode(source, temporary)
                if cut.cut:
                    write_record(temporary, cut, self.recipe, video)
                    publish(temporary, self.images / source.id, source.id)
            finally:
                if temporary.exists():
                    remove(temporary, source.id)
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                return Cut(source.id, stage="write", problem="its id is too long for the names of its frames")
            raise write_error(self.images / source.id, error) from error
        return cut

    def _decode(self, source: VideoSource, folder: Path) -> Cut:
        """Write a video's frames to a folder."""
        reader = VideoReader(
            source.path,
            lambda timeline: self.sample(replace(timeline, video=source.id)),
            decoder=self.decoder,
            limits=self.limits,
        )
        width = height = written = 0
        unsaved = ""
        for frame in reader:
            if frame.first and written:  # the reading starts over
                _empty(folder)
                written = 0
            if not written:
                height, width = frame.pixels.shape[:2]
            unsaved = self._save(frame, folder / f"{source.id}_{frame.index}.{self.format.format}")
            if unsaved:
                break
            written += 1
        if reader.discarded and written:
            _empty(folder)
            written = 0
        timeline = reader.timeline
        return Cut(
            source.id,
            rate=timeline.rate if timeline else 0.0,
            frames=len(timeline) if timeline else 0,
            width=width,
            height=height,
            cut=written,
            decoder=reader.decoder,
            stage="write" if unsaved else reader.stage,
            problem=unsaved or reader.problem,
        )

    def _save(self, frame: Frame, path: Path) -> str:
        """Write a frame; returns why its format cannot hold it, else ""."""
        try:
            self.format.save(frame.pixels, path)
        except (ValueError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            path.unlink(missing_ok=True)
            return f"frame {frame.index} cannot be saved as {self.format.format}: {error}"  # JPEG's 65,500 pixels
        return ""


def survey(source: VideoSource) -> Cut:
    """What a video is, from its first frame; nothing is cut."""
    reader = VideoReader(source.path, lambda timeline: np.arange(min(1, len(timeline))))
    for frame in reader:
        assert reader.timeline is not None
        height, width = frame.pixels.shape[:2]
        return Cut(source.id, reader.timeline.rate, len(reader.timeline), width, height)
    return Cut(source.id, stage=reader.stage, problem=reader.problem)


def _empty(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()
