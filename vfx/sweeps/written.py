"""What a command wrote, as a sweep tells it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Written:
    """What a job wrote. All but the path is that of a feature file.

    Args:
        path: of the file, or whatever a job's result is as text.
        collection: name of the collection.
        feature: name of the feature.
        rows: how many there are.
        dims: shape of a row, as `1280` or `10x1280`.
        failures: how many videos failed.
    """

    path: str
    collection: str = ""
    feature: str = ""
    rows: int | None = None
    dims: str = ""
    failures: int | None = None

    @classmethod
    def of(cls, result: object) -> Written:
        """What a command returned; of all but a feature file no more than its text."""
        is_file = isinstance(result, Path) and result.suffix == ".h5" and result.is_file()
        return cls.of_file(str(result)) if is_file else cls(str(result))

    @classmethod
    def of_file(cls, path: str | Path) -> Written:
        """Describe a feature file, given by its path or folder. Raises OutputError where it is not one."""
        from vfx.features.feature_file import FeatureFile  # late: jobs that fail early need none of it

        with FeatureFile(path) as file:
            rows, *dims = file.features.shape
            named = file.attributes["collection"], file.attributes["feature"]
            return cls(str(path), *named, rows, "x".join(map(str, dims)), len(file.failures))
