"""Search as its user does it: the real app on real features, and files that must not be believed."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.commands import run_verb
from tests.conftest import ROOT, TOYDATA
from tests.feature_files import write_frames
from tests.retrieval.conftest import clustered, written
from vfx import concat, pool, search
from vfx.analysis.rows import normalize
from vfx.decoding import VideoReader
from vfx.errors import UnknownIdError, UsageError, WeightsError
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Rows
from vfx.retrieval import faiss_index


def run(file: FeatureFile, tmp_path: Path, *overrides: str, feature: str = "") -> list[dict[str, str]]:
    """The hits, as the table lists them."""
    hits = tmp_path / "hits.tsv"
    made = search.main(
        f"collection={TOYDATA}",
        f"output_dir={file.path.parents[2]}",
        f"feature={feature or file.feature}",
        f"output={tmp_path / 'sheet.png'}",
        f"hits={hits}",
        *overrides,
    )
    assert made == tmp_path / "sheet.png"
    with hits.open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table, delimiter="\t"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """Frame 25 of the cat, as a picture without loss."""
    (frame,) = VideoReader(TOYDATA / "VideoData/cat.mp4", lambda _: np.array([25]))
    path = tmp_path / "a photo.png"
    Image.fromarray(frame.pixels).save(path)
    return path


def test_any_file_is_searched_and_the_sheet_lies_beside_it(toy_features: FeatureFile, tmp_path: Path) -> None:
    copied = shutil.copy(toy_features.path, tmp_path)
    for given in (copied, tmp_path):
        assert search.main(f"file={given}", "frame=cat_25") == tmp_path / "search.png"
    for wrong, said in [
        (["collection=toydata"], r"feature=\.\.\. goes with collection="),
        ([f"file={copied}", "feature=a"], r"feature=\.\.\. goes with collection="),
        (["collection=toydata", f"file={copied}"], r"give either collection=\.\.\. and feature="),
        ([f"file={tmp_path / 'none.h5'}"], r"none\.h5\) is not there"),
    ]:
        with pytest.raises(UsageError, match=said):
            search.main(*wrong, "frame=cat_25")


def test_a_picture_of_a_frame_finds_that_very_frame(toy_features: FeatureFile, tmp_path: Path, picture: Path) -> None:
    hits = run(toy_features, tmp_path, f"image={picture}", "top=4")
    assert [hit["rank"] for hit in hits] == ["1", "2", "3", "4"]
    assert (hits[0]["id"], hits[0]["video"], hits[0]["index"]) == ("cat_25", "cat", "25")
    assert float(hits[0]["score"]) > 0.99999
    assert float(hits[0]["seconds"]) == pytest.approx(1.0)
    rows = normalize(toy_features.features[:])
    (own,) = np.flatnonzero(toy_features.ids == "cat_25")
    order = np.argsort(-(rows @ rows[own]))[:4]
    assert [hit["id"] for hit in hits] == toy_features.ids[order].tolist()
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000
        left = np.asarray(sheet.convert("RGB"))[150:300, 80:240]  # the query
    assert left.std() > 20


def test_a_frame_finds_frames_of_other_videos_or_its_own(toy_features: FeatureFile, tmp_path: Path) -> None:
    others = run(toy_features, tmp_path, "frame=coffee_0", "top=3")
    assert others[0]["video"] == "coffee_phone"
    assert "coffee" not in {hit["video"] for hit in others}
    own = run(toy_features, tmp_path, "frame=coffee_0", "same_video=true", "top=3")
    assert (own[0]["id"], float(own[0]["score"])) == ("coffee_0", pytest.approx(1))
    by_time = run(toy_features, tmp_path, "video=coffee", "seconds=0.1", "same_video=true", "top=3")
    assert by_time == own
    grouped = run(toy_features, tmp_path, "frame=coffee_0", "group=video")
    assert sorted(hit["video"] for hit in grouped) == sorted(v for v in toy_features.videos if v != "coffee")


def test_a_video_is_compared_by_means_pooled_or_not(toy_features: FeatureFile, tmp_path: Path, picture: Path) -> None:
    folder = toy_features.path.parents[2]
    pool.main("collection=toydata", f"feature={toy_features.feature}", f"output_dir={folder}")
    mean = f"mean_{toy_features.feature}"
    whole = run(toy_features, tmp_path, "video=coffee", "top=3")
    pooled = run(toy_features, tmp_path, "video=coffee", "top=3", feature=mean)
    assert whole[0]["id"] == "coffee_phone"
    assert [hit["id"] for hit in whole] == [hit["id"] for hit in pooled]
    assert [float(h["score"]) for h in whole] == pytest.approx([float(h["score"]) for h in pooled], abs=1e-5)
    found = run(toy_features, tmp_path, f"image={picture}", "top=2", feature=mean)
    assert found[0]["id"] == "cat"
    with pytest.raises(UsageError, match="is of video level: give video=<id> or image="):
        run(toy_features, tmp_path, "frame=cat_25", feature=mean)
    joint = concat.main("collection=toydata", f"output_dir={folder}", f"features={mean}+{mean}").parent.name
    with pytest.raises(UsageError, match="is a concatenation: search with image= in one of its parts"):
        run(toy_features, tmp_path, f"image={picture}", feature=joint)
    assert run(toy_features, tmp_path, "video=coffee", "top=3", feature=joint)[0]["id"] == "coffee_phone"


def test_a_segment_finds_segments(toy_features: FeatureFile, tmp_path: Path, picture: Path) -> None:
    folder = toy_features.path.parents[2]
    table = tmp_path / "shots.tsv"
    table.write_text("early\tcoffee\t0\t1\nlate\tcoffee\t1\t2\nphone\tcoffee_phone\t0\t1\npet\tcat\t0.9\t1.1\n")
    made = pool.main(
        "collection=toydata", f"feature={toy_features.feature}", f"output_dir={folder}", f"segments={table}"
    )
    shots = made.parent.name
    rows = normalize(FeatureFile(made).features[:])
    early, late, phone, pet = (list(FeatureFile(made).ids).index(id) for id in ("early", "late", "phone", "pet"))
    hits = run(toy_features, tmp_path, "segment=early", feature=shots)
    order = sorted((late, phone, pet), key=lambda row: -(rows[row] @ rows[early]))
    assert [hit["id"] for hit in hits] == FeatureFile(made).ids[order].tolist()
    assert [float(h["score"]) for h in hits] == pytest.approx((rows[order] @ rows[early]).tolist(), abs=1e-5)
    assert run(toy_features, tmp_path, f"image={picture}", "top=1", feature=shots)[0]["id"] == "pet"
    with pytest.raises(UsageError, match=r"is of segment level: give segment=<id> or image="):
        run(toy_features, tmp_path, "video=coffee", feature=shots)
    with pytest.raises(UnknownIdError):
        run(toy_features, tmp_path, "segment=nothing", feature=shots)


def changed(file: FeatureFile, folder: Path, **attributes: str) -> FeatureFile:
    """A copy of a feature that says other things of itself."""
    said = {key: file.attributes[key] for key in ("feature", "collection", "config", "provenance")} | attributes
    spans = {video: slice(*file.span(video)) for video in file}
    rows = {video: Rows(file.features[at], file.index[at], file.seconds[at]) for video, at in spans.items()}
    return FeatureFile(write_frames(folder / "outputs/toydata" / file.feature / "features.h5", rows, **said))


def test_other_weights_than_those_of_the_feature_are_refused(
    toy_features: FeatureFile, tmp_path: Path, picture: Path
) -> None:
    said = json.loads(toy_features.attributes["provenance"])
    said["recipe"]["model"]["weights"] = "0" * 64
    file = changed(toy_features, tmp_path, provenance=json.dumps(said))
    with pytest.raises(WeightsError, match=r"model\.weights 0{64} there, 57934424\w+ here; weights=<file>"):
        run(file, tmp_path, f"image={picture}")
    assert run(file, tmp_path, "frame=cat_25", "top=1")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("vfx.models.efficientnet_lite.build", "torch.hub.load", "was not run"),
        ("vfx.models.efficientnet_lite.build", "vfx.models.weights.torch.load", "is not one that a config may name"),
        ("weights: pretrained", "weights: ${oc.env:HOME}", "was not run"),
        ("weights: pretrained", "weights: {_target_: os.system}", "was not run"),
        ("model:", "other:", "attribute config has no model"),
    ],
)
def test_a_feature_file_cannot_have_anything_else_run(
    toy_features: FeatureFile, tmp_path: Path, picture: Path, before: str, after: str, said: str
) -> None:
    config = toy_features.attributes["config"]
    assert before in config
    file = changed(toy_features, tmp_path, config=config.replace(before, after))
    with pytest.raises(UsageError, match=said):
        run(file, tmp_path, f"image={picture}")


def test_what_makes_no_sense_is_refused(toy_features: FeatureFile, tmp_path: Path) -> None:
    for overrides, said in [
        ([], "give one of image="),
        (["frame=cat_25", "video=cat"], "not frame and video"),
        (["frame=cat_25", "top=0"], r"top \(0\) must be"),
        (["frame=cat_25", "index=fast"], r"index \(fast\) must be auto or exact or faiss"),
        (["frame=cat_25", "seconds=1"], "goes with video="),
        (["frame=cat"], r"frame \(cat\) is a video"),
        (["video=cat", "index=faiss"], "pool first"),
        (["image=nothing.jpg"], "is not there"),
        ([f"image={ROOT / 'README.md'}"], "cannot be read as a picture"),
    ]:
        with pytest.raises(UsageError, match=said):
            run(toy_features, tmp_path, *overrides)
    with pytest.raises(UnknownIdError, match="has no video or frame 'cat_1'"):
        run(toy_features, tmp_path, "frame=cat_1")


def test_large_features_are_searched_by_an_index_that_tells_its_recall(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "outputs/toydata/f"
    file = written(folder / "features.h5", clustered(5)[:4000], [40] * 100)
    exact = run(file, tmp_path, "frame=v0003_7", "top=5", feature="f")
    said: list[str] = []
    monkeypatch.setattr(search.log, "info", lambda text, *values: said.append(text % values))
    monkeypatch.setattr(faiss_index, "LARGE", 4000)
    found = run(file, tmp_path, "frame=v0003_7", "top=5", feature="f")
    assert len({hit["id"] for hit in exact} & {hit["id"] for hit in found}) >= 4
    assert len(list(folder.glob("faiss.*"))) == 1
    assert re.search(r"\(faiss, 4,000 rows, recall@10 (0\.9[5-9]\d|1\.000) by 100 queries\)", said[0])


def test_the_command_prints_the_sheet_and_lists_hits(toy_features: FeatureFile, tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    shutil.copytree(toy_features.path.parent, outputs / "toydata" / toy_features.feature)
    done = run_verb(
        "search", "collection=toydata", f"feature={toy_features.feature}", f"output_dir={outputs}",
        "frame=coffee_0", "top=2", f"hits={tmp_path / 'hits.json'}",
    )  # fmt: skip
    sheet = outputs / "toydata" / toy_features.feature / "search.png"
    assert done.stdout == f"{sheet}\n"
    assert sheet.stat().st_size > 20_000
    hits = json.loads((tmp_path / "hits.json").read_text())
    listed = [line.split() for line in done.stderr.splitlines()]
    assert ["1", f"{hits[0]['score']:.4f}", hits[0]["id"], "0:00.0"] in listed
