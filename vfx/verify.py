"""Verifies that feature files hold what was written to them, and keep the schema."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from omegaconf import DictConfig
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from vfx.cli import command
from vfx.collection.collection import collection_name
from vfx.errors import IntegrityError, OutputError, UsageError
from vfx.features import schema
from vfx.features.integrity import examine_files
from vfx.outputs.find import find_file
from vfx.outputs.output_folder import OutputFolder

log = logging.getLogger("vfx.verify")  # not __name__, which is __main__ when run


def main(*overrides: str) -> Path:
    """Verify as the command line does: `main("collection=toydata", "feature=...")`.

    Args:
        overrides: Of conf/verify.yaml.

    Returns:
        The file that was verified, or the folder that holds the files.

    Raises:
        IntegrityError: Something is wrong; the log says what.
        VfxError: One of its kinds, see vfx/errors.py.
    """
    return command.call(verify, "verify", overrides)


def verify(config: DictConfig) -> Path:
    """Verify what a resolved config of conf/verify.yaml names. Returns the file, or the folder of the files."""
    asked, paths = _files(config)
    start = time.monotonic()
    size = sum(path.stat().st_size for path in paths)
    wrong: set[Path] = set()
    with tqdm(total=size, unit="B", unit_scale=True, disable=None) as bar, logging_redirect_tqdm([log.parent or log]):
        for path, finding in examine_files(paths, on_read=bar.update):
            log.info("%s: %s", path, finding.text)
            if finding.wrong:
                wrong.add(path)
    checked = f"{len(paths)} file{'s' * (len(paths) > 1)}"
    if bad := sorted(wrong):
        raise IntegrityError(
            f"{len(bad)} of {checked} not as it should be, such as {bad[0]}; see above; {schema.REMEDY}"
        )
    log.info("%s, %.1f MB in %.1f s: nothing is wrong", checked, size / 1e6, time.monotonic() - start)
    return asked


def _files(config: DictConfig) -> tuple[Path, list[Path]]:
    """The file or folder that the config names, and the feature files there."""
    if (config.file is None) == (config.collection is None):
        raise UsageError("give either collection=... or file=... (see --help)")
    if config.file is not None:
        if config.feature is not None:
            raise UsageError(f"feature ({config.feature}) goes with collection=..., not with file=...")
        path = find_file(config.file)
        return path, [path]
    collection = Path(config.output_dir) / collection_name(config.collection)
    features = {folder.name: _feature_files(folder) for folder in sorted(collection.glob("*"))}
    there = [name for name, paths in features.items() if paths]
    if not there or config.feature not in (None, *there):
        raise OutputError(
            f"no feature file in {collection / (config.feature or '*')}; {collection} has"
            f" {', '.join(there) or 'none: vfx.extract makes them'}"
        )
    if config.feature is None:
        return collection, [path for paths in features.values() for path in paths]
    return collection / config.feature, features[config.feature]


def _feature_files(folder: Path) -> list[Path]:
    """The finished file of a feature, or the parts of an unfinished one, if there are any."""
    output = OutputFolder(folder)
    return [path for path in (output.features, *output.part_paths()) if path.is_file()]


if __name__ == "__main__":
    command.run(verify, "verify")
