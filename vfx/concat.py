"""Step 4: concatenates several features of one level, row by row."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from vfx.cli import command
from vfx.cli.logging import log_to_files
from vfx.collection.collection import collection_name
from vfx.errors import UsageError
from vfx.features.concatenation import Concatenation
from vfx.outputs.derived_feature import create, is_made, source_recipe
from vfx.outputs.find import open_feature
from vfx.outputs.output_folder import OutputFolder

log = logging.getLogger("vfx.concat")  # not __name__, which is __main__ when run


def main(*overrides: str) -> Path:
    """Concatenate as the command line does: `main("collection=toydata", "features=A+B")`.

    Args:
        overrides: Of conf/concat.yaml.

    Returns:
        The feature file.

    Raises:
        VfxError: One of its kinds, see vfx/errors.py.
    """
    return command.call(concat, "concat", overrides)


def concat(config: DictConfig) -> Path:
    """Concatenate as a resolved config of conf/concat.yaml says. Returns the feature file."""
    if config.normalize not in (None, "l2"):
        raise UsageError(f"normalize ({config.normalize}) must be null or l2")
    folder = Path(config.output_dir) / collection_name(config.collection)
    names = str(config.features).split("+")
    if len(names) < 2:
        raise UsageError(f"features ({config.features}) must name at least two, joined by +")
    with ExitStack() as stack:
        files = [stack.enter_context(open_feature(folder, name)) for name in names]
        joint = Concatenation(files, normalize=config.normalize)
        first = files[0]
        recipe = {"concat": [source_recipe(file) for file in files], "normalize": config.normalize}
        output = OutputFolder(folder / "+".join(names))
        with output.locked():
            if is_made(output, recipe, overwrite=config.overwrite):
                return output.features
            log_to_files(output.folder / "concat.log")
            provenance = {
                "versions": first.provenance.get("versions", {}),
                "parts": {file.feature: file.provenance.get("weights") for file in files},
            }
            with create(
                output,
                level=first.level,
                shape=joint.shape,
                collection=first.attributes["collection"],
                config=OmegaConf.to_yaml(config),
                provenance=provenance,
                recipe=recipe,
            ) as writer:
                for _ in tqdm(joint.write(writer), total=len(first), unit=f" {first.level}s", disable=None):
                    pass
    log.info("%s: %d rows of %s values", output.features, writer.rows, " x ".join(map(str, joint.shape)))
    return output.features


if __name__ == "__main__":
    command.run(concat, "concat")
