"""Probes one video step by step: its content, headers, packets and frames, and what is wrong with each."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from vfx.collection.ids import is_storable
from vfx.collection.source import VideoSource
from vfx.decoding import AudioOnlyError, VideoReader, can_read, demux, headers, shortfall
from vfx.decoding.limits import Limits
from vfx.errors import LimitError, UsageError, VideoError
from vfx.probing.record import Record
from vfx.sampling.samplers import all_frames
from vfx.sampling.timeline import Sampler, Timeline
from vfx.system.files import sha256
from vfx.text import clean

OTHER_DECODERS = ("torchcodec", "decord")  # beside PyAV, which `auto` asks first; last the one that can hang


class Task(NamedTuple):
    """One video to probe.

    Args:
        number: its place in the collection.
        source: the video.
        digest: whether another file has its size, so that they may be copies.
        same: path of another file of its id, or "".
    """

    number: int
    source: VideoSource
    digest: bool
    same: str


class Finding(NamedTuple):
    """What is known of a video so far, and what is read next; "" when all has been."""

    record: Record
    step: str


@dataclass(frozen=True)
class Prober:
    """Probes one video, step by step. Can be pickled.

    Args:
        root: the collection's folder.
        sample: chooses frame indices (m,) from the timeline.
        limits: what the video may ask of the machine.
        packets: read all packets, for the number of frames, their times and the sampler.
        decode: decode all frames too, and ask each decoder for one.
    """

    root: Path
    sample: Sampler
    limits: Limits
    packets: bool = True
    decode: bool = False

    def __call__(self, task: Task) -> Iterator[Finding]:
        """Yield what is known before each step, then all; never raises for a bad video.

        Raises:
            UsageError: The sampler cannot be used.
        """
        record = self.begin(task)
        try:
            for step in self._steps(task, record):
                yield Finding(record, step)
        except UsageError:
            raise
        except LimitError as error:
            record.add_problem("limit", error)
        except AudioOnlyError as error:
            record.add_problem("sound", error)
        except VideoError as error:
            record.add_problem("open" if record.bytes or not Path(task.source.path).is_file() else "empty", error)
        except MemoryError:
            record.add_problem("limit", "it takes more memory than limits.memory_gb allows")
        except Exception as error:  # noqa: BLE001  (a library's surprise costs its video, not the run)
            record.add_problem("crash", f"unexpected {error!r}")
        yield Finding(record, "")

    def begin(self, task: Task) -> Record:
        """What is known of a video before it is opened."""
        source = task.source
        record = Record(clean(source.id), self.relative(source.path), source.cost)
        if not is_storable(source.id):
            record.add_problem("name", "its id holds what feature files cannot, such as white space; rename the file")
        if task.same:
            record.add_problem("same_id", f"{self.relative(task.same)} has this id too; rename one")
        return record

    def relative(self, path: str) -> str:
        """A path from the collection's folder, as the table has it."""
        return clean(os.path.relpath(path, self.root))

    def _steps(self, task: Task, record: Record) -> Iterator[str]:
        """Fill in the record; what is yielded says what comes next."""
        path = Path(task.source.path)
        if task.digest:
            yield "its content"
            with contextlib.suppress(OSError):  # the next step says so
                record.sha256 = sha256(path)
        yield "its headers"
        record.add_headers(headers(path))
        self.limits.check_size(path.name, record.width or 0, record.height or 0)
        if not self.packets:
            _check_first_frame(record)
            return
        yield "its packets"
        timeline = demux(path, self.limits)
        self._measure(task, record, timeline)
        if not self.decode:
            if lacking := shortfall(timeline):
                record.add_problem("short", lacking)
            _check_first_frame(record)
            return
        yield "its frames"
        timeline = self._decode(task, record)
        for decoder in OTHER_DECODERS:
            yield decoder
            if can_read(decoder, path, timeline):
                record.decoders = "+".join(filter(None, [record.decoders, decoder]))

    def _measure(self, task: Task, record: Record, timeline: Timeline) -> None:
        record.add_timeline(timeline)
        record.rows = len(self.sample(replace(timeline, video=task.source.id)))

    def _decode(self, task: Task, record: Record) -> Timeline:
        """Decode all frames; returns the timeline, which may have turned out another than that of the packets."""
        reader = VideoReader(task.source.path, all_frames, limits=self.limits)
        for _ in reader:
            pass
        if reader.timeline is None:  # it could be opened a moment ago
            raise VideoError(reader.problem)
        self._measure(task, record, reader.timeline)
        record.decoded, record.decoder = reader.decoded, reader.decoder
        if "pyav" in reader.decoder:
            record.decoders = "pyav"
        error = reader.problem  # one for both
        if reader.decoded < reader.expected:
            record.add_problem("damage", error)
            error = ""
        if shortfall(reader.timeline):
            record.add_problem("short", error)
        return reader.timeline


def _check_first_frame(record: Record) -> None:
    if record.rotation is None:
        record.add_problem("damage", "no frame can be decoded")
