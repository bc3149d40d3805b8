"""Features made of something else than videos: whether they exist already, what they are made of, and their file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from vfx.features.reader import FeatureReader
from vfx.features.schema import Level
from vfx.features.writer import FeatureFileWriter
from vfx.outputs.output_folder import OutputFolder
from vfx.outputs.recipe import Recipe
from vfx.sweeps import job_records
from vfx.system.files import write_text

log = logging.getLogger(__name__)


def source_recipe(file: FeatureReader) -> dict[str, Any]:
    """What the recipe of a derived feature says of its source: the source's own recipe, and when it was made."""
    return {
        "feature": file.feature,
        "created": file.attributes["created"],
        "rows": file.features.shape[0],
        "recipe": file.provenance["recipe"],
    }


def is_made(output: OutputFolder, recipe: Recipe, *, overwrite: bool) -> bool:
    """Whether the feature exists, made by this recipe. False with `overwrite`.

    Raises:
        OutputError: It was made by another recipe.
    """
    made = not overwrite and output.check_recipe(recipe)
    if made:
        log.info("%s is done, nothing to do (overwrite=true writes it again)", output.features)
        job_records.update_current(state="nothing to do")
    return made


def create(
    output: OutputFolder,
    *,
    level: Level,
    shape: tuple[int, ...],
    collection: str,
    config: str,
    provenance: Mapping[str, Any],
    recipe: Recipe,
) -> FeatureFileWriter:
    """Write the config of a derived feature, and begin its file.

    Args:
        output: The folder of the feature, whose name is the feature's.
        level: Of the rows.
        shape: Of one row, (D,) or (10, D).
        collection: The collection's name.
        config: As YAML.
        provenance: Where the numbers come from.
        recipe: What makes them.

    Returns:
        The writer, which is a context manager.
    """
    write_text(output.folder / "config.yaml", config)
    attributes = {
        "feature": output.folder.name,
        "collection": collection,
        "config": config,
        "provenance": json.dumps({**provenance, "recipe": recipe}),
    }
    return FeatureFileWriter(output.features, level=level, shape=shape, attributes=attributes)
