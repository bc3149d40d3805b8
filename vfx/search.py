"""The frames or videos of a feature that are nearest to a picture, a frame or a video, listed and shown on a sheet."""

from __future__ import annotations

import csv
import io
import json
import logging
import math
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vfx import lean, validation
from vfx.cli import command
from vfx.cli.config import build, target
from vfx.collection.collection import collection_name
from vfx.decoding.limits import Limits
from vfx.errors import OutputError, UsageError, VideoError, WeightsError
from vfx.features.feature_file import FeatureFile
from vfx.outputs.find import find_file, open_feature
from vfx.system.cpu_count import cores
from vfx.system.files import replace_durably, write_text, writing
from vfx.text import clock, table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from vfx.models import Network

log = logging.getLogger("vfx.search")  # not __name__, which is __main__ when run
NAME = "search.png"
QUERIES = ("image", "frame", "video", "segment")
OTHER = "give frame=, video= or segment= instead"
SIDE = 480  # pixels of a picture on the sheet, at most
MOST = 1000


@dataclass(frozen=True)
class Found:
    """A hit as it is listed. `index`, `seconds`: of a frame; None for what has none."""

    rank: int
    score: float
    id: str
    video: str | None
    index: int | None
    seconds: float | None


@dataclass(frozen=True)
class Query:
    """What is looked for. `span`: the rows of its own video. `key`: how its picture can be had."""

    name: str
    vector: NDArray[np.floating]
    span: tuple[int, int] = (0, 0)
    own: str | None = None
    key: tuple[str, int] | None = None
    picture: Image.Image | None = None
    whole: bool = False


def main(*overrides: str) -> Path:
    """Search as the command line does, `main("collection=toydata", "feature=...", "image=a.jpg")`; returns the sheet.

    Raises VfxError and its kin, see vfx/errors.py.
    """
    return command.call(search, "search", overrides)


def search(config: DictConfig) -> Path:
    """Find what a resolved config of conf/search.yaml asks for, and draw the sheet; returns its path."""
    limits = build(config.limits)
    _check(config)
    with _feature(config) as file:
        target = file.path.parent / NAME if config.output is None else Path(config.output).expanduser()
        hits_file = None if config.hits is None else Path(config.hits).expanduser()
        for path, suffixes in [(target, (".png", ".jpg", ".jpeg")), (hits_file, (".tsv", ".json"))]:
            if path is not None and (path.suffix.lower() not in suffixes or not path.parent.is_dir()):
                raise UsageError(f"{path} must end in {' or '.join(suffixes)}, in a folder that is there")
        query = _query(config, file, limits)
        hits, how = _hits(config, file, query)
        found = _named(file, query, hits, own=config.same_video)[: config.top]
        kind = "video" if query.whole else str(file.level)
        rows = [("", "score", kind, "time")]
        rows += [(str(f.rank), f"{f.score:.4f}", f.id, _time(f)) for f in found]
        log.info("%d nearest to %s in %s (%s)", len(found), query.name, file.feature, how)
        for line in table(rows, align=">"):
            log.info("%s", line)
        if hits_file is not None:
            write_text(hits_file, _listed(found, hits_file.suffix.lower()))
        _save(_drawn(config, file, query, found, how, limits), target)
    return target


def _check(config: DictConfig) -> None:
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


def _feature(config: DictConfig) -> FeatureFile:
    """What is searched. Raises UsageError and its kin where that is not said well, or is not there."""
    if (config.file is None) == (config.collection is None):
        raise UsageError("give either collection=... and feature=..., or file=... (see --help)")
    if (config.file is None) == (config.feature is None):
        raise UsageError("feature=... goes with collection=..., which needs it, and not with file=... (see --help)")
    if config.file is not None:
        return FeatureFile(find_file(config.file))
    return open_feature(Path(config.output_dir) / collection_name(config.collection), config.feature)


def _query(config: DictConfig, file: FeatureFile, limits: Limits) -> Query:
    import numpy as np

    from vfx.analysis.statistics import at
    from vfx.analysis.thumbnails import MIDDLE
    from vfx.pooling import functions

    if config.group is not None and file.level != "frame":
        raise UsageError(f"group=video is for features of frame level; {file.feature} is of {file.level} level")
    if config.image is not None:
        picture, pixels = _opened(Path(config.image).expanduser(), limits)
        return Query(Path(config.image).name, _embedded(config, file, pixels), picture=picture)
    (kind,) = (key for key in QUERIES if config[key] is not None)
    id = config[kind]
    whole = kind == "video" and config.seconds is None
    if file.level != "frame":
        if kind != file.level or config.seconds is not None:
            raise UsageError(
                f"{file.feature} is of {file.level} level: give {file.level}=<id> or image=..., or a feature of frame"
                " level"
            )
        key = (id, MIDDLE) if kind == "video" else None
        return Query(f"{kind} {id}", _crops(file[id]), own=id, key=key)
    if kind == "segment":
        raise UsageError(f"{file.feature} is of frame level: give frame=, video= or image=")
    if whole:
        if config.group is not None:
            raise UsageError("group=video is for frames; video= lists videos by their means as it is")
        start, stop = file.span(id)
        vector = _crops(functions.mean(file.block_reader().blocks(start, stop), stop - start))
        return Query(f"video {id}", vector, span=(start, stop), own=id, key=(id, MIDDLE), whole=True)
    video = id if kind == "video" else id.rpartition("_")[0]
    if kind == "frame":
        vector = _crops(file[id])  # which says what there is where it is not there
        if vector.ndim != 1 or id in file.videos:
            raise UsageError(f"frame ({id}) is a video; give video={id}, or a frame of it: {id}_<index>")
        start, stop = file.span(video)
        index = int(id.rpartition("_")[2])
    else:
        start, stop = file.span(video)
        seconds = at(file, "seconds", np.arange(start, stop))
        if np.isnan(seconds).all():
            raise UsageError(f"seconds: the times of the frames of {video} are not known; give frame={video}_<index>")
        row = start + int(np.nanargmin(np.abs(seconds - config.seconds)))
        index = int(at(file, "index", np.array([row]))[0])
        vector = _crops(file.read(row, row + 1)[0])
    return Query(f"frame {video}_{index}", vector, span=(start, stop), own=video, key=(video, index))


def _crops(row: NDArray[Any]) -> NDArray[Any]:
    """A row (D,), of ten crops kept apart their mean."""
    return row.mean(axis=0) if row.ndim == 2 else row


def _opened(path: Path, limits: Limits) -> tuple[Image.Image, NDArray[Any]]:
    """A picture upright, and its pixels (H,W,3). Raises UsageError where it is none."""
    import numpy as np
    from PIL import Image, ImageOps

    from vfx.collection.collection import FRAME_FORMATS

    try:
        with Image.open(path, formats=FRAME_FORMATS) as opened:
            limits.check_size(path.name, *opened.size)
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except FileNotFoundError:
        raise UsageError(f"image ({path}) is not there; give the path of a picture") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, VideoError) as error:
        raise UsageError(
            f"image ({path}) cannot be read as a picture ({', '.join(FRAME_FORMATS)}): {error}; save it as one of these"
        ) from error
    return image, np.asarray(image)


def _embedded(config: DictConfig, file: FeatureFile, pixels: NDArray[Any]) -> NDArray[Any]:
    """The row that a picture would have in a feature, by what made it. Raises UsageError where that cannot be had."""
    lean.load_torch()
    import torch

    from vfx.inference.encoder import Encoder

    frames, poolings = _extracted(file)
    network = _network(config, frames)
    encoder = Encoder(network, oversample=frames.provenance["recipe"]["oversample"])
    with torch.inference_mode():
        row = encoder([encoder.preprocess(pixels[None].copy())])[0].numpy()
    for pool in poolings:
        row = pool([row[None]], 1)
    row = _crops(row)
    if not row.any():
        raise UsageError(f"{file.feature} of a single picture is zero; give an id of it, or a feature of frame level")
    return row


def _extracted(file: FeatureFile) -> tuple[FeatureFile, list[Any]]:
    """The feature of frame level that a feature is, or was pooled from, and how. Raises UsageError for others."""
    poolings: list[Any] = []
    recipe = file.provenance["recipe"]
    while "model" not in recipe:
        other = f"; {OTHER}"
        if "concat" in recipe:
            raise UsageError(f"{file.feature} is a concatenation: search with image= in one of its parts{other}")
        if not isinstance(recipe.get("source"), dict) or "pooling" not in recipe:
            raise UsageError(f"{file.feature} was not made by vfx.extract: what network made it is not known{other}")
        try:
            source = open_feature(file.path.parent.parent, str(recipe["source"].get("feature")))
        except OutputError as error:
            raise UsageError(f"{file.feature} was pooled from a feature that is needed for image=: {error}") from None
        if source.provenance["recipe"] != recipe["source"].get("recipe"):
            raise UsageError(
                f"{file.feature} was pooled from another {source.feature} than {source.path}: pool it again"
            )
        poolings.insert(0, build(_node(file, "pooling", "vfx.pooling.")))
        file, recipe = source, source.provenance["recipe"]
    return file, poolings


def _node(file: FeatureFile, key: str, prefix: str) -> DictConfig:
    """What a feature file says that one of its makers was; it may come from anywhere, and is instantiated only by the
    list of `build`, from that package, and with nothing filled in. Raises UsageError."""
    try:
        node = DictConfig(OmegaConf.create(file.attributes["config"]))[key]
        text = OmegaConf.to_yaml(node)
        name = target(node)
    except (OmegaConfBaseException, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UsageError(f"{file.path}: attribute config has no {key}, which image= needs; {OTHER}") from error
    except Exception as error:
        raise UsageError(f"{file.path}: attribute config is not YAML: {error}; {OTHER}") from error
    if not name.startswith(prefix) or "${" in text or text.count("_target_") > 1:
        raise UsageError(f"{file.path}: {key} ({name}) is not one that vfx writes, and was not run; {OTHER}")
    return node


def _network(config: DictConfig, file: FeatureFile) -> Network:
    """The network that made a feature. Raises UsageError where the one that is here is another."""
    import torch

    from vfx.outputs.recipe import differences

    recipe = file.provenance["recipe"]
    node = _node(file, "model", "vfx.models.")
    if config.weights is not None:
        node.weights = str(config.weights)
    if node.get("weights") == "random":
        made = file.provenance.get("versions", {}).get("torch")
        if made != torch.__version__.partition("+")[0] and made != torch.__version__:
            raise WeightsError(
                f"the random weights of {file.feature} were drawn by torch {made}, not {torch.__version__}:"
                " extract anew with this one, or search by an id"
            )
    network: Network = build(node, leave_out=("compile",))
    here = {
        "model": {
            "name": network.name,
            "layer": network.layer,
            "weights": network.weights.sha256 or network.weights.source,
        },
        "transform": json.loads(json.dumps(asdict(network.transform))),
    }
    there = {key: recipe.get(key) for key in here}
    if here != there:
        differ = ", ".join(f"{key} {before} there, {now} here" for key, before, now in differences(there, here))
        raise WeightsError(
            f"{file.feature} was not made by the network, weights and transform that are here: {differ}; weights=<file>"
            " says where the right weights are"
        )
    return network


def _hits(config: DictConfig, file: FeatureFile, query: Query) -> tuple[list[Any], str]:
    """The hits, by row or, for a whole video, by video; and how they were found."""
    from vfx.retrieval import exact_search, faiss_index

    total = file.features.shape[0]
    if query.whole:
        if config.index == "faiss":
            raise UsageError(f"index=faiss cannot compare whole videos: pool first, and search in mean_{file.feature}")
        own = None if config.same_video else int(file.videos.tolist().index(query.own))
        hits = exact_search.nearest_videos(file, query.vector, k=config.top, without=own)
        return hits, f"exact, means of {len(file)} videos"
    offsets = file.offsets if config.group == "video" else None
    span = exact_search.NOTHING if config.same_video else query.span
    # other levels have one row that is the query's own
    spare = int(file.level != "frame" and query.own is not None)
    large = total >= faiss_index.LARGE
    if config.index == "faiss" or (config.index == "auto" and large):
        index = faiss_index.opened(file)
        about = index.about
        hits = index.nearest(query.vector, k=config.top + spare, without=span, offsets=offsets)
        return hits, f"faiss, {total:,} rows, recall@{faiss_index.TOP} {about.recall:.3f} by {about.queries} queries"
    (hits,) = exact_search.nearest(file, query.vector[None], k=config.top + spare, without=[span], offsets=offsets)
    return hits, f"exact, {total:,} rows"


def _named(file: FeatureFile, query: Query, hits: list[Any], *, own: bool) -> list[Found]:
    """What hits are, ranked; without the query itself where it is a row of the file, unless `own`."""
    import numpy as np

    from vfx.analysis.statistics import at

    found: list[Found] = []
    for hit in hits:
        row = np.array([hit.row])
        id = at(file, "videos/ids" if query.whole else "ids", row)[0].decode("utf-8", "replace")
        video, index, seconds = None, None, None
        if file.level == "frame" and not query.whole:
            video, index = id.rpartition("_")[0], int(at(file, "index", row)[0])
            time = float(at(file, "seconds", row)[0])
            seconds = None if math.isnan(time) else time
        elif file.level != "segment":
            video = id
        if own or file.level == "frame" or id != query.own:
            found.append(Found(len(found) + 1, hit.cosine, id, video, index, seconds))
    return found


def _time(found: Found) -> str:
    return "" if found.seconds is None else clock(found.seconds)


def _listed(found: list[Found], suffix: str) -> str:
    rows = [asdict(each) for each in found]
    if suffix == ".json":
        return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    text = io.StringIO()
    writer = csv.DictWriter(text, list(Found.__dataclass_fields__), delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _drawn(
    config: DictConfig, file: FeatureFile, query: Query, found: list[Found], how: str, limits: Limits
) -> Image.Image:
    from PIL import Image

    from vfx.analysis import thumbnails
    from vfx.retrieval import contact_sheet as sheet

    keys = [
        None if each.video is None else (each.video, thumbnails.MIDDLE if each.index is None else each.index)
        for each in found
    ]
    wanted = {key for key in [*keys, query.key] if key is not None}
    collection = thumbnails.collection_of(file, config.collection, config.rootpath)
    had: dict[tuple[str, int], Image.Image] = {}
    if collection is None:
        log.warning("no pictures: the videos of %s are not where they were", file.attributes["collection"])
    elif wanted:
        for drawn in thumbnails.draw(
            collection, wanted, limits=limits, side=SIDE, quality=90, processes=min(len(wanted), cores())
        ):
            had[drawn.video, drawn.index] = Image.open(BytesIO(drawn.jpeg), formats=["JPEG"])
    shown = query.picture if query.key is None else had.get(query.key)
    cells = [
        sheet.Cell(
            None if key is None else had.get(key),
            [f"{each.rank}.  {each.score:.3f}", each.id, _time(each)],
            score=each.score,
        )
        for key, each in zip(keys, found, strict=True)
    ]
    return sheet.draw(
        sheet.Cell(shown, ["Query", query.name]),
        cells,
        title=f"{len(found)} nearest to {query.name}",
        note=f"{file.feature} of {file.attributes['collection']}; cosine, {how}",
    )


def _save(sheet: Image.Image, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.tmp")
    with writing(target):
        try:
            sheet.save(temporary, "png" if target.suffix.lower() == ".png" else "jpeg", quality=90)
            replace_durably(temporary, target)
        finally:
            temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    command.run(search, "search")
