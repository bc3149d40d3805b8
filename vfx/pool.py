"""Step 3: video-level or segment-level features, one row each, out of frame-level ones."""

from __future__ import annotations

import json
import logging
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
from vfx.outputs.find import is_made, open_feature, source_recipe
from vfx.outputs.output_folder import OutputFolder
from vfx.pooling.pool_rows import Pooled, pool_segments, pool_videos, without_rows
from vfx.sampling.segment_table import read_segments
from vfx.system.files import sha256, write_text

log = logging.getLogger("vfx.pool")  # not __name__, which is __main__ when run


def main(*overrides: str) -> Path:
    """Pool as the command line does, `main("collection=toydata", "feature=...")`; returns the file.

    Raises VfxError and its kin, see vfx/errors.py.
    """
    return command.call(pool, "pool", overrides)


def pool(config: DictConfig) -> Path:
    """Write `features.h5` of the pooled feature as a resolved config of conf/pool.yaml says; returns its path."""
    folder = Path(config.output_dir) / collection_name(config.collection)
    pooling = build(config.pooling)
    making: dict[str, Any] = {"pooling": recipe_entry(config.pooling)}
    name = f"{making['pooling']['name']}_{config.feature}"
    table = None
    if config.segments is not None:
        table = read_segments(config.segments)
        name += f",{Path(config.segments).stem}"
        making["segments"] = sha256(Path(config.segments).expanduser())
    with open_feature(folder, config.feature) as file:
        if file.level != "frame":
            raise UsageError(
                f"feature {config.feature} is of {file.level} level already; pool takes frame level, as vfx.extract"
                " writes it"
            )
        failures = file.failures + (without_rows(file, table) if table else [])
        making["source"] = source_recipe(file)
        output = OutputFolder(folder / name)
        with output.locked():
            if is_made(output, making, overwrite=config.overwrite):
                return output.features
            output.folder.mkdir(parents=True, exist_ok=True)
            log_to_files(output.folder / "pool.log")
            attributes = {
                "feature": name,
                "collection": file.attributes["collection"],
                "config": OmegaConf.to_yaml(config),
                "provenance": json.dumps(file.provenance | {"recipe": making}),
            }
            write_text(output.folder / "config.yaml", attributes["config"])
            rows = pool_segments(file, pooling, table) if table else pool_videos(file, pooling)
            total = sum(map(len, table.values())) if table else len(file)
            with FeatureFileWriter(
                output.features,
                level="segment" if table else "video",
                shape=file.features.shape[1:],
                attributes=attributes,
            ) as writer:
                nearest = _write(writer, rows, total)
                writer.add_failures(failures)
    if nearest:
        log.info("%d segments hold no frame and have the nearest one's features", nearest)
    log.info("%s: %d rows, %d failures", output.features, writer.rows, len(failures))
    return output.features


def _write(writer: FeatureFileWriter, rows: Any, total: int) -> int:
    """Write all rows; returns how many are those of the nearest frame."""
    nearest = 0
    pooled: Pooled
    for pooled in tqdm(rows, total=total, unit=" rows", disable=None):
        writer.add_rows([pooled.id], pooled.row[None])
        nearest += pooled.nearest
    return nearest


if __name__ == "__main__":
    command.run(pool, "pool")
