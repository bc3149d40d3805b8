"""Makes a feature file of a BigFile or a text of video-cnn-feat."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import cast

from omegaconf import DictConfig, OmegaConf

from vfx.cli import command
from vfx.cli.logging import log_to_files
from vfx.collection.collection import collection_name
from vfx.errors import OutputError, UsageError
from vfx.features.schema import LEVELS, Level
from vfx.formats import bigfile
from vfx.formats.lineage_input import LineageInput, find_input
from vfx.formats.lineage_rows import add_frames, add_rows
from vfx.outputs.derived_feature import create, is_made
from vfx.outputs.output_folder import OutputFolder
from vfx.outputs.provenance import versions

log = logging.getLogger("vfx.import_bigfile")  # not __name__, which is __main__ when run


def main(*overrides: str) -> Path:
    """Import as the command line does: `main("source=...", "collection=toydata", "feature=...")`.

    Args:
        overrides: Of conf/import_bigfile.yaml.

    Returns:
        The feature file.

    Raises:
        VfxError: One of its kinds, see vfx/errors.py.
    """
    return command.call(import_bigfile, "import_bigfile", overrides)


def import_bigfile(config: DictConfig) -> Path:
    """Import as a resolved config of conf/import_bigfile.yaml says. Returns the feature file."""
    source = find_input(Path(config.source).expanduser())
    level = _level(config.level, source)
    name = collection_name(config.collection)
    output = OutputFolder(Path(config.output_dir) / name / config.feature)
    imported = {"format": source.format, "level": level, **source.hashes()}
    recipe = {"imported": imported}
    with output.locked():
        if is_made(output, recipe, overwrite=config.overwrite):
            return output.features
        log_to_files(output.folder / "import_bigfile.log")
        with source.as_bigfile(output.folder) as folder, bigfile.open_matrix(folder) as matrix:
            log.info("%s: %d rows of %d values", source.path, matrix.rows, matrix.dims)
            origin = {"source": str(source.path.absolute()), **imported, "rows": matrix.rows}
            with create(
                output,
                level=level,
                shape=(matrix.dims,),
                collection=name,
                config=OmegaConf.to_yaml(config),
                provenance={"versions": versions(), "imported": origin},
                recipe=recipe,
            ) as writer:
                failures = (add_frames if level == "frame" else add_rows)(writer, bigfile.read_ids(folder), matrix)
                if not writer.rows:
                    raise OutputError(f"{source.path} holds no row of finite numbers; is it the right file?")
    shutil.rmtree(output.parts, ignore_errors=True)  # of an extraction that overwrite=true gave up
    if failures:
        log.warning(
            "%d ids had rows dropped, listed in the file's failures; the first: %s",
            len(failures),
            ": ".join(failures[0]),
        )
    log.info("%s: %d rows", output.features, writer.rows)
    return output.features


def _level(level: str | None, source: LineageInput) -> Level:
    if level is None:
        return source.level()
    if level not in LEVELS:
        raise UsageError(f"level ({level}) must be one of {', '.join(LEVELS)}")
    return cast(Level, level)


if __name__ == "__main__":
    command.run(import_bigfile, "import_bigfile")
