"""Searches a feature for the frames or videos nearest to a picture, a frame or a video, and draws a contact sheet."""

from __future__ import annotations

import logging
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vfx import validation
from vfx.cli import command
from vfx.cli.config import build, target
from vfx.collection.collection import collection_name
from vfx.decoding.limits import Limits
from vfx.errors import UsageError
from vfx.features.feature_file import FeatureFile
from vfx.outputs.find import find_file, open_feature
from vfx.system.cpu_count import cores
from vfx.system.files import write_text
from vfx.text import clock, table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from vfx.analysis.thumbnails import FrameKey
    from vfx.retrieval.query import Query
    from vfx.retrieval.results import Result

log = logging.getLogger("vfx.search")  # not __name__, which is __main__ when run
NAME = "search.png"
QUERIES = ("image", "frame", "video", "segment")
SIDE = 480  # pixels of a picture on the sheet, at most
QUALITY = 90  # of its JPEG
MOST = 1000


def main(*overrides: str) -> Path:
    """Search as the command line does: `main("collection=toydata", "feature=...", "image=a.jpg")`.

    Args:
        overrides: Of conf/search.yaml.

    Returns:
        The contact sheet.

    Raises:
        VfxError: One of its kinds, see vfx/errors.py.
    """
    return command.call(search, "search", overrides)


def search(config: DictConfig) -> Path:
    """Search as a resolved config of conf/search.yaml says, and draw the contact sheet. Returns the sheet."""
    from vfx.retrieval.contact_sheet import save
    from vfx.retrieval.results import find_nearest, to_text

    limits = build(config.limits)
    _check(config)
    with _open(config) as file:
        sheet_file, hits_file = _targets(config, file)
        query = _query(config, file, limits)
        results, how = find_nearest(
            file,
            query,
            top=config.top,
            same_video=config.same_video,
            one_per_video=config.group == "video",
            index=config.index,
        )
        _log(file, query, results, how)
        if hits_file is not None:
            write_text(hits_file, to_text(results, hits_file.suffix.lower()))
        save(_sheet(config, file, query, results, how, limits), sheet_file, quality=QUALITY)
    return sheet_file


def _check(config: DictConfig) -> None:
    """Raise UsageError for keys that are wrong, whatever the feature is."""
    given = [key for key in QUERIES if config[key] is not None]
    if len(given) != 1:
        raise UsageError(
            f"give one of {', '.join(f'{key}=...' for key in QUERIES)}, not {' and '.join(given) or 'none'}"
        )
    validation.whole("top", config.top, least=1, most=MOST)
    for key, values in {
        "group": (None, "video"),
        "index": ("auto", "exact", "faiss"),
        "same_video": (True, False),
    }.items():
        if config[key] not in values:
            raise UsageError(f"{key} ({config[key]}) must be {' or '.join(str(value).lower() for value in values)}")
    seconds = config.seconds
    if seconds is not None and (
        config.video is None or isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0
    ):
        raise UsageError(f"seconds ({seconds}) must be a time in seconds, 0 or more, and goes with video=")


def _open(config: DictConfig) -> FeatureFile:
    """Open the feature that the config names."""
    if (config.file is None) == (config.collection is None):
        raise UsageError("give either collection=... and feature=..., or file=... (see --help)")
    if (config.file is None) == (config.feature is None):
        raise UsageError("feature=... goes with collection=..., which needs it, and not with file=... (see --help)")
    if config.file is not None:
        return FeatureFile(find_file(config.file))
    return open_feature(Path(config.output_dir) / collection_name(config.collection), config.feature)


def _targets(config: DictConfig, file: FeatureFile) -> tuple[Path, Path | None]:
    """The files to write: the sheet, and the list of hits if one is asked for."""
    sheet_file = file.path.parent / NAME if config.output is None else Path(config.output).expanduser()
    hits_file = None if config.hits is None else Path(config.hits).expanduser()
    for path, suffixes in [(sheet_file, (".png", ".jpg", ".jpeg")), (hits_file, (".tsv", ".json"))]:
        if path is not None and (path.suffix.lower() not in suffixes or not path.parent.is_dir()):
            raise UsageError(f"{path} must end in {' or '.join(suffixes)}, in a folder that is there")
    return sheet_file, hits_file


def _query(config: DictConfig, file: FeatureFile, limits: Limits) -> Query:
    import numpy as np

    from vfx.retrieval.query import Query, open_image, query_by_id

    if config.group is not None and file.level != "frame":
        raise UsageError(f"group=video is for features of frame level; {file.feature} is of {file.level} level")
    if config.image is not None:
        path = Path(config.image).expanduser()
        image = open_image(path, limits)
        return Query(path.name, _embed(file, np.asarray(image), weights=config.weights), picture=image)
    (kind,) = (key for key in QUERIES if config[key] is not None)
    query = query_by_id(file, kind, config[kind], config.seconds)
    if query.whole_video and config.group is not None:
        raise UsageError("group=video is for frames; video= lists videos by their means as it is")
    return query


def _embed(file: FeatureFile, pixels: NDArray[np.uint8], *, weights: str | None) -> NDArray[np.floating]:
    """The row (D,) that a picture, (H, W, 3), would have in a feature, by the network that made the feature."""
    from vfx.retrieval import stored_network

    *pooled, extracted = stored_network.pooled_from(file)
    poolings = [build(_stored_node(each, "pooling", package="vfx.pooling")) for each in reversed(pooled)]
    node = _stored_node(extracted, "model", package="vfx.models")
    if weights is not None:
        node.weights = str(weights)
    if node.get("weights") == "random":
        stored_network.check_random_weights(extracted)
    network = build(node, leave_out=("compile",))
    stored_network.check_network(network, extracted)
    oversample = extracted.provenance["recipe"]["oversample"]
    row = stored_network.embed(network, pixels, oversample=oversample, poolings=poolings)
    if not row.any():
        raise UsageError(f"{file.feature} of a single picture is zero; give an id of it, or a feature of frame level")
    return row


def _stored_node(file: FeatureFile, key: str, *, package: str) -> DictConfig:
    """A node of the config in a feature file, which may come from anywhere: its target must be in `package`, and it may
    have neither interpolations nor further targets."""
    from vfx.retrieval.stored_network import OTHERWISE

    try:
        node = DictConfig(OmegaConf.create(file.attributes["config"]))[key]
        text = OmegaConf.to_yaml(node)
        name = target(node)
    except (OmegaConfBaseException, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UsageError(f"{file.path}: attribute config has no {key}, which image= needs; {OTHERWISE}") from error
    except Exception as error:
        raise UsageError(f"{file.path}: attribute config is not YAML: {error}; {OTHERWISE}") from error
    if not name.startswith(f"{package}.") or "${" in text or text.count("_target_") > 1:
        raise UsageError(f"{file.path}: {key} ({name}) is not one that vfx writes, and was not run; {OTHERWISE}")
    return node


def _log(file: FeatureFile, query: Query, results: list[Result], how: str) -> None:
    kind = "video" if query.whole_video else str(file.level)
    rows = [(str(result.rank), f"{result.score:.4f}", result.id, _time(result)) for result in results]
    log.info("%d nearest to %s in %s (%s)", len(results), query.name, file.feature, how)
    for line in table([("", "score", kind, "time"), *rows], align=">"):
        log.info("%s", line)


def _sheet(
    config: DictConfig, file: FeatureFile, query: Query, results: list[Result], how: str, limits: Limits
) -> Image.Image:
    from vfx.analysis.thumbnails import MIDDLE
    from vfx.retrieval.contact_sheet import Cell, draw

    keys = [
        None if result.video is None else (result.video, MIDDLE if result.index is None else result.index)
        for result in results
    ]
    pictures = _pictures(config, file, {key for key in [*keys, query.key] if key is not None}, limits)
    shown = query.picture if query.key is None else pictures.get(query.key)
    cells = [
        Cell(
            None if key is None else pictures.get(key),
            [f"{result.rank}.  {result.score:.3f}", result.id, _time(result)],
            score=result.score,
        )
        for key, result in zip(keys, results, strict=True)
    ]
    return draw(
        Cell(shown, ["Query", query.name]),
        cells,
        title=f"{len(results)} nearest to {query.name}",
        note=f"{file.feature} of {file.attributes['collection']}; cosine, {how}",
    )


def _pictures(
    config: DictConfig, file: FeatureFile, wanted: set[FrameKey], limits: Limits
) -> dict[FrameKey, Image.Image]:
    """Pictures of frames, as far as their videos can be read."""
    from PIL import Image

    from vfx.analysis.thumbnails import find_collection_of, make_thumbnails

    collection = find_collection_of(file, config.collection, config.rootpath)
    if collection is None:
        log.warning("no pictures: the videos of %s are not where they were", file.attributes["collection"])
        return {}
    if not wanted:
        return {}
    thumbnails = make_thumbnails(collection, wanted, limits=limits, side=SIDE, quality=QUALITY, processes=cores())
    return {(each.video, each.index): Image.open(BytesIO(each.jpeg), formats=["JPEG"]) for each in thumbnails}


def _time(result: Result) -> str:
    return "" if result.seconds is None else clock(result.seconds)


if __name__ == "__main__":
    command.run(search, "search")
