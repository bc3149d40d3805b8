"""A page about features for people to look at: what they are, what is wrong with them, and how their rows lie."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

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

log = logging.getLogger("vfx.report")  # not __name__, which is __main__ when run
NAME = "report.html"


def main(*overrides: str) -> Path:
    """Report as the command line does, `main("collection=toydata", "feature=...")`; returns the page.

    Raises VfxError and its kin, see vfx/errors.py.
    """
    return command.call(report, "report", overrides)


def report(config: DictConfig) -> Path:
    """Write the page of what a resolved config of conf/report.yaml names; returns its path."""
    from vfx.analysis import thumbnails
    from vfx.reporting import html_page
    from vfx.system.optional_imports import need

    need("jinja2", extra="report", for_="vfx.report")
    options = html_page.Options(
        pictures=validation.whole("pictures", config.pictures, least=0, most=1000),
        videos=validation.whole("videos", config.videos, least=0, most=64),
        duplicate=_cosine(config),
        seed=validation.whole("seed", config.seed, least=0, most=2**32),
    )
    limits = build(config.limits)
    with ExitStack() as stack:
        files = [stack.enter_context(file) for file in _opened(config)]
        one = files[0].path.parent
        target = (one if len(files) == 1 else one.parent) / NAME
        if config.output is not None:
            target = Path(config.output).expanduser()
            if not target.parent.is_dir():
                raise UsageError(f"output ({target}) must be in a folder that is there")
        studies = []
        for file in files:
            log.info("reading %s", file.path)
            studies.append(html_page.study(file, options))
        drawn: list[thumbnails.Picture] = []
        without = "pictures=0" if options.pictures == 0 else ""
        wanted = html_page.wanted(studies, options)
        if wanted:
            collection = thumbnails.collection_of(studies[0].file, config.collection, config.rootpath)
            if collection is None:
                without = f"the videos of {studies[0].file.attributes['collection']} are not where they were"
            else:
                log.info("drawing %d frames of %s", len(wanted), collection.root)
                drawn = list(thumbnails.draw(collection, wanted, limits=limits, processes=cores()))
                without = "" if drawn else f"none of its frames could be read in {collection.root}"
        order = {key: n for n, key in enumerate(wanted)}
        drawn.sort(key=lambda picture: order[picture.video, picture.index])
        text = html_page.render(studies, drawn, options=options, without=without)
    write_text(target, text)
    log.info("%s: %.1f MB, %d pictures", target, len(text.encode()) / 1e6, len(drawn))
    return target


def _opened(config: DictConfig) -> Iterator[FeatureFile]:
    """The features asked for. Raises UsageError and its kin where that is not said well, or one is not there."""
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
    """The features asked for. Raises UsageError, and OutputError where there is none or one is not there."""
    from vfx.reporting.html_page import MOST_FEATURES

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
    """`A+B+C` -> the names of features in it. A name may itself hold a `+`, as that of a concatenation: parts that are
    no feature by themselves are one with what follows. Raises UsageError where a feature is named twice.
    """
    names: list[str] = []
    parts = features.split("+")
    while parts:
        ends = [n for n in range(1, len(parts) + 1) if "+".join(parts[:n]) in there]
        taken = ends[0] if ends else 1  # what is not there is said when it is opened
        names.append("+".join(parts[:taken]))
        parts = parts[taken:]
    if len(set(names)) < len(names):
        raise UsageError(f"features ({features}) names a feature twice; feature=A+B is the concatenation alone")
    return names


def _cosine(config: DictConfig) -> float:
    value = config.duplicate
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= 1:
        raise UsageError(f"duplicate ({value}) must be a cosine, above 0 and at most 1")
    return float(value)


if __name__ == "__main__":
    command.run(report, "report")
