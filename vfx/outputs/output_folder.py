"""One feature's output folder: what is done, what remains, and how parts become `features.h5`.

<folder>/parts/recipe.json     what makes the numbers; a run with another recipe is refused
<folder>/parts/part-*.h5       finished videos, each file whole and a feature file of its own
<folder>/features.h5           all of them, sorted by video id; appears at the end, then `parts` goes
<folder>/throughput.tsv        how the work went over time, see vfx/outputs/throughput.py; meanwhile beside the parts
<folder>/shards/<n>-of-<m>     what one job of several made: a folder of parts, and the unit of its resume

Of a video that is read in pieces a part may hold one piece alone; an entry of its failures says which. Once all pieces
are there, in whatever parts, the video is done.
"""

from __future__ import annotations

import heapq
import itertools
import json
import logging
import random
import shutil
import tempfile
import time
import uuid
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vfx.collection.source import Chunk
from vfx.errors import ExtractionError, OutputError
from vfx.features import integrity
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure, Rows
from vfx.features.writer import FeatureFileWriter
from vfx.outputs import throughput
from vfx.system.files import make_folder, write_text, writing
from vfx.system.folder_lock import Lock, lock_folder

FEATURES = "features.h5"
GIVEN_UP = ".given-up."  # parts on their way out
SPOOL_BYTES = 32 << 20  # a video's rows beyond this wait on the disk, not in memory
OPEN_FILES = 200  # parts held open while they are merged; the usual limit of a process is 1024
BLOCK_ROWS = 4096
PIECE = "piece"  # the stage of the entry among a part's failures that says which piece of a video it holds
NETWORK = "network"  # the stage at which rows turn out void
SHOWN = 5  # how many failures an error names
CARRIED = ("feature", "collection", "config", "provenance")  # attributes that parts and the whole share
PEEKS = 20

log = logging.getLogger(__name__)
Recipe = Mapping[str, Any]


class Output:
    """The folder of one feature of one collection: the unit of resume."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.features = folder / FEATURES
        self.parts = folder / "parts"
        self.shards = folder / "shards"
        self.log = folder / "extract.log"
        self._lock: Lock | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second run, and clear away what a killed one left half written.

        Raises OutputError where another run is at work here, on a shard or on all.
        """
        with lock_folder(self.folder, patient=True) as self._lock:
            for shard in sorted(self.shards.glob("*-of-*")):
                with lock_folder(shard):  # one that begins later finds us here
                    pass
            with suppress(OSError):  # it only costs room
                for left in (*self.folder.glob(".*.tmp"), *self.parts.glob(".*.tmp")):
                    left.unlink()
                for left in self.folder.glob(f"{GIVEN_UP}*"):
                    shutil.rmtree(left)
            yield

    def check_locked(self) -> None:
        """Raises OutputError where the folder was removed, or is in other hands, since `locked` was entered."""
        if self._lock is not None:
            self._lock.check()

    def prepare(self, recipe: Recipe, *, overwrite: bool) -> None:
        """Make the folder ready for a run of this recipe, keeping what is done unless `overwrite`.

        Parts that are damaged are set aside. Raises OutputError that shows the differing keys where what is there
        was made by another recipe, and where the disk refuses.
        """
        with writing(self.folder):
            if overwrite:
                self.features.unlink(missing_ok=True)
                (self.folder / throughput.NAME).unlink(missing_ok=True)
                self._drop_parts()
            if not self.check(recipe):
                make_folder(self.parts)
                write_text(self.parts / "recipe.json", json.dumps(recipe, indent=1))
            self._set_damaged_aside()
            throughput.compact(self.parts)

    def _drop_parts(self) -> None:
        """Remove the parts, all in one step for whoever looks: a few without their recipe would seem to be anyone's."""
        for parts in (self.parts, self.shards):
            given_up = self.folder / f"{GIVEN_UP}{uuid.uuid4().hex[:8]}"
            with suppress(FileNotFoundError):
                parts.rename(given_up)
                shutil.rmtree(given_up, ignore_errors=True)

    def _set_damaged_aside(self) -> None:
        """Set the parts aside that are not as they were written; all of them are read for it."""
        paths = self.part_paths()
        for path in paths:
            path.open("rb").close()  # no permission is no damage
        for path, finding in integrity.survey(paths, look=integrity.altered):
            if path.exists():  # it is the first finding of it
                self._set_aside(path, finding.text)

    def _set_aside(self, part: Path, problem: str) -> None:
        log.warning("%s is damaged and set aside, and its videos are read again: %s", part, problem)
        part.rename(part.with_name(f"damaged-{part.name}"))

    def check(self, recipe: Recipe) -> bool:
        """Whether something is here, made by this recipe. Raises OutputError if by another, with what differs."""
        found = self.recipe()
        if found is not None and not Path(found.get("collection", "")).is_dir():
            found = {**found, "collection": recipe.get("collection")}  # it has moved
        changed = [] if found is None else conflicts(found, recipe)
        if changed:
            raise OutputError(
                f"{self.folder} was made with another recipe; overwrite=true starts over, another output_dir or"
                " feature=<name> keeps both. It differs in\n  " + "\n  ".join(changed)
            )
        return found is not None

    def recipe(self) -> Recipe | None:
        """What made what is here, None if there is nothing. Raises OutputError where that cannot be told."""
        kept = [self.parts / "recipe.json", *sorted(self.shards.glob("*/parts/recipe.json"))]
        return self._read_recipe([self.features, *kept])

    def _read_recipe(self, places: Iterable[Path]) -> Recipe | None:
        path = next((path for path in places if path.exists()), None)
        if path is None:
            return None
        try:
            if path == self.features:
                with FeatureFile(path) as file:
                    return dict(file.provenance["recipe"])
            return dict(json.loads(path.read_text()))
        except (OutputError, ValueError, TypeError, KeyError) as error:
            raise OutputError(f"{path} does not tell how it was made; overwrite=true starts over ({error})") from error

    def is_whole(self) -> bool:
        """Whether `features.h5` is there and holds all that has been committed."""
        return self.features.exists() and not self.part_paths()

    def part_paths(self) -> list[Path]:
        """The parts, those of shards too."""
        return sorted([*self.parts.glob("part-*.h5"), *self.shards.glob("*/parts/part-*.h5")])

    def files(self) -> list[FeatureFile]:
        """What has been committed: the finished file if there is one, and the parts."""
        paths = [self.features] if self.features.exists() else []
        return [FeatureFile(path) for path in (*paths, *self.part_paths())]

    def is_empty(self) -> bool:
        """Whether nothing has been committed yet; False where another run is just tidying up."""
        try:
            return not self.files()
        except FileNotFoundError:
            return False

    def done(self) -> set[str]:
        """The videos that need not be read again: those with rows, and those that are known to have none."""
        files = self.files()
        ids: set[str] = set()
        for file in files:
            with file:
                ids |= _whole(file)
        return ids.union(video for video, chunks in _divided(files).items() if _covering(chunks))

    def chunks(self) -> set[tuple[str, Chunk]]:
        """The pieces that have been committed of videos that are not done, stretch by stretch."""
        return {
            (video, Chunk(n, n + 1, chunk.total))
            for video, chunks in _divided(self.files()).items()
            if not _covering(chunks)
            for chunk in chunks
            for n in range(chunk.begin, chunk.end)
        }

    def assemble(self, attributes: Mapping[str, str]) -> None:
        """Merge what has been committed into `features.h5`, by rename, then drop the parts.

        `attributes`: those of the file; its provenance gains the count of videos by decoder.
        Raises ExtractionError where no video has a row, and where a part turns out to be damaged, which is set aside;
        the other parts stay.
        """
        self.check_locked()
        try:
            self._merge(attributes)
        except _DamagedPart as damaged:
            self._set_aside(damaged.path, str(damaged))
            raise ExtractionError(f"{damaged}; run the same command again, which reads its videos again") from damaged
        chunks = [*self.parts.glob(throughput.PIECES), *self.shards.glob(f"*/parts/{throughput.PIECES}")]
        throughput.keep(self.folder, chunks)
        shutil.rmtree(self.parts, ignore_errors=True)
        shutil.rmtree(self.shards, ignore_errors=True)

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of these videos that are not done."""
        done = self.done()
        return [id for id in ids if id not in done]

    def merge_if_complete(self, ids: Sequence[str]) -> bool:
        """`merge` where these videos are all done; whether it was. Of jobs that end together one does it."""
        if missing := self.missing(ids):
            log.info("%d of %d videos are other shards' work, and not done yet", len(missing), len(ids))
            return False
        with ExitStack() as stack:
            try:
                stack.enter_context(self.locked())
            except OutputError as error:
                log.info("all %d videos are done; another job is at it: %s", len(ids), error)
                return False
            if not self.is_whole():
                self.merge()
        return True

    def merge(self) -> None:
        """Assemble what shards have committed, with the attributes that the parts carry.

        Raises OutputError where the folder is in other hands or parts are of different recipes, and what `assemble`
        raises.
        """
        attributes: dict[str, str] = {}
        recipe: Recipe | None = None
        for path in self.part_paths():
            with FeatureFile(path) as part:
                found = part.provenance["recipe"]
                if recipe is not None and (changed := conflicts(recipe, found)):
                    raise OutputError(
                        f"{path} was made with another recipe than others: {'; '.join(changed)};"
                        " extract its videos again, with overwrite=true"
                    )
                recipe = found
                attributes = {name: part.attributes[name] for name in CARRIED}
        self.assemble(attributes)
        write_text(self.folder / "config.yaml", attributes["config"])

    def list_failures(self) -> str:
        """Count the rows of a finished output, write `failures.tsv`, and say where it is; "" if there are none."""
        with FeatureFile(self.features) as file:
            failures = file.failures
            rows, videos = file.features.shape[0], len(file)
        log.info("%s: %d rows of %d videos, %d failures", self.features, rows, videos, len(failures))
        listing = self.folder / "failures.tsv"
        if not failures:
            if listing.exists():
                with writing(listing):
                    listing.unlink()
            return ""
        lines = ["\t".join(" ".join(text.split()) for text in failure) for failure in failures]
        write_text(listing, "id\tstage\terror\n" + "\n".join(lines) + "\n")
        said = f"{len(failures)} failures, listed in {listing}"
        log.warning("%s; the first: %s", said, ": ".join(failures[0]))
        return said

    def _merge(self, attributes: Mapping[str, str]) -> None:
        files = self.files()
        joined = _joined(files)
        failures = _failures(files, joined)
        with ExitStack() as stack:
            for file in files:
                stack.callback(file.close)
            videos = _merged(files, joined, discarded={f.id for f in failures if f.stage == NETWORK})
            first = next(videos, None)
            if first is None:
                raise ExtractionError(
                    f"not one of {len(failures)} videos could be read, so there is no {self.features}: "
                    + "; ".join(f"{f.id}: {f.error}" for f in failures[:SHOWN])
                    + "; python -m vfx.probe collection=... shows them all"
                )
            writer = stack.enter_context(
                FeatureFileWriter(
                    self.features,
                    level="frame",
                    shape=files[0].features.shape[1:],
                    dtype=files[0].features.dtype.name,
                    attributes=attributes,
                )
            )
            served: dict[str, int] = {}
            for video, rows, decoder in itertools.chain([first], videos):
                writer.add_video(video, rows, decoder=decoder)
                served[decoder] = served.get(decoder, 0) + 1
            writer.add_failures(failures)
            provenance = json.loads(attributes["provenance"]) | {"decoders": served}
            writer.attributes["provenance"] = json.dumps(provenance)


class Shard(Output):
    """One job's share of an output that several jobs make without a word between them."""

    def __init__(self, whole: Output, number: int, count: int) -> None:
        super().__init__(whole.shards / f"{number}-of-{count}")
        self.whole = whole
        self.features = whole.features
        self.log = whole.folder / f"extract.{number}-of-{count}.log"  # stays when the share goes

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this share; others may be at work on theirs, but none on the whole."""
        with super().locked():
            for patience in range(PEEKS, -1, -1):
                try:
                    with lock_folder(
                        self.whole.folder
                    ):  # only to see that nobody else is: who comes now finds our share
                        break
                except OutputError:
                    if not patience:
                        raise
                    time.sleep(random.uniform(0.05, 0.2))  # another shard may be looking too
            yield

    def prepare(self, recipe: Recipe, *, overwrite: bool) -> None:
        if overwrite and self.features.exists():
            raise OutputError(f"overwrite=true of one shard would leave {self.features} as it is; remove that first")
        self.whole.check(recipe)
        super().prepare(recipe, overwrite=overwrite)

    def files(self) -> list[FeatureFile]:
        """What has been committed by any job."""
        return self.whole.files()

    def failures(self) -> list[Failure]:
        """Those of this share's own videos, so far."""
        files = [FeatureFile(path) for path in sorted(self.parts.glob("part-*.h5"))]
        return _failures(files, _joined(files))

    def recipe(self) -> Recipe | None:
        return self._read_recipe([self.parts / "recipe.json"])

    def assemble(self, attributes: Mapping[str, str]) -> None:
        """Nothing: that is for whoever finds the shares complete."""
        self.check_locked()


class _DamagedPart(OutputError):
    """A part that cannot be read to its end."""

    def __init__(self, path: Path, problem: OutputError) -> None:
        super().__init__(str(problem))
        self.path = path


def _chunks(file: FeatureFile) -> dict[str, Chunk]:
    """The videos of which a part holds a piece alone, and which."""
    return {f.id: Chunk.parsed(f.error) for f in file.failures if f.stage == PIECE}


def _whole(file: FeatureFile) -> set[str]:
    """The videos that a file holds whole: those with rows, and those that are known to have none."""
    return {*file.videos, *(f.id for f in file.failures)} - _chunks(file).keys()


def _divided(files: list[FeatureFile]) -> dict[str, dict[Chunk, int]]:
    """Of each video that is nowhere whole, by which of the files each piece is held; one file is open at a time."""
    found: dict[str, dict[Chunk, int]] = {}
    for n, file in enumerate(files):
        with file:
            for video, chunk in _chunks(file).items():
                found.setdefault(video, {})[chunk] = n
    for file in files if found else ():
        with file:
            for video in found.keys() & _whole(file):
                del found[video]
    return found


def _joined(files: list[FeatureFile]) -> dict[str, list[int]]:
    """Of each video that is nowhere whole, the files whose pieces make it up, in order; none where some are missing."""
    return {video: [where[p] for p in _covering(where)] for video, where in _divided(files).items()}


def _covering(chunks: Collection[Chunk]) -> list[Chunk]:
    """As few pieces as make up a video, in order; none where something is missing. Two runs' pieces may overlap."""
    for total in sorted({chunk.total for chunk in chunks}):  # all the same, but for a file that has changed
        chosen: list[Chunk] = []
        reach = 0
        while fitting := [p for p in chunks if p.total == total and p.begin <= reach < p.end]:
            chosen.append(max(fitting, key=lambda chunk: chunk.end))
            reach = chosen[-1].end
        if reach == total:
            return chosen
    return []


def _failures(files: list[FeatureFile], joined: Mapping[str, list[int]]) -> list[Failure]:
    """Those of whole videos, and of videos `joined` from the pieces that these files hold, sorted."""
    failures: set[Failure] = set()
    for n, file in enumerate(files):
        with file:
            chunks = _chunks(file)
            failures.update(f for f in file.failures if f.id not in chunks or n in joined.get(f.id, ()))
    return sorted(f for f in failures if f.stage != PIECE)


def _merged(
    files: list[FeatureFile], joined: Mapping[str, list[int]], discarded: set[str]
) -> Iterator[tuple[str, Iterator[Rows], str]]:
    """Every video once, sorted by id, with its rows in blocks and its decoder; each file is read in its order.

    `joined`: the files whose pieces make up a video, in order. `discarded`: videos whose rows do not count.
    """
    recent: OrderedDict[int, FeatureFile] = OrderedDict()

    def opened(n: int) -> FeatureFile:
        recent[n] = files[n]
        recent.move_to_end(n)
        if len(recent) > OPEN_FILES:
            recent.popitem(last=False)[1].close()
        return files[n]

    def rows(video: str, parts: list[int]) -> Iterator[Rows]:
        last = -1
        for n in parts:
            for block in _rows(opened(n), video):
                new = np.flatnonzero(block.index > last)
                yield Rows(block.features[new], block.index[new], block.seconds[new])
                last = max(last, int(block.index[-1]))

    chunks, entries = [], []
    for n, file in enumerate(files):
        with file:
            chunks.append(_chunks(file))
            entries.append(zip(map(str, file.videos), itertools.repeat(n)))
    for video, group in itertools.groupby(heapq.merge(*entries), key=itemgetter(0)):
        there = [n for _, n in group]
        if video in joined:
            parts = [n for n in joined[video] if n in there and video not in discarded]
        else:  # committed twice, by two runs: either is right, the first is taken
            parts = [n for n in there if video not in chunks[n]][:1]
        if parts:
            yield video, rows(video, parts), opened(parts[0]).decoder(video)


def _rows(file: FeatureFile, video: str) -> Iterator[Rows]:
    try:
        yield from file.blocks(video, BLOCK_ROWS)
    except OutputError as error:
        if file.path.name == FEATURES:
            raise
        raise _DamagedPart(file.path, error) from error


def conflicts(a: Recipe, b: Recipe) -> list[str]:
    """In what two recipes differ, but for how frames were cut where one of them does not know."""
    if "frames" not in a or "frames" not in b:
        a, b = ({key: value for key, value in recipe.items() if key != "frames"} for recipe in (a, b))
    return differences(a, b)


def differences(a: Recipe, b: Recipe) -> list[str]:
    """The leaves in which two recipes differ, one a line: `sampler.fps: 2 there, 4 here`."""
    return [f"{key}: {left} there, {right} here" for key, left, right in differing(a, b)]


def differing(a: Recipe, b: Recipe) -> list[tuple[str, Any, Any]]:
    """The leaves in which two recipes differ, `("sampler.fps", 2, 4)`; of one that is not there, "nothing"."""
    left, right = dict(_leaves(a)), dict(_leaves(b))
    return [
        (key, left.get(key, "nothing"), right.get(key, "nothing"))
        for key in sorted(left.keys() | right.keys())
        if left.get(key) != right.get(key)
    ]


def _leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, json.loads(json.dumps(node))  # tuples and lists compare equal, as they do once written


@dataclass
class _Video:
    """The rows of a video or a piece as they come in, in memory or, beyond SPOOL_BYTES, in an unnamed file."""

    rows: IO[bytes]
    count: int = 0
    failures: list[Failure] = field(default_factory=list)
    decoder: str = ""

    def drop(self) -> None:
        with suppress(OSError):  # a full disk refuses what waits to be written to the unnamed file
            self.rows.close()


class PartWriter:
    """Gathers the rows of videos that are being read, and commits finished videos in immutable parts.

    Rows of several videos may come in turns; those of one come in order. `shape`: of one row, (D,) or (10, D).
    A part is committed when `commit_mb` MiB or `commit_seconds` s of finished videos are waiting.
    A `chunk` of a video is gathered and committed like a video; what comes of the whole video is believed rather.
    """

    def __init__(
        self,
        output: Output,
        *,
        shape: tuple[int, ...],
        dtype: str,
        attributes: Mapping[str, str],
        commit_mb: float,
        commit_seconds: float,
    ) -> None:
        self._output = output
        self._shape = shape
        self._dtype = np.dtype(dtype)
        self._record = np.dtype([("features", self._dtype, shape), ("index", np.int64), ("seconds", np.float64)])
        self._attributes = attributes
        self._commit_bytes = commit_mb * (1 << 20)
        self._commit_seconds = commit_seconds
        self._reading: dict[tuple[str, Chunk | None], _Video] = {}
        self._finished: dict[str, dict[Chunk | None, _Video]] = {}
        self._waiting_bytes = 0
        self._last_commit = time.monotonic()
        self._begun = False

    def start(self, video: str, chunk: Chunk | None = None) -> None:
        """A video is read from its beginning: rows of an earlier attempt are void, of its pieces too."""
        for key in [key for key in self._reading if key == (video, chunk) or (key[0] == video and chunk is None)]:
            self._reading.pop(key).drop()

    def append(
        self,
        video: str,
        features: NDArray[Any],
        index: NDArray[np.int64],
        seconds: NDArray[np.float64],
        chunk: Chunk | None = None,
    ) -> None:
        """Rows of one video: (T, *shape), (T,), (T,). Raises OutputError where the disk refuses them."""
        records = np.empty(len(index), self._record)
        with np.errstate(over="ignore"):  # a float16 that overflows is found below
            records["features"] = features
        records["index"], records["seconds"] = index, seconds
        state = self._state(video, chunk)
        with writing(self._output.parts):
            state.rows.write(records.tobytes())
        state.count += len(records)
        self._commit_if_due()
        if not np.isfinite(records["features"]).all() and not state.failures:
            state.failures.append(
                Failure(
                    video,
                    NETWORK,
                    f"features hold NaN or infinity, or overflow {self._dtype}; no row is kept",
                )
            )

    def finish(self, video: str, failures: list[Failure], decoder: str, chunk: Chunk | None = None) -> list[Failure]:
        """A video has no more rows and can be committed. `failures`: what of it could not be read.

        Returns these and what its rows themselves gave cause for.
        """
        state = self._state(video, chunk)
        del self._reading[video, chunk]
        if state.failures:
            state.count = 0
        state.failures += failures
        state.decoder = decoder
        waiting = self._finished.setdefault(video, {})
        if chunk is None:
            for superseded in waiting.values():
                superseded.drop()
            waiting.clear()
        waiting[chunk] = state
        self._waiting_bytes += state.count * self._record.itemsize
        self._commit_if_due()
        return state.failures

    def _commit_if_due(self) -> None:
        overdue = time.monotonic() - self._last_commit > self._commit_seconds
        if overdue or self._waiting_bytes > self._commit_bytes:
            self.commit()

    def commit(self) -> None:
        """Write the finished videos as parts that no crash can take back. Raises OutputError where that fails."""
        finished, self._finished = self._finished, {}
        self._waiting_bytes = 0
        self._last_commit = time.monotonic()
        with ExitStack() as stack:
            for states in finished.values():
                for state in states.values():
                    stack.callback(state.drop)
            while finished:  # a part holds of a video one piece, so there may be more than one
                self._write({video: states.popitem() for video, states in finished.items()})
                finished = {video: states for video, states in finished.items() if states}

    def _write(self, finished: Mapping[str, tuple[Chunk | None, _Video]]) -> None:
        self._output.check_locked()
        path = self._output.parts / f"part-{uuid.uuid4().hex[:12]}.h5"
        with FeatureFileWriter(
            path, level="frame", shape=self._shape, dtype=self._dtype.name, attributes=self._attributes
        ) as writer:
            for video in sorted(finished):
                chunk, state = finished[video]
                if state.count:
                    writer.add_video(video, self._blocks(state), decoder=state.decoder)
                if chunk is not None:
                    writer.add_failures([Failure(video, PIECE, str(chunk))])
                writer.add_failures(state.failures)

    def close(self) -> None:
        """Drop what is not finished, which may give a full disk room, and commit what is."""
        for state in self._reading.values():
            state.drop()
        self._reading.clear()
        self.commit()

    def _state(self, video: str, chunk: Chunk | None) -> _Video:
        if (video, chunk) not in self._reading:
            self._begin()
            spool = tempfile.SpooledTemporaryFile(SPOOL_BYTES, dir=str(self._output.parts))  # noqa: SIM115  (closed on commit)
            self._reading[video, chunk] = _Video(spool)
        return self._reading[video, chunk]

    def _begin(self) -> None:
        """Make the folder of parts, once: one that is gone later was removed, and with it what was committed."""
        if not self._begun:
            with writing(self._output.parts):
                make_folder(self._output.parts)
            self._begun = True

    def _blocks(self, state: _Video) -> Iterator[Rows]:
        state.rows.seek(0)
        for start in range(0, state.count, BLOCK_ROWS):
            count = min(BLOCK_ROWS, state.count - start)
            records = np.frombuffer(state.rows.read(count * self._record.itemsize), self._record)
            yield Rows(records["features"], records["index"], records["seconds"])
