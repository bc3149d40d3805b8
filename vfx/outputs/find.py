"""Finds features that were made before: by name, by path, and by recipe."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from vfx.errors import OutputError
from vfx.features.feature_file import FeatureFile
from vfx.features.reader import FeatureReader
from vfx.outputs.output_folder import FEATURES, OutputFolder
from vfx.outputs.recipe import Recipe
from vfx.sweeps import job_records

log = logging.getLogger(__name__)


def open_feature(collection: Path, feature: str) -> FeatureFile:
    """Open a feature of a collection by its name.

    Args:
        collection: The output folder of the collection.
        feature: The name of the feature, which is that of its folder.

    Raises:
        OutputError: There is no such file. The message lists the features that exist.
    """
    path = collection / feature / FEATURES
    if not path.is_file():
        there = sorted(p.parent.name for p in collection.glob(f"*/{FEATURES}"))
        has = f"{', '.join(there)}: feature=<one of these>" if there else "no finished feature: vfx.extract makes them"
        raise OutputError(f"no {path}; {collection} has {has}")
    return FeatureFile(path)


def find_file(path: str | Path) -> Path:
    """The feature file at a path, or in the folder at that path. Raises OutputError where there is none."""
    path = Path(path).expanduser()
    path = path / FEATURES if path.is_dir() else path
    if not path.is_file():
        raise OutputError(f"file ({path}) is not there; give a features.h5, or the folder that holds it")
    return path


def source_recipe(file: FeatureReader) -> dict[str, Any]:
    """What the recipe of a derived feature says of its source: the source's own recipe, and when it was made."""
    return {
        "feature": file.feature,
        "created": file.attributes["created"],
        "rows": file.features.shape[0],
        "recipe": file.provenance["recipe"],
    }


def is_made(output: OutputFolder, recipe: Recipe, *, overwrite: bool) -> bool:
    """Whether a derived feature exists and was made by this recipe; False with `overwrite`.

    Raises:
        OutputError: It was made by another recipe.
    """
    made = not overwrite and output.check_recipe(recipe)
    if made:
        log.info("%s is done, nothing to do (overwrite=true writes it again)", output.features)
        job_records.tell(state="nothing to do")
    return made
