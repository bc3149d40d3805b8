"""Jobs that know nothing of each other extract a collection together, in any order, twice, at once, or killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import FEATURE, ROOT, link_clips
from tests.feature_files import same
from vfx import extract, merge, verify
from vfx.collection.collection import Collection
from vfx.errors import ExtractionError, OutputError, UsageError
from vfx.extraction.work_sharing import share
from vfx.features.feature_file import FeatureFile

VIDEOS = ["retina", "camera", "coffee_phone", "cat"]


@pytest.fixture
def four(tmp_path: Path) -> Path:
    folder = link_clips(tmp_path / "four", *(f"{name}.mp4" for name in VIDEOS))
    (folder / "VideoData" / "broken.mp4").write_text("no video")
    return folder


def shard(four: Path, number: int, count: int, *overrides: str) -> Path:
    options = ["trainer=cpu", "dataset.num_workers=1", f"output_dir={four.parent / 'out'}"]
    return extract.main(f"collection={four}", f"shard={number}", f"num_shards={count}", *options, *overrides)


def output(four: Path) -> Path:
    return four.parent / "out" / "four" / FEATURE


def is_that_of_one_run(path: Path, four: Path, toy_features: FeatureFile) -> None:
    file = FeatureFile(path)
    assert sorted(file.videos) == sorted(VIDEOS)
    assert [(f.id, f.stage) for f in file.failures] == [("broken", "open")]
    for video in VIDEOS:
        assert abs(file[video] - toy_features[video]).max() < 2e-5
    assert "shard" not in file.provenance["recipe"]
    folder = output(four)
    assert not (folder / "shards").exists()
    assert not (folder / "parts").exists()


@pytest.mark.dear
def test_the_last_shard_to_end_makes_the_file(four: Path, toy_features: FeatureFile) -> None:
    for number in (3, 1):
        assert shard(four, number, 3) == output(four) / "shards" / f"{number}-of-3"
        assert not (output(four) / "features.h5").exists()
    assert shard(four, 1, 3) == output(four) / "shards" / "1-of-3", "run again, it has nothing to do"
    with pytest.raises(ExtractionError, match=r"\d videos are not done \(.*\): run their shards again, or all that"):
        merge.main(f"collection={four}", f"feature={FEATURE}", f"output_dir={four.parent / 'out'}")
    path = shard(four, 2, 3)
    assert path == output(four) / "features.h5"
    is_that_of_one_run(path, four, toy_features)
    assert shard(four, 2, 3) == path
    assert merge.main(f"collection={four}", f"feature={FEATURE}", f"output_dir={four.parent / 'out'}") == path
    logs = sorted(p.name for p in output(four).glob("extract*.log"))
    assert logs == ["extract.1-of-3.log", "extract.2-of-3.log", "extract.3-of-3.log"]
    alone = FeatureFile(extract.main(f"collection={four}", f"output_dir={four.parent / 'alone'}", "trainer=cpu"))
    same(FeatureFile(path), alone)
    assert FeatureFile(path).provenance["recipe"] == alone.provenance["recipe"]


@pytest.mark.dear
def test_strict_counts_failures_in_shards_and_in_a_merge(four: Path) -> None:
    where = [f"collection={four}", f"feature={FEATURE}", f"output_dir={four.parent / 'out'}"]
    sources = Collection("four", four).videos()
    (holds,) = (n for n in (1, 2, 3) if "broken" in {source.id for source in share(sources, n - 1, 3)})
    other, last = {1, 2, 3} - {holds}
    for _ in range(2):  # the second time it has nothing to do
        with pytest.raises(ExtractionError, match="1 failures in this shard, the first: broken: open:"):
            shard(four, holds, 3, "strict=true")
    assert verify.main(*where) == output(four), "which finds the parts of shards"
    shard(four, other, 3, "strict=true")
    with pytest.raises(ExtractionError, match=r"strict=true and 1 failures, listed in .*failures\.tsv"):
        shard(four, last, 3, "strict=true")
    assert (output(four) / "failures.tsv").read_text().splitlines()[1].startswith("broken\topen\t")
    with pytest.raises(ExtractionError, match=r"strict=true and 1 failures, listed in .*failures\.tsv"):
        merge.main(*where, "strict=true")
    assert merge.main(*where) == output(four) / "features.h5"


@pytest.mark.dear
def test_more_shards_than_videos_and_a_merge_of_some(four: Path) -> None:
    for number in range(1, 6):
        shard(four, number, 6)
    path = output(four) / "features.h5"
    if not path.exists():
        where = [f"collection={four}", f"feature={FEATURE}", f"output_dir={four.parent / 'out'}"]
        assert merge.main(*where, "partial=true") == path
    before = len(FeatureFile(path))
    assert shard(four, 6, 6) == path
    assert before <= len(FeatureFile(path)) == len(VIDEOS)


@pytest.mark.dear
def test_shards_at_once_and_one_of_them_twice(four: Path, toy_features: FeatureFile) -> None:
    command = [
        sys.executable, "-m", "vfx.extract", f"collection={four}", f"output_dir={four.parent / 'out'}", "trainer=cpu",
        "dataset.num_workers=1", "num_shards=2",
    ]  # fmt: skip
    jobs = [subprocess.Popen([*command, f"shard={n}"], cwd=ROOT, stderr=subprocess.PIPE, text=True) for n in (1, 2, 2)]
    said = [job.communicate(timeout=240)[1] for job in jobs]
    ends = sorted(job.returncode for job in jobs)
    assert ends in ([0, 0, 0], [0, 0, 1]), said  # the third may find the second at work
    assert ends == [0, 0, 0] or any("another run is writing to" in text for text in said)
    is_that_of_one_run(output(four) / "features.h5", four, toy_features)


@pytest.mark.dear
def test_one_run_takes_up_what_shards_have_done(four: Path, toy_features: FeatureFile) -> None:
    shard(four, 1, 2)
    path = extract.main(f"collection={four}", f"output_dir={four.parent / 'out'}", "trainer=cpu")
    assert isinstance(path, Path)
    assert "of 5 done before" in (output(four) / "extract.log").read_text()
    is_that_of_one_run(path, four, toy_features)


def test_a_shard_of_another_recipe_is_refused(four: Path) -> None:
    shard(four, 1, 2)
    with pytest.raises(OutputError, match=r"sampler\.name: half_second there, uniform here"):
        shard(four, 2, 2, "sampler=uniform", "sampler.num_frames=2")


@pytest.mark.parametrize(("number", "count"), [(0, 2), (3, 2), (1, "null"), ("a", 2), ("null", 4)])
def test_shards_that_make_no_sense(four: Path, number: int | str, count: int | str) -> None:
    with pytest.raises(UsageError, match=r"shard \(.*\) and num_shards \(.*\) must be whole numbers, shard from 1"):
        extract.main(f"collection={four}", f"shard={number}", f"num_shards={count}")


def test_nothing_to_merge(four: Path) -> None:
    with pytest.raises(OutputError, match="nothing has been extracted to"):
        merge.main(f"collection={four}", "feature=none", f"output_dir={four.parent / 'out'}")
