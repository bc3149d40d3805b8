"""The output folder of one feature: what is committed, what remains, and the finished file.

<folder>/parts/recipe.json     what makes the numbers; a run with another recipe is refused
<folder>/parts/part-*.h5       finished videos, each part a feature file of its own
<folder>/features.h5           all of them, sorted by video id; appears at the end, then `parts` goes
<folder>/throughput.tsv        the run's throughput over time, see throughput.py; until the end beside the parts
<folder>/shards/<n>-of-<m>     the work of one of several jobs: a folder of parts, and the unit of its resume
"""

from __future__ import annotations

import json
import logging
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from vfx.errors import ExtractionError, OutputError
from vfx.features import integrity
from vfx.features.reader import FeatureReader
from vfx.outputs import throughput
from vfx.outputs.merge_parts import CommittedFiles, DamagedPartError, merge
from vfx.outputs.recipe import Recipe, conflicts
from vfx.system.files import make_folder, write_text, writing
from vfx.system.folder_lock import Lock, lock_folder

FEATURES = "features.h5"
GIVEN_UP = ".given-up."  # prefix of folders of parts that are being removed

log = logging.getLogger(__name__)


class OutputFolder:
    """The folder of one feature of one collection: the unit of resume.

    Args:
        folder: Its path. It need not exist.

    Attributes:
        folder: The path.
        features: The path of the finished file.
        parts: The folder of the parts.
        shards: The folder of the shards.
        log: The path of the log.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.features = folder / FEATURES
        self.parts = folder / "parts"
        self.shards = folder / "shards"
        self.log = folder / "extract.log"
        self._lock: Lock | None = None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder against a second run, and remove what a killed run left unfinished.

        Raises:
            OutputError: Another run holds the folder, or one of its shards.
        """
        with lock_folder(self.folder, patient=True) as self._lock:
            for shard in sorted(self.shards.glob("*-of-*")):
                with lock_folder(shard):  # one that begins later finds this folder locked
                    pass
            with suppress(OSError):  # what is left only takes up space
                for left in (*self.folder.glob(".*.tmp"), *self.parts.glob(".*.tmp")):
                    left.unlink()
                for left in self.folder.glob(f"{GIVEN_UP}*"):
                    shutil.rmtree(left)
            yield

    def check_locked(self) -> None:
        """Raises OutputError where the lock of `locked` was lost: the folder was removed, or another run holds it."""
        if self._lock is not None:
            self._lock.check()

    def prepare(self, recipe: Recipe, *, overwrite: bool) -> None:
        """Make the folder ready for a run of this recipe. Damaged parts are set aside.

        Args:
            recipe: What makes the numbers.
            overwrite: Remove what is done. Else it is kept.

        Raises:
            OutputError: What is there was made by another recipe; the message lists the differences. Or the disk
                refuses.
        """
        with writing(self.folder):
            if overwrite:
                self.features.unlink(missing_ok=True)
                (self.folder / throughput.NAME).unlink(missing_ok=True)
                self._remove_parts()
            if not self.check_recipe(recipe):
                make_folder(self.parts)
                write_text(self.parts / "recipe.json", json.dumps(recipe, indent=1))
            self._set_damaged_aside()
            throughput.compact(self.parts)

    def _remove_parts(self) -> None:
        """Remove each folder of parts in one step: some parts without their recipe would fit any recipe."""
        for parts in (self.parts, self.shards):
            given_up = self.folder / f"{GIVEN_UP}{uuid.uuid4().hex[:8]}"
            with suppress(FileNotFoundError):
                parts.rename(given_up)
                shutil.rmtree(given_up, ignore_errors=True)

    def _set_damaged_aside(self) -> None:
        """Read all parts, and set those aside that are not as they were written."""
        paths = self.part_paths()
        for path in paths:
            path.open("rb").close()  # a part that may not be read is not damaged
        for path, finding in integrity.examine_files(paths, integrity.examine_digests):
            if path.exists():  # this is its first finding
                self._set_aside(path, finding.text)

    def _set_aside(self, part: Path, problem: str) -> None:
        log.warning("%s is damaged and set aside, and its videos are read again: %s", part, problem)
        part.rename(part.with_name(f"damaged-{part.name}"))

    def check_recipe(self, recipe: Recipe) -> bool:
        """Whether something is here, made by this recipe.

        Raises:
            OutputError: It was made by another recipe. The message lists the differences.
        """
        found = self.recipe()
        if found is None:
            return False
        if not Path(found.get("collection", "")).is_dir():
            found = {**found, "collection": recipe.get("collection")}  # it has moved
        if changed := conflicts(found, recipe):
            raise OutputError(
                f"{self.folder} was made with another recipe; overwrite=true starts over, another output_dir or"
                " feature=<name> keeps both. It differs in\n  " + "\n  ".join(map(str, changed))
            )
        return True

    def recipe(self) -> Recipe | None:
        """The recipe of what is here, None if there is nothing. Raises OutputError where it cannot be read."""
        return self._read_recipe(
            [self.features, self.parts / "recipe.json", *sorted(self.shards.glob("*/parts/recipe.json"))]
        )

    def _read_recipe(self, places: Iterable[Path]) -> Recipe | None:
        path = next((path for path in places if path.exists()), None)
        if path is None:
            return None
        try:
            if path == self.features:
                with FeatureReader(path) as file:
                    return dict(file.provenance["recipe"])
            return dict(json.loads(path.read_text()))
        except (OutputError, ValueError, TypeError, KeyError) as error:
            raise OutputError(f"{path} does not tell how it was made; overwrite=true starts over ({error})") from error

    def part_paths(self) -> list[Path]:
        """The parts, those of shards too."""
        return sorted([*self.parts.glob("part-*.h5"), *self.shards.glob("*/parts/part-*.h5")])

    def files(self) -> list[FeatureReader]:
        """What has been committed: the finished file if there is one, and the parts."""
        paths = [self.features] if self.features.exists() else []
        return [FeatureReader(path) for path in (*paths, *self.part_paths())]

    def is_complete(self) -> bool:
        """Whether `features.h5` exists and holds all that has been committed."""
        return self.features.exists() and not self.part_paths()

    def done(self) -> set[str]:
        """The videos that need not be read again: those with rows, and those that are known to have none."""
        return self.committed().done()

    def committed(self) -> CommittedFiles:
        """What has been committed, read anew from all files."""
        return CommittedFiles(self.files())

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of these videos that are not done."""
        done = self.done()
        return [id for id in ids if id not in done]

    def assemble(self, attributes: Mapping[str, str]) -> None:
        """Merge what has been committed into `features.h5`, then remove the parts.

        Args:
            attributes: Of the file. Its provenance gains the number of videos by decoder.

        Raises:
            ExtractionError: Not one video has a row. Or a part is damaged; it is set aside, and the others stay.
            OutputError: The folder is no longer locked, or the disk refuses.
        """
        self.check_locked()
        try:
            merge(self.committed(), self.features, attributes)
        except DamagedPartError as damaged:
            if damaged.path == self.features:
                raise
            self._set_aside(damaged.path, str(damaged))
            raise ExtractionError(f"{damaged}; run the same command again, which reads its videos again") from damaged
        recorded = [*self.parts.glob(throughput.PATTERN), *self.shards.glob(f"*/parts/{throughput.PATTERN}")]
        throughput.merge(self.folder, recorded)
        shutil.rmtree(self.parts, ignore_errors=True)
        shutil.rmtree(self.shards, ignore_errors=True)

    def list_failures(self) -> str:
        """Log the size of a finished output, and write its failures to `failures.tsv`.

        Returns:
            How many failures there are and where they are listed, "" if there are none.
        """
        with FeatureReader(self.features) as file:
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
