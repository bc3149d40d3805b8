"""Writes an HTML report of one or more features: what they hold, what is wrong with them, and a map of their rows."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from vfx import validation
from vfx.cli import command
from vfx.cli.config import build
from vfx.collection.collection import collection_name
from vfx.errors import OutputError, UsageError
from vfx.features.feature_file import FeatureFile
from vfx.outputs.find import find_file, open_feature
from vfx.system.cpu_count import cores
from vfx.system.files import write_text
from vfx.system.optional_imports import need

if TYPE_CHECKING:
    from vfx.analysis.thumbnails import Thumbnail
    from vfx.decoding.limits import Limits
    from vfx.reporting.study import Options, Study

log = logging.getLogger("vfx.report")  # not __name__, which is __main__ when run
NAME = "report.html"
MOST_FEATURES = 6


def main(*overrides: str) -> Path:
    """Report as the command line does: `main("collection=toydata", "feature=...")`.

    Args:
        overrides: Of conf/report.yaml.

    Returns:
        The page.

    Raises:
        VfxError: One of its kinds, see vfx/errors.py.
    """
    return command.call(report, "report", overrides)


def report(config: DictConfig) -> Path:
    """Write the page that a resolved config of conf/report.yaml asks for. Returns the page."""
    from vfx.reporting.html_page import render
    from vfx.reporting.study import Options, study

    need("jinja2", extra="report", for_="vfx.report")
    options = Options(
        pictures=validation.whole("pictures", config.pictures, least=0, most=1000),
        videos=validation.whole("videos", config.videos, least=0, most=64),
        duplicate=_cosine(config.duplicate),
        seed=validation.whole("seed", config.seed, least=0, most=2**32),
    )
    limits = build(config.limits)
    with ExitStack() as stack:
        files = [stack.enter_context(file) for file in _open(config)]
        target = _target(config, files)
        studies = []
        for file in files:
            log.info("reading %s", file.path)
            studies.append(study(file, options))
        thumbnails, without = _thumbnails(config, studies, options, limits)
        text = render(studies, thumbnails, options=options, without=without)
    write_text(target, text)
    log.info("%s: %.1f MB, %d pictures", target, len(text.encode()) / 1e6, len(thumbnails))
    return target


def _target(config: DictConfig, files: list[FeatureFile]) -> Path:
    """The file to write: beside the feature, or in the folder of the collection for several."""
    if config.output is None:
        folder = files[0].path.parent
        return (folder if len(files) == 1 else folder.parent) / NAME
    target = Path(config.output).expanduser()
    if not target.parent.is_dir():
        raise UsageError(f"output ({target}) must be in a folder that is there")
    return target


def _thumbnails(
    config: DictConfig, studies: list[Study], options: Options, limits: Limits
) -> tuple[list[Thumbnail], str]:
    """The pictures to show, the most important first, and why there are none ("" where there are)."""
    from vfx.analysis.thumbnails import find_collection_of, make_thumbnails
    from vfx.reporting.study import wanted_frames

    wanted = wanted_frames(studies, options)
    if not wanted:
        return [], "pictures=0" if options.pictures == 0 else ""
    file = studies[0].file
    collection = find_collection_of(file, config.collection, config.rootpath)
    if collection is None:
        return [], f"the videos of {file.attributes['collection']} are not where they were"
    log.info("drawing %d frames of %s", len(wanted), collection.root)
    thumbnails = list(make_thumbnails(collection, wanted, limits=limits, processes=cores()))
    order = {key: n for n, key in enumerate(wanted)}
    thumbnails.sort(key=lambda thumbnail: order[thumbnail.video, thumbnail.index])
    return thumbnails, "" if thumbnails else f"none of its frames could be read in {collection.root}"


def _open(config: DictConfig) -> Iterator[FeatureFile]:
    """Open the features that the config names."""
    if (config.file is None) == (config.collection is None):
        raise UsageError("give either collection=... or file=... (see --help)")
    if config.file is not None:
        if config.feature is not None or config.features is not None:
            raise UsageError("feature=... and features=... go with collection=..., not with file=...")
        yield FeatureFile(find_file(config.file))
        return
    folder = Path(config.output_dir) / collection_name(config.collection)
    for name in _names(config, folder):
        yield open_feature(folder, name)


def _names(config: DictConfig, folder: Path) -> list[str]:
    """The names of the features that the config asks for."""
    if config.feature is not None and config.features is not None:
        raise UsageError("give either feature=... or features=A+B, not both")
    if config.feature is not None:
        return [config.feature]
    there = sorted(path.parent.name for path in folder.glob("*/features.h5"))
    if not there:
        raise OutputError(f"no finished feature in {folder}; python -m vfx.extract makes them")
    names = there if config.features is None else split_names(config.features, there)
    if len(names) > MOST_FEATURES:
        raise UsageError(f"{len(names)} features: at most {MOST_FEATURES} stand side by side; name them: features=A+B")
    return names


def split_names(features: str, there: list[str]) -> list[str]:
    """Split `A+B+C` into the names of features.

    A name may itself hold a `+`, as that of a concatenation does. So parts that are no feature by themselves are joined
    with those that follow.

    Args:
        features: The names, joined by `+`.
        there: The features that exist.

    Raises:
        UsageError: A feature is named twice.
    """
    names: list[str] = []
    parts = features.split("+")
    while parts:
        ends = [n for n in range(1, len(parts) + 1) if "+".join(parts[:n]) in there]
        taken = ends[0] if ends else 1  # opening it will raise the error
        names.append("+".join(parts[:taken]))
        parts = parts[taken:]
    if len(set(names)) < len(names):
        raise UsageError(f"features ({features}) names a feature twice; feature=A+B is the concatenation alone")
    return names


def _cosine(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise UsageError(f"duplicate ({value}) must be a cosine, above 0 and at most 1")
    return float(value)


if __name__ == "__main__":
    command.run(report, "report")
