"""Finds feature files by the name of the feature or by path."""

from __future__ import annotations

from pathlib import Path

from vfx.errors import OutputError
from vfx.features.feature_file import FeatureFile
from vfx.outputs.output_folder import FEATURES


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
