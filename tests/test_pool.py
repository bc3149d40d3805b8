"""Pooling as its user runs it, on features of the toy collection."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.commands import peak_mb, run_verb
from tests.conftest import FEATURE
from tests.feature_files import write_frames
from vfx import concat, export, pool
from vfx.errors import OutputError, UsageError
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure, Rows


def pooled(outputs: Path, *overrides: str) -> FeatureFile:
    return FeatureFile(pool.main("collection=toydata", f"feature={FEATURE}", f"output_dir={outputs}", *overrides))


def test_each_video_has_the_mean_of_its_rows(outputs: Path, toy_features: FeatureFile) -> None:
    file = pooled(outputs)
    assert file.path == outputs / "toydata" / f"mean_{FEATURE}" / "features.h5"
    assert (file.level, file.feature, list(file)) == ("video", f"mean_{FEATURE}", list(toy_features))
    for video in file:
        np.testing.assert_allclose(file[video], toy_features[video].astype("f8").mean(0), rtol=1e-6, atol=1e-7)
    assert file.provenance["weights"] == toy_features.provenance["weights"]
    assert file.provenance["recipe"]["source"]["recipe"] == toy_features.provenance["recipe"]


def test_segments_of_a_table_are_pooled_in_one_file(outputs: Path, toy_features: FeatureFile, tmp_path: Path) -> None:
    (tmp_path / "shots.tsv").write_text(
        "shot\tvideo\tstart\tend\nb\tcat\t1\t2.5\na\tcat\t0\t1\nc\tcoffee\t0\t9\nd\tcat\t1.1\t1.2\n"
    )
    file = pooled(outputs, "pooling=max", f"segments={tmp_path}/shots.tsv")
    assert (file.level, file.feature) == ("segment", f"max_{FEATURE},shots")
    assert list(file.ids) == ["b", "a", "d", "c"]
    cat = toy_features["cat"]
    np.testing.assert_array_equal(file["a"], cat[:2].max(0))
    np.testing.assert_array_equal(file["b"], cat[2:5].max(0))
    np.testing.assert_array_equal(file["d"], cat[2])
    np.testing.assert_array_equal(file["c"], toy_features["coffee"].max(0))
    assert "1 segments hold no frame" in (file.path.parent / "pool.log").read_text()


@pytest.mark.parametrize("format", ["bigfile", "npy", "npz", "parquet", "txt"])
def test_no_column_of_frames_is_held_whole(outputs: Path, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (outputs / "shots.tsv").write_text("shot\tvideo\tstart\tend\nb\tcat\t1\t2.5\n")
    wanted = pooled(outputs, f"segments={outputs}/shots.tsv")["b"]
    for column in ("index", "seconds", "ids"):
        monkeypatch.setattr(FeatureFile, column, property(lambda file: pytest.fail("a whole column")))
    shutil.copytree(outputs / "toydata" / FEATURE, outputs / "toydata" / "B")
    where = ["collection=toydata", f"output_dir={outputs}"]
    concat.main(*where, f"features={FEATURE}+B")
    pool.main(*where, f"feature={FEATURE}", f"segments={outputs}/shots.tsv", "overwrite=true")
    export.main(*where, f"feature={FEATURE}", f"format={format}", f"destination={outputs / 'made'}")
    monkeypatch.undo()
    np.testing.assert_array_equal(pooled(outputs, f"segments={outputs}/shots.tsv")["b"], wanted)


def test_segments_of_unknown_videos_are_errors_with_their_lines(outputs: Path, tmp_path: Path) -> None:
    (tmp_path / "shots.tsv").write_text("a\tcat\t0\t1\nb\tnobody\t0\t1\n")
    with pytest.raises(UsageError, match=r"1 segments are of videos that .* does not know: line 2: nobody"):
        pooled(outputs, f"segments={tmp_path}/shots.tsv")


def test_a_second_run_does_nothing_and_a_new_source_is_refused(outputs: Path) -> None:
    file = pooled(outputs)
    before = file.path.stat().st_ino
    assert pooled(outputs).path.stat().st_ino == before
    with h5py.File(outputs / "toydata" / FEATURE / "features.h5", "r+") as source:
        source.attrs["created"] = "2001-01-01T00:00:00+00:00"
    with pytest.raises(OutputError, match=r"source\.created: .* there, 2001-01-01"):
        pooled(outputs)
    assert pooled(outputs, "overwrite=true").path.stat().st_ino != before


def test_the_folder_holds_the_config(outputs: Path) -> None:
    file = pooled(outputs)
    assert (file.path.parent / "config.yaml").read_text() == file.attributes["config"]


def test_a_feature_that_is_not_there_lists_those_that_are(outputs: Path) -> None:
    with pytest.raises(OutputError, match=rf"no .*nothing/features\.h5; .* has {FEATURE}: feature=<one of these>$"):
        pool.main("collection=toydata", "feature=nothing", f"output_dir={outputs}")


def test_what_is_pooled_is_not_pooled_again(outputs: Path) -> None:
    pooled(outputs)
    with pytest.raises(UsageError, match="is of video level already"):
        pool.main("collection=toydata", f"feature=mean_{FEATURE}", f"output_dir={outputs}")


def test_kept_crops_are_pooled_crop_by_crop(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((5, 10, 3), np.float32)
    write_frames(tmp_path / "toydata/A/features.h5", {"v": rows}, feature="A", collection="toydata")
    file = FeatureFile(pool.main("collection=toydata", "feature=A", f"output_dir={tmp_path}"))
    np.testing.assert_allclose(file["v"], rows.astype("f8").mean(0), rtol=1e-6)


def test_segments_of_videos_that_failed_are_failures_in_the_tables_order(tmp_path: Path) -> None:
    write(tmp_path, "A", {"a": [0, 5]})
    (tmp_path / "shots.tsv").write_text("s2\tz\t0\t1\ns0\ta\t0\t1\ns1\tz\t1\t2\n")
    file = FeatureFile(
        pool.main("collection=toydata", "feature=A", f"output_dir={tmp_path}", f"segments={tmp_path}/shots.tsv")
    )
    assert list(file.ids) == ["s0"]
    assert [f.id for f in file.failures if f.stage == "pool"] == ["s2", "s1"]


def write(path: Path, name: str, videos: dict[str, list[int]], dims: int = 2) -> None:
    rows = {
        video: Rows(np.array([[ord(video) + i] * dims for i in index], "f4"), np.array(index), np.array(index) / 2)
        for video, index in videos.items()
    }
    write_frames(
        path / "toydata" / name / "features.h5",
        rows,
        failures=[Failure("z", "open", name)],
        feature=name,
        collection="toydata",
    )


def test_from_the_shell_names_need_no_quotes(outputs: Path) -> None:
    done = run_verb("pool", "collection=toydata", f"feature={FEATURE}", f"output_dir={outputs}")
    assert done.stdout == f"{outputs}/toydata/mean_{FEATURE}/features.h5\n"


@pytest.mark.slow
def test_memory_stays_flat(tmp_path: Path) -> None:
    """200,000 rows of 2048 values pool and concatenate within 400 MB."""
    block = np.random.default_rng(0).random((20, 2048), np.float32)
    videos = {f"v{v:05d}": block for v in range(10_000)}
    write_frames(tmp_path / "toydata/A/features.h5", videos, feature="A", collection="toydata")
    shutil.copytree(tmp_path / "toydata" / "A", tmp_path / "toydata" / "B")
    for app, *overrides in [("pool", "feature=A"), ("pool", "feature=A", "pooling=gauss"), ("concat", "features=A+B")]:
        memory, _ = peak_mb(app, "collection=toydata", f"output_dir={tmp_path}", *overrides)
        print(app, overrides, round(memory), "MiB")
        assert memory < 390, app
