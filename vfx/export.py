"""Exports a feature in the form that retrieval models and other programs read."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from omegaconf import DictConfig

from vfx.cli import command
from vfx.cli.logging import log_to_files
from vfx.collection.collection import collection_name, find_collection
from vfx.errors import UsageError
from vfx.features.reader import FeatureReader
from vfx.formats import FORMATS
from vfx.formats.base import Format
from vfx.formats.publish import publish
from vfx.outputs.find import open_feature

log = logging.getLogger("vfx.export")  # not __name__, which is __main__ when run


def main(*overrides: str) -> Path:
    """Export as the command line does: `main("collection=toydata", "feature=...", "format=npy")`.

    Args:
        overrides: Of conf/export.yaml.

    Returns:
        The file or folder that was written.

    Raises:
        VfxError: One of its kinds, see vfx/errors.py.
    """
    return command.call(export, "export", overrides)


def export(config: DictConfig) -> Path:
    """Export as a resolved config of conf/export.yaml says. Returns the file or folder."""
    format = _format(config)
    start = time.monotonic()
    with open_feature(Path(config.output_dir) / collection_name(config.collection), config.feature) as file:
        shape = file.features.shape
        if len(shape) > 2 and not format.CROPS:
            raise UsageError(
                f"format={config.format} has one vector a row, and {file.path} keeps ten crops of each frame apart;"
                " extract with oversample=true for their mean, or export as npy or npz"
            )
        destination = _destination(config, file, format)
        log_to_files(file.path.with_name("export.log"))
        with publish(destination, source=file.path, files=format.FILES, overwrite=config.overwrite) as target:
            format.write(file, target)
    size = " x ".join(map(str, shape[1:]))
    log.info("%s: %s rows of %s values in %.1f s", destination, shape[0], size, time.monotonic() - start)
    return destination


def _format(config: DictConfig) -> Format:
    if config.format not in FORMATS:
        raise UsageError(f"format ({config.format}) must be one of {', '.join(FORMATS)}")
    if config.layout not in ("default", "laff"):
        raise UsageError(f"layout ({config.layout}) must be default or laff")
    if config.layout == "laff" and config.format != "bigfile":
        raise UsageError(f"layout=laff is one of format=bigfile, and format is {config.format}: leave one away")
    return FORMATS[config.format]


def _destination(config: DictConfig, file: FeatureReader, format: Format) -> Path:
    if config.destination is not None:
        return Path(config.destination).expanduser()
    if config.format != "bigfile":
        return file.path.with_name(format.NAME)
    folder = find_collection(config.collection, config.rootpath).root / "FeatureData"
    if config.layout == "laff" and file.level == "frame":
        folder /= "frame"
    return folder / config.feature


if __name__ == "__main__":
    command.run(export, "export")
