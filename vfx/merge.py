"""Merges what several shards have extracted into one feature file."""

from __future__ import annotations

import logging
from pathlib import Path

from omegaconf import DictConfig

from vfx.cli import command
from vfx.collection.collection import find_collection
from vfx.errors import ExtractionError, OutputError
from vfx.outputs.output_folder import OutputFolder
from vfx.outputs.shard import merge_shards
from vfx.sweeps import job_records
from vfx.text import first_few

log = logging.getLogger("vfx.merge")  # not __name__, which is __main__ when run


def main(*overrides: str) -> Path:
    """Merge as the command line does: `main("collection=toydata", "feature=...")`.

    Args:
        overrides: Of conf/merge.yaml.

    Returns:
        The feature file.

    Raises:
        ExtractionError: Videos are missing, or have failed and `strict=true`.
        OutputError: There is nothing to merge, or a shard is still running.
    """
    return command.call(merge, "merge", overrides)


def merge(config: DictConfig) -> Path:
    """Merge as a resolved config of conf/merge.yaml says. Returns the feature file."""
    collection = find_collection(config.collection, config.rootpath)
    output = OutputFolder(Path(config.output_dir) / collection.name / config.feature)
    if not output.folder.is_dir() or (recipe := output.recipe()) is None:
        raise OutputError(
            f"feature ({config.feature}) of {collection.name}: nothing has been extracted to {output.folder}; run its"
            " shards first (vfx.extract shard=1 num_shards=...)"
        )
    with output.locked():
        if output.is_complete():
            log.info("%s is whole, nothing to do", output.features)
            job_records.update_current(state="nothing to do")
        else:
            sources = collection.frame_folders() if recipe["dataset"] == "frame" else collection.videos()
            missing = output.missing([source.id for source in sources])
            if missing and not config.partial:
                raise ExtractionError(
                    f"{len(missing)} videos are not done ({first_few(missing)}): run their shards again, or all that is"
                    " missing by one vfx.extract without shard=; partial=true makes a file without them"
                )
            merge_shards(output)
            log.info("%s: assembled, %d videos are missing", output.features, len(missing))
        failures = output.list_failures()
    if config.strict and failures:
        raise ExtractionError(f"strict=true and {failures}; strict=false accepts them")
    return output.features


if __name__ == "__main__":
    command.run(merge, "merge")
