"""Step 3: pools frame-level features to one row for each video or segment."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from vfx.cli import command
from vfx.cli.config import build, recipe_entry
from vfx.cli.logging import log_to_files
from vfx.collection.collection import collection_name
from vfx.errors import UsageError
from vfx.features.writer import FeatureFileWriter
from vfx.outputs.derived_feature import create, is_made, source_recipe
from vfx.outputs.find import open_feature
from vfx.outputs.output_folder import OutputFolder
from vfx.pooling.pool_rows import PooledRow, failed_segments, pool_segments, pool_videos
from vfx.sampling.segment_table import read_segments
from vfx.system.files import sha256

log = logging.getLogger("vfx.pool")  # not __name__, which is __main__ when run


def main(*overrides: str) -> Path:
    """Pool as the command line does: `main("collection=toydata", "feature=...")`.

    Args:
        overrides: Of conf/pool.yaml.

    Returns:
        The feature file.

    Raises:
        VfxError: One of its kinds, see vfx/errors.py.
    """
    return command.call(pool, "pool", overrides)


def pool(config: DictConfig) -> Path:
    """Pool as a resolved config of conf/pool.yaml says. Returns the feature file."""
    folder = Path(config.output_dir) / collection_name(config.collection)
    pooling = build(config.pooling)
    recipe: dict[str, Any] = {"pooling": recipe_entry(config.pooling)}
    name = f"{recipe['pooling']['name']}_{config.feature}"
    table = None
    if config.segments is not None:
        table = read_segments(config.segments)
        name += f",{Path(config.segments).stem}"
        recipe["segments"] = sha256(Path(config.segments).expanduser())
    with open_feature(folder, config.feature) as file:
        if file.level != "frame":
            raise UsageError(
                f"feature {config.feature} is of {file.level} level already; pool takes frame level, as vfx.extract"
                " writes it"
            )
        failures = file.failures + (failed_segments(file, table) if table else [])
        recipe["source"] = source_recipe(file)
        output = OutputFolder(folder / name)
        with output.locked():
            if is_made(output, recipe, overwrite=config.overwrite):
                return output.features
            log_to_files(output.folder / "pool.log")
            with create(
                output,
                level="segment" if table else "video",
                shape=file.features.shape[1:],
                collection=file.attributes["collection"],
                config=OmegaConf.to_yaml(config),
                provenance=file.provenance,
                recipe=recipe,
            ) as writer:
                rows = pool_segments(file, pooling, table) if table else pool_videos(file, pooling)
                nearest = _write(writer, rows, sum(map(len, table.values())) if table else len(file))
                writer.add_failures(failures)
    if nearest:
        log.info("%d segments hold no frame and have the nearest one's features", nearest)
    log.info("%s: %d rows, %d failures", output.features, writer.rows, len(failures))
    return output.features


def _write(writer: FeatureFileWriter, rows: Iterable[PooledRow], total: int) -> int:
    """Write all rows, and return how many are those of the nearest frame."""
    nearest = 0
    for row in tqdm(rows, total=total, unit=" rows", disable=None):
        writer.add_rows([row.id], row.features[None])
        nearest += row.is_nearest
    return nearest


if __name__ == "__main__":
    command.run(pool, "pool")
