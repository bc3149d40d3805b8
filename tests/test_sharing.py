"""Long videos that workers and ranks share, in real runs: the file is that of a run which reads them whole."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.clips import CLIPS, corrupt, paint, truncate, without_first_group
from tests.commands import run_verb
from tests.conftest import link_clips
from tests.crashing import CrashingChunk, extract_by
from tests.feature_files import same
from vfx import extract
from vfx.errors import ExtractionError
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure
from vfx.models import timm
from vfx.outputs.output_folder import OutputFolder

NETWORK = ("model=timm", "model.name=test_resnet", "model.weights=random")
FEATURE = "test_resnet,pre_logits,random"
PIECES = 7
FRAMES = 700


def a_collection(folder: Path, *, clip: str = "h264.mp4", num_frames: int = FRAMES) -> tuple[Path, Path]:
    """A collection of short videos and a long one; and the long one."""
    videos = link_clips(folder / "some", "retina.mp4") / "VideoData"
    for name in ["h264_vfr.mkv", "mpeg4_b.mp4", "vp9.webm"]:
        CLIPS[name].write(videos)
    made = dataclasses.replace(CLIPS[clip], num_frames=num_frames).write(folder)
    return videos.parent, made.rename(videos / f"long{made.suffix}")


def options(collection: Path, outputs: Path, *more: str, chunks: int = PIECES) -> list[str]:
    """Of a run that divides the long video into so many pieces."""
    (long,) = (collection / "VideoData").glob("long.*")
    cost = long.stat().st_size // chunks
    return [
        *(f"collection={collection}", f"output_dir={outputs}", *NETWORK, "sampler=fps", "sampler.fps=5"),
        *(f"+dataset.piece_cost={cost}", "dataset.num_workers=2", "writer.commit_mb=0", *more),
    ]


def run(collection: Path, outputs: Path, *more: str, chunks: int = PIECES) -> FeatureFile:
    return FeatureFile(extract.main(*options(collection, outputs, "trainer=cpu", *more, chunks=chunks)))


def said(file: FeatureFile) -> str:
    return (file.path.parent / "extract.log").read_text()


def identical(a: FeatureFile, b: FeatureFile) -> None:
    """All but the last bits of the values, for batches are composed otherwise."""
    same(a, b)
    ours, theirs = (json.loads(file.attributes["digests"]) for file in (a, b))
    for column in ours.keys() - {"attributes", "features"}:
        assert ours[column] == theirs[column], column
    assert a.provenance["decoders"] == b.provenance["decoders"]


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return a_collection(tmp_path_factory.mktemp("sharing"))[0]


@pytest.fixture(scope="module")
def whole(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureFile:
    file = run(collection, tmp_path_factory.mktemp("whole"), chunks=1)
    assert "pieces" not in said(file)
    rows = file["long"]
    assert np.abs(np.diff(rows, axis=0)).max(axis=1).min() > 1e-3  # each is of its own frame
    return file


@pytest.mark.dear
@pytest.mark.parametrize("more", [("batch_size=5",), ("dataset.num_workers=5",), ("dataset.decoder=pyav",)])
def test_pieces_make_the_file_of_the_whole(
    collection: Path, whole: FeatureFile, tmp_path: Path, more: tuple[str, ...]
) -> None:
    file = run(collection, tmp_path, *more)
    assert f"1 long videos are read in {PIECES} pieces" in said(file)
    assert "5 videos, " in said(file)
    identical(file, whole)


@pytest.mark.dear
def test_two_ranks_share_a_video(collection: Path, whole: FeatureFile, tmp_path: Path) -> None:
    ranks = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "dataset.num_workers=1")
    done = run_verb("extract", *options(collection, tmp_path, *ranks))
    assert f"1 long videos are read in {PIECES} pieces" in done.stderr
    assert "5 videos, " in done.stderr
    identical(FeatureFile(done.stdout.splitlines()[-1]), whole)


@pytest.mark.dear
@pytest.mark.parametrize(
    "then",
    [
        ("dataset.num_workers=1",),  # which alone would read all videos whole
        pytest.param(("dataset.num_workers=7", "batch_size=3"), marks=pytest.mark.slow),
        ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"),
    ],
)
def test_another_run_goes_on_with_pieces(
    collection: Path, whole: FeatureFile, tmp_path: Path, then: tuple[str, ...]
) -> None:
    with pytest.raises(ExtractionError, match=r"4 of 5 videos were not delivered|5 of 5 videos were not delivered"):
        run(collection, tmp_path, "+trainer.limit_predict_batches=10", "batch_size=8")
    output = OutputFolder(tmp_path / "some" / FEATURE)
    chunks = output.chunks()  # by stretches, of which there are as many
    assert 1 <= len(chunks) < PIECES
    assert {video for video, _ in chunks} == {"long"}
    there = sum(file.features.shape[0] for file in output.files())
    done = run_verb("extract", *options(collection, tmp_path, "trainer=cpu", *then))
    assert "1 long videos are read in " in done.stderr
    read = re.search(r"videos, (\d+) frames in", done.stderr)
    assert read is not None and int(read[1]) == len(whole.ids) - there
    identical(FeatureFile(done.stdout.splitlines()[-1]), whole)


def divided_as_whole(collection: Path, tmp_path: Path) -> FeatureFile:
    divided = run(collection, tmp_path / "divided")
    assert f"1 long videos are read in {PIECES} pieces" in said(divided)
    identical(divided, run(collection, tmp_path / "whole", chunks=1))
    return divided


@pytest.mark.dear
def test_damage_in_a_piece_costs_what_it_costs_the_whole(tmp_path: Path) -> None:
    collection, path = a_collection(tmp_path)
    sound = path.rename(tmp_path / "sound.mp4")
    corrupt(sound, path, packets=[310, 500], at=0.0)
    divided = divided_as_whole(collection, tmp_path)
    (failure,) = divided.failures
    assert re.match(r"1\d\d of 140 frames could be decoded: ", failure.error)
    assert re.search(r"long: read whole, since its piece ([4-6])-\1 of 7 is not sound: ", said(divided))


@pytest.mark.dear
def test_a_file_cut_short_is_read_in_pieces_and_has_one_failure(tmp_path: Path) -> None:
    collection, path = a_collection(tmp_path, clip="mpeg4.avi")
    truncate(path, tmp_path / "short", keep=0.8).rename(path)
    divided = divided_as_whole(collection, tmp_path)
    (failure,) = divided.failures
    assert failure.error == "file holds 634 of the 700 frames that its header promises"
    assert "failures: 1 at decode" in said(divided)


@pytest.mark.dear
def test_packets_that_mislead_cost_only_time(tmp_path: Path) -> None:
    """HEVC's leading pictures at the begin of a recording have packets and never come out."""
    collection, path = a_collection(tmp_path, clip="hevc.ts")
    late = without_first_group(path, tmp_path / "late.ts")
    late.rename(path)
    divided = divided_as_whole(collection, tmp_path)
    assert divided.failures == []
    # whichever of two is met first
    assert re.search(r"long: read whole, since its piece \d-\d of 7 is not sound: frame 0 came out", said(divided))


@pytest.mark.dear
def test_frames_cut_before_are_shared_too(tmp_path: Path) -> None:
    folder = tmp_path / "some" / "ImageData"
    for video, count in [("long", 300), ("short", 20)]:
        (folder / video).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(paint(i, i)).save(folder / video / f"{video}_{i}.jpg")
    (folder / "long" / "long_200.jpg").write_bytes(b"no picture")
    (folder / "long" / "else_1.jpg").write_bytes(b"")
    shared = [f"collection={tmp_path / 'some'}", *NETWORK, "dataset=frame", "dataset.num_workers=2", "trainer=cpu"]

    def run(name: str, cost: int) -> FeatureFile:
        return FeatureFile(extract.main(*shared, f"output_dir={tmp_path / name}", f"+dataset.piece_cost={cost}"))

    divided, undivided = run("divided", 50), run("whole", 1000)
    assert "1 long videos are read in 6 pieces" in said(divided)
    assert "long: read whole, since its piece 5-5 of 6 is not sound: 1 of 50 frames cannot be read" in said(divided)
    identical(divided, undivided)
    assert [f.error for f in divided.failures if f.stage == "decode"] == [
        f"1 of 300 frames cannot be read, the first being long_200.jpg: cannot identify image file "
        f"{str(folder / 'long' / 'long_200.jpg')!r}"
    ]


@pytest.mark.dear
@pytest.mark.filterwarnings("ignore:Couldn't infer the batch indices", r"ignore:`isinstance\(treespec, LeafSpec\)`")
def test_a_decoder_that_crashes_in_a_piece_costs_the_video(tmp_path: Path) -> None:
    collection, path = a_collection(tmp_path)
    with extract_by(
        CrashingChunk,
        collection,
        tmp_path / "out",
        timm.build(name="test_resnet", weights="random"),
        piece_cost=path.stat().st_size // PIECES,
    ) as file:
        assert list(file) == ["h264_vfr", "mpeg4_b", "retina", "vp9"]
        assert file.failures == [Failure("long", "decode", "decoder crashed (SIGSEGV)")]
