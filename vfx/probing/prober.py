"""Looks at videos before a long run: what each is, how many frames a sampler takes of it, and what is wrong with it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from vfx.collection.ids import is_storable
from vfx.collection.source import VideoSource
from vfx.decoding import AudioOnlyError, Headers, VideoReader, can_read, demux, headers, shortfall
from vfx.decoding.limits import Limits
from vfx.errors import LimitError, UsageError, VideoError
from vfx.sampling.samplers import all_frames
from vfx.sampling.timeline import Timeline
from vfx.system import heartbeat, worker_pool
from vfx.text import clean

# What can be wrong, as the table names it; docs/probe.md says what each means.
Problem = Literal["empty", "open", "sound", "short", "damage", "limit", "crash", "hang", "name", "same_id"]
OTHER_DECODERS = ("torchcodec", "decord")  # beside PyAV, which `auto` asks first; last the one that can hang
UNEVEN_SECONDS = (
    0.0015  # intervals between frames that differ by less are even: Matroska and FLV round to a millisecond
)
BLOCK_BYTES = 1 << 20

Sampler = Callable[[Timeline], NDArray[np.int64]]


@dataclass
class Record:
    """A row of the table: what is known of one video; None and "" where it is not.

    `path`: from the collection's folder. `width`, `height`: as shown. `rotation`: degrees counter-clockwise.
    `rate`: frames a second as the file states them. `promised`, `frames`, `decoded`: how many frames the header, the
    packets and the decoder have. `rows`: how many of them the sampler takes. `decoder`: who delivered under `auto`;
    `decoders`: all who agree with the packets and gave the first frame, joined by "+". `sha256`: of the content, where
    another file has the same size; `twin`: path of the first file that holds the very same. `problem`: each a Problem,
    joined by "+"; `error`: sentences that say what.
    """

    id: str
    path: str
    bytes: int
    container: str = ""
    codec: str = ""
    pixel_format: str = ""
    bits: int | None = None
    width: int | None = None
    height: int | None = None
    rotation: int | None = None
    rate: float | None = None
    variable: bool | None = None
    seconds: float | None = None
    promised: int | None = None
    frames: int | None = None
    decoded: int | None = None
    rows: int | None = None
    audio: str = ""
    decoder: str = ""
    decoders: str = ""
    sha256: str = ""
    twin: str = ""
    problem: str = ""
    error: str = ""

    def values(self) -> tuple[Any, ...]:
        """The row, in the order of COLUMNS."""
        return tuple(getattr(self, name) for name in COLUMNS)

    def add(self, problem: Problem, error: object) -> None:
        self.problem = "+".join(filter(None, [self.problem, problem]))
        self.error = "; ".join(filter(None, [self.error, clean(str(error))]))

    def describe(self, found: Headers) -> None:
        """Take over what the headers say; what they do not state stays unknown."""
        for field in fields(found):
            name = "promised" if field.name == "frames" else field.name
            value = getattr(found, field.name)
            setattr(self, name, (value or None) if name in ("bits", "rate", "seconds", "promised") else value)

    def measure(self, timeline: Timeline) -> None:
        """Take over what the packets show."""
        self.promised, self.frames = timeline.promised, len(timeline)
        self.variable = is_variable(timeline)
        self.seconds = duration(timeline)


COLUMNS: dict[str, type] = {
    name: (get_args(hint) or (hint,))[0] for name, hint in get_type_hints(Record).items()
}  # of `int | None`, int


class Task(NamedTuple):
    """One video to look at. `digest`: another file has its size; `same`: the path of another file of its id, or ""."""

    number: int
    source: VideoSource
    digest: bool
    same: str


class Tasks(Sequence[Task]):
    """All videos of a collection, sorted by id: nothing is held of each beside its source."""

    def __init__(self, sources: list[VideoSource]) -> None:
        self._sources = sources
        sizes, counts = np.unique(np.fromiter((s.cost for s in sources), np.int64, len(sources)), return_counts=True)
        self._shared = set(sizes[(counts > 1) & (sizes > 0)].tolist())

    def __len__(self) -> int:
        return len(self._sources)

    def __getitem__(self, number: Any) -> Any:
        source = self._sources[number]
        near = self._sources[max(0, number - 1) : number] + self._sources[number + 1 : number + 2]
        same = next((other.path for other in near if other.id == source.id), "")
        return Task(number, source, source.cost in self._shared, same)


class Finding(NamedTuple):
    """What is known of a video so far, and what is being looked at next; "" when all has been."""

    record: Record
    step: str


@dataclass(frozen=True)
class Prober:
    """Looks at one video, step by step. Can be pickled.

    `root`: the collection's folder. `packets`: read all packets, for the number of frames, their times and the sampler;
    `decode`: decode all frames too, and ask each decoder for one.
    """

    root: Path
    sample: Sampler
    limits: Limits
    packets: bool = True
    decode: bool = False

    def __call__(self, task: Task) -> Iterator[Finding]:
        """Never raises for a bad video; UsageError where the sampler cannot be used."""
        record = self.begin(task)
        try:
            for step in self._steps(task, record):
                yield Finding(record, step)
        except UsageError:
            raise
        except LimitError as error:
            record.add("limit", error)
        except AudioOnlyError as error:
            record.add("sound", error)
        except VideoError as error:
            record.add("open" if record.bytes or not Path(task.source.path).is_file() else "empty", error)
        except MemoryError:
            record.add("limit", "it takes more memory than limits.memory_gb allows")
        except Exception as error:  # noqa: BLE001  (a library's surprise costs its video, not the run)
            record.add("crash", f"unexpected {error!r}")
        yield Finding(record, "")

    def begin(self, task: Task) -> Record:
        """What is known of a video before it is opened."""
        source = task.source
        record = Record(clean(source.id), self.relative(source.path), source.cost)
        if not is_storable(source.id):
            record.add("name", "its id holds what feature files cannot, such as white space; rename the file")
        if task.same:
            record.add("same_id", f"{self.relative(task.same)} has this id too; rename one")
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
                record.sha256 = _digest(path)
        yield "its headers"
        record.describe(headers(path))
        self.limits.check_size(path.name, record.width or 0, record.height or 0)
        if not self.packets:
            self._check_first_frame(record)
            return
        yield "its packets"
        timeline = demux(path, self.limits)
        self._measure(task, record, timeline)
        if not self.decode:
            if lacking := shortfall(timeline):
                record.add("short", lacking)
            self._check_first_frame(record)
            return
        yield "its frames"
        timeline = self._decode(task, record)
        for decoder in OTHER_DECODERS:
            yield decoder
            if can_read(decoder, path, timeline):
                record.decoders = "+".join(filter(None, [record.decoders, decoder]))

    def _check_first_frame(self, record: Record) -> None:
        if record.rotation is None:
            record.add("damage", "no frame can be decoded")

    def _measure(self, task: Task, record: Record, timeline: Timeline) -> None:
        record.measure(timeline)
        record.rows = len(self.sample(replace(timeline, video=task.source.id)))

    def _decode(self, task: Task, record: Record) -> Timeline:
        """Decode all frames; returns the timeline, which may have turned out another than that of the packets."""
        reading = VideoReader(task.source.path, all_frames, limits=self.limits)
        for _ in reading:
            pass
        if reading.timeline is None:  # it could be opened a moment ago
            raise VideoError(reading.problem)
        self._measure(task, record, reading.timeline)
        record.decoded, record.decoder = reading.decoded, reading.decoder
        if "pyav" in reading.decoder:
            record.decoders = "pyav"
        error = reading.problem  # one for both
        if reading.decoded < reading.expected:
            record.add("damage", error)
            error = ""
        if shortfall(reading.timeline):
            record.add("short", error)
        return reading.timeline


def probe_all(sources: list[VideoSource], prober: Prober, *, processes: int) -> Iterator[Record]:
    """Look at videos in `processes` processes, and yield what each is, in the order of `sources`.

    One that takes its process down, or holds it up for `limits.patience` seconds, has what was known of it before.
    Held in memory: the records that wait for one before them, and the digests of files of one size.
    Raises what `prober` raises, and ExtractionError where processes cannot be started.
    """
    tasks = Tasks(sources)
    limits = prober.limits
    begun: dict[int, Finding] = {}
    ended: dict[int, Record] = {}
    first: dict[str, str] = {}  # digest -> path
    number = 0
    found = worker_pool.run(
        tasks,
        prober,
        processes=processes,
        patience=limits.patience,
        memory=limits.memory,
        preload=[__name__, "torch"] if prober.decode else [__name__],  # torchcodec needs it
    )
    with contextlib.closing(found):
        for task, item in found:
            if isinstance(item, worker_pool.WorkerFailure):
                # One look is enough to warn of it: it is not waited for its second try.
                ended[task.number] = _lost(begun.pop(task.number, Finding(prober.begin(task), "")), item)
            elif item.step:
                begun[task.number] = item
            else:
                begun.pop(task.number, None)
                ended[task.number] = item.record
            while number in ended:
                record = ended.pop(number)
                if record.sha256:
                    twin = first.setdefault(record.sha256, record.path)
                    record.twin = twin if twin != record.path else ""
                yield record
                number += 1
            if number == len(tasks):
                return


def _lost(finding: Finding, down: worker_pool.WorkerFailure) -> Record:
    """The record of a video whose process went down."""
    record, step = finding
    if step in OTHER_DECODERS:
        return record  # which `auto` need not ask
    record.add("hang" if down.hung else "crash", f"{down.reason}, reading {step or 'the file'}")
    return record


def is_variable(timeline: Timeline) -> bool | None:
    """Whether frames are shown at uneven intervals; None where their times are not known or too few."""
    if timeline.pts is None or len(timeline) < 3:
        return None
    steps = np.diff(timeline.seconds)
    return bool(steps.max() - steps.min() > UNEVEN_SECONDS)


def duration(timeline: Timeline) -> float:
    """Seconds from the first frame to the end of the last, which is taken to last as long as most do."""
    if len(timeline) > 1:
        return float(timeline.seconds[-1] - timeline.seconds[0] + np.median(np.diff(timeline.seconds)))
    return 1 / timeline.rate if timeline.rate > 0 else 0.0


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            digest.update(block)
            heartbeat.tick()
    return digest.hexdigest()
