"""Shards: one output made by several independent jobs, and what joins their work."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from vfx.errors import OutputError
from vfx.features.reader import FeatureReader
from vfx.features.rows import Failure
from vfx.outputs.merge_parts import CommittedFiles
from vfx.outputs.output_folder import OutputFolder
from vfx.outputs.recipe import Recipe, conflicts
from vfx.system.files import write_text
from vfx.system.folder_lock import lock_folder

ATTEMPTS = 20  # to see the output unlocked, while other shards look too
SHARED_ATTRIBUTES = ("feature", "collection", "config", "provenance")  # the same in parts and in the merged file

log = logging.getLogger(__name__)


class Shard(OutputFolder):
    """The work of one of several independent jobs: a folder of parts, and the unit of its resume.

    Args:
        output: The output that the jobs make together.
        number: Of this job, from 1.
        count: How many jobs there are.
    """

    def __init__(self, output: OutputFolder, number: int, count: int) -> None:
        super().__init__(output.shards / f"{number}-of-{count}")
        self.output = output
        self.features = output.features
        self.log = output.folder / f"extract.{number}-of-{count}.log"  # stays when the shard is removed

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock this shard. Other jobs may hold other shards, but none the output itself."""
        with super().locked():
            self._check_output_unlocked()
            yield

    def _check_output_unlocked(self) -> None:
        """Lock the output for a moment. A run that locks it later finds this shard locked."""
        for left in range(ATTEMPTS, -1, -1):
            try:
                with lock_folder(self.output.folder):
                    return
            except OutputError:
                if not left:
                    raise
                time.sleep(random.uniform(0.05, 0.2))  # another shard may be looking too

    def prepare(self, recipe: Recipe, *, overwrite: bool) -> None:
        if overwrite and self.features.exists():
            raise OutputError(f"overwrite=true of one shard would leave {self.features} as it is; remove that first")
        self.output.check_recipe(recipe)
        super().prepare(recipe, overwrite=overwrite)

    def files(self) -> list[FeatureReader]:
        """What has been committed by any job."""
        return self.output.files()

    def failures(self) -> list[Failure]:
        """The failures of this shard's own videos, so far."""
        return CommittedFiles([FeatureReader(path) for path in sorted(self.parts.glob("part-*.h5"))]).failures

    def recipe(self) -> Recipe | None:
        return self._read_recipe([self.parts / "recipe.json"])

    def assemble(self, attributes: Mapping[str, str]) -> None:
        """Do nothing but check the lock: `merge_if_complete` makes the file once all shards are done."""
        self.check_locked()


def merge_if_complete(output: OutputFolder, ids: Sequence[str]) -> bool:
    """Merge the shards of an output where all of its videos are done. Of jobs that end together one merges.

    Args:
        output: What the shards make together.
        ids: All its videos.

    Returns:
        Whether the output is complete now.

    Raises:
        ExtractionError, OutputError: As `merge_shards` does.
    """
    if missing := output.missing(ids):
        log.info("%d of %d videos are other shards' work, and not done yet", len(missing), len(ids))
        return False
    with ExitStack() as stack:
        try:
            stack.enter_context(output.locked())
        except OutputError as error:
            log.info("all %d videos are done; another job is at it: %s", len(ids), error)
            return False
        if not output.is_complete():
            merge_shards(output)
    return True


def merge_shards(output: OutputFolder) -> None:
    """Merge what the shards of an output have committed, with the attributes of the parts.

    Raises:
        OutputError: The folder is no longer locked, or the parts were made by different recipes.
        ExtractionError: As `OutputFolder.assemble` does.
    """
    attributes: dict[str, str] = {}
    recipe: Recipe | None = None
    for path in output.part_paths():
        with FeatureReader(path) as part:
            found = part.provenance["recipe"]
            if recipe is not None and (changed := conflicts(recipe, found)):
                raise OutputError(
                    f"{path} was made with another recipe than others: {'; '.join(map(str, changed))};"
                    " extract its videos again, with overwrite=true"
                )
            recipe = found
            attributes = {name: part.attributes[name] for name in SHARED_ATTRIBUTES}
    output.assemble(attributes)
    write_text(output.folder / "config.yaml", attributes["config"])
