"""Makes one feature file of what several shards have extracted."""

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

SHOWN = 5  # how many missing videos an error names

log = logging.getLogger("vfx.merge")  # not __name__, which is __main__ when run


def main(*overrides: str) -> Path:
    """Merge as the command line does, `main("collection=toydata", "feature=...")`; returns the file.

    Raises ExtractionError where videos are missing, or have failed and `strict=true`, and OutputError where there is
    nothing or a shard is at work.
    """
    return command.call(merge, "merge", overrides)


def merge(config: DictConfig) -> Path:
    """Merge the output that a resolved config of conf/merge.yaml names; returns its file."""
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
            job_records.tell(state="nothing to do")
            return _finished(output, config.strict)
        sources = collection.frame_folders() if recipe["dataset"] == "frame" else collection.videos()
        missing = output.missing([source.id for source in sources])
        if missing and not config.partial:
            named = ", ".join(missing[:SHOWN]) + (", ..." if len(missing) > SHOWN else "")
            raise ExtractionError(
                f"{len(missing)} videos are not done ({named}): run their shards again, or all that is missing by one"
                " vfx.extract without shard=; partial=true makes a file without them"
            )
        merge_shards(output)
        log.info("%s: assembled, %d videos are missing", output.features, len(missing))
        return _finished(output, config.strict)


def _finished(output: OutputFolder, strict: bool) -> Path:
    """Say what the file holds. Raises ExtractionError for failures where `strict`."""
    said = output.list_failures()
    if strict and said:
        raise ExtractionError(f"strict=true and {said}; strict=false accepts them")
    return output.features


if __name__ == "__main__":
    command.run(merge, "merge")
