"""Imports: features of video-cnn-feat as features.h5, in its order, with what was dropped counted."""

import hashlib
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.commands import peak_mb, run_verb
from tests.conftest import VIDEOS
from vfx import export, import_bigfile
from vfx.errors import OutputError, UsageError
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure

ROWS = {"b_7": [1, 2], "a_1_12": [3, 4], "b_0": [5, 6], "a_1_0": [7, 8], "a_1_100": [9, 10]}


def bigfile(folder: Path, ids: list[str], rows: list[list[float]], frames: bool = True) -> Path:
    """A BigFile as docs/formats.md has it, made with no help of vfx."""
    folder.mkdir(parents=True)
    np.array(rows, "<f4").tofile(folder / "feature.bin")
    (folder / "id.txt").write_text(" ".join(ids))
    (folder / "shape.txt").write_text(f"{len(rows)} {len(rows[0])}")
    if frames:
        (folder / "video2frames.txt").write_text("{}")
    return folder


def run(source: Path, *overrides: str) -> FeatureFile:
    outputs = next(p for p in source.parents if p.name.startswith("test_")) / "outputs"
    path = import_bigfile.main(
        f"source='{source}'", "collection=c", "feature=f,avgpool", f"output_dir={outputs}", *overrides
    )
    assert path == outputs / "c" / "f,avgpool" / "features.h5"
    return FeatureFile(path)


def test_frames_are_sorted_by_video_and_index(tmp_path: Path) -> None:
    with run(bigfile(tmp_path / "f", list(ROWS), list(ROWS.values()))) as file:
        assert list(file.ids) == ["a_1_0", "a_1_12", "a_1_100", "b_0", "b_7"]
        assert list(file.videos) == ["a_1", "b"]
        for id, row in ROWS.items():
            np.testing.assert_array_equal(file[id], row)
        assert np.isnan(file.seconds).all()
        assert (file.level, file.feature, file.attributes["collection"]) == ("frame", "f,avgpool", "c")
        assert file.failures == []


def test_provenance_tells_where_it_came_from(tmp_path: Path) -> None:
    source = bigfile(tmp_path / "f", list(ROWS), list(ROWS.values()))
    digest = hashlib.sha256((source / "feature.bin").read_bytes()).hexdigest()
    with run(source) as file:
        assert set(file.provenance) == {"versions", "imported", "recipe"}
        imported = file.provenance["imported"]
        assert (imported["source"], imported["format"], imported["rows"]) == (str(source), "bigfile", 5)
        assert imported["sha256"] == digest
        assert {"vfx", "python", "numpy", "h5py"} <= file.provenance["versions"].keys()


@pytest.mark.parametrize("level", ["video", "segment"])
def test_other_levels_keep_their_order(tmp_path: Path, level: str) -> None:
    source = bigfile(tmp_path / "f", ["b_7", "a", "c_1"], [[1, 2], [3, 4], [5, 6]], frames=False)
    with run(source, f"level={level}") as file:
        assert list(file.ids) == ["b_7", "a", "c_1"]
        assert file.level == level
        np.testing.assert_array_equal(file.features[:], [[1, 2], [3, 4], [5, 6]])


def test_the_level_is_never_guessed(tmp_path: Path) -> None:
    source = bigfile(tmp_path / "f", ["shot00001_1"], [[1.0]], frames=False)
    with pytest.raises(UsageError, match=r"an id such as shot00001_1 .* can be that of a frame or of a video"):
        run(source)
    with run(bigfile(tmp_path / "g", ["cat"], [[1.0]], frames=False)) as file:
        assert file.level == "video"


def test_repeated_ids_and_nan_are_dropped_and_counted(tmp_path: Path) -> None:
    nan, inf = float("nan"), float("inf")
    ids = ["a_0", "a_5", "a_0", "a_0", "b_0", "c_3", "c_4", "c_4"]
    rows = [[1.0, 1], [2, nan], [3, 3], [4, 4], [nan, 5], [6, 6], [inf, 7], [8, 8]]
    with run(bigfile(tmp_path / "f", ids, rows)) as file:
        assert list(file.ids) == ["a_0", "c_3"]
        np.testing.assert_array_equal(file.features[:], [[1, 1], [6, 6]])
        assert file.failures == [
            Failure("a", "import", "dropped for an id that was there before: 2; dropped for NaN or infinity: 1"),
            Failure("b", "import", "dropped for NaN or infinity: 1"),
            Failure("c", "import", "dropped for an id that was there before: 1; dropped for NaN or infinity: 1"),
        ]
    with run(bigfile(tmp_path / "g", ids, rows, frames=False), "level=video", "overwrite=true") as file:
        assert list(file.ids) == ["a_0", "c_3"]
        assert [f.id for f in file.failures] == ["a_0", "a_5", "b_0", "c_4"]


@pytest.mark.parametrize("level", ["frame", "video"])
def test_there_and_back_the_bytes_are_the_same(tmp_path: Path, level: str) -> None:
    ids = ["a_1_0", "a_1_12", "b_0"] if level == "frame" else ["b", "a_1", "c"]
    rows = np.random.default_rng(0).standard_normal((3, 7)).tolist()
    source = bigfile(tmp_path / "f", ids, rows, frames=False)
    if level == "frame":
        (source / "video2frames.txt").write_text("{'a_1': ['a_1_0', 'a_1_12'], 'b': ['b_0']}")
    run(source, f"level={level}").close()
    back = export.main(
        "collection=c", "feature=f,avgpool", f"output_dir={tmp_path / 'outputs'}", f"destination={tmp_path / 'back'}"
    )
    assert {p.name: p.read_bytes() for p in back.iterdir()} == {p.name: p.read_bytes() for p in source.iterdir()}


def test_blocks_and_gaps_do_not_change_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vfx.formats.lineage_rows.BLOCK_BYTES", 64)
    random = np.random.default_rng(0)
    rows = random.standard_normal((500, 3)).astype("f4")
    numbers = random.permutation(500)
    ids = [f"v{n % 7}_{n}" for n in numbers]
    with run(bigfile(tmp_path / "f", ids, rows.tolist())) as file:
        for id, row in zip(ids, rows, strict=True):
            np.testing.assert_array_equal(file[id], row)


def test_the_reference_vectors_of_the_lineage(tmp_path: Path) -> None:
    source = VIDEOS / "lineage" / "id.feature.txt"
    if not source.is_file():
        pytest.skip("the lineage's reference vectors are not here (VFX_TEST_VIDEOS)")
    (tmp_path / "in").symlink_to(source)
    with run(tmp_path / "in", "level=frame") as file:
        assert file.features.shape == (11, 2048)
        np.testing.assert_array_equal(file.index, [0, 12, 25, 37, 50, 62, 75, 87, 100, 112, 125])
        lines = dict(line.split(maxsplit=1) for line in source.read_text().splitlines())
        for id in file.ids:
            np.testing.assert_array_equal(file[id], np.array(lines[id].split(), "f4"))
        assert file.provenance["imported"]["format"] == "txt"
        assert not [p for p in file.path.parent.iterdir() if p.name.startswith(".")]
    check = VIDEOS.parent / "bin" / "check_features"
    if check.is_file():
        subprocess.run([sys.executable, check, file.path], check=True)


def test_text_there_and_back(tmp_path: Path) -> None:
    text = "a_1_0 0.333333 1.5e-07\na_1_12 -2 3.25\n"
    (tmp_path / "id.feature.txt").write_text(text)
    with run(tmp_path / "id.feature.txt", "level=frame") as file:
        folder = file.path.parent
    back = export.main("collection=c", f"feature={folder.name}", f"output_dir={folder.parent.parent}", "format=txt")
    assert back.read_text() == text


def test_what_a_killed_import_left_goes_with_the_next(tmp_path: Path) -> None:
    left = tmp_path / "outputs" / "c" / "f,avgpool" / ".import.abcdefgh"
    left.mkdir(parents=True)
    (left / "feature.bin").write_bytes(b"half")
    (tmp_path / "id.feature.txt").write_text("a_1_0 1 2\n")
    run(tmp_path / "id.feature.txt", "level=frame").close()
    assert sorted(p.name for p in left.parent.iterdir()) == ["config.yaml", "features.h5", "import_bigfile.log"]


def test_run_again_it_does_nothing_and_another_source_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("vfx"), "propagate", True)
    source = bigfile(tmp_path / "f", list(ROWS), list(ROWS.values()))
    with run(source) as file:
        created = file.path.stat().st_mtime_ns
    with caplog.at_level(logging.INFO), run(source) as file:
        assert file.path.stat().st_mtime_ns == created
    assert "is done, nothing to do" in caplog.text
    other = bigfile(tmp_path / "g", ["a_0"], [[1.0, 2.0]])
    with pytest.raises(OutputError, match=r"(?s)was made with another recipe; overwrite=true.*imported\.sha256"):
        run(other)
    with run(other, "overwrite=true") as file:
        assert list(file.ids) == ["a_0"]


def damaged(tmp_path: Path, name: str, text: str | None) -> Path:
    folder = bigfile(tmp_path / "f", list(ROWS), list(ROWS.values()))
    if text is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(text.encode("latin-1"))
    return folder


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("feature.bin", "x" * 39, r"feature\.bin has 39 bytes, and 5 x 2 float32 of shape\.txt are 40"),
        ("feature.bin", None, r"is not a BigFile: it has no feature\.bin"),
        ("id.txt", None, r"is not a BigFile: it has no id\.txt"),
        ("id.txt", "a_1 a_2", r"id\.txt holds 2 ids, and shape\.txt tells of 5 rows"),
        ("id.txt", "a_1 a_2 a_3 a_4 a/b_5", r"id\.txt: id 'a/b_5' is empty or holds white space or a slash"),
        ("id.txt", "a_1 a_2 a_3 a_4 \xe9_5", r"id\.txt is not UTF-8"),
        ("id.txt", "a_1 a_2 a_3 a_4 cat", r"level=frame: cat is not <video id>_<frame index>"),
        ("shape.txt", "5", r"shape\.txt, line 1: wanted <rows> <dims>, found '5'"),
        ("shape.txt", "-5 2", r"shape\.txt, line 1: wanted <rows> <dims>, found '-5 2'"),
        ("shape.txt", "5 0", r"shape\.txt, line 1: wanted <rows> <dims>, found '5 0'"),
        ("shape.txt", "5.0 2", r"shape\.txt, line 1: wanted <rows> <dims>, found '5\.0 2'"),
        ("shape.txt", "5 2 1", r"shape\.txt, line 1: wanted <rows> <dims>, found '5 2 1'"),
        ("shape.txt", "", r"shape\.txt, line 1: wanted <rows> <dims>, found ''"),
        ("shape.txt", "5 \xb2", r"shape\.txt, line 1: wanted <rows> <dims>, found '5 .'"),
        ("shape.txt", "9" * 5000 + " 2", r"shape\.txt, line 1: wanted <rows> <dims>, found '9{80}'"),
        ("shape.txt", "4 2", r"feature\.bin has 40 bytes, and 4 x 2 float32 of shape\.txt are 32: it was not"),
        ("shape.txt", "6 2", r"feature\.bin has 40 bytes, and 6 x 2 float32 of shape\.txt are 48: it was not"),
        ("shape.txt", "2 5", r"id\.txt holds 5 ids, and shape\.txt tells of 2 rows"),
        ("shape.txt", f"{10**17} {10**7}", r"feature\.bin has 40 bytes, and 1000+ x 10000000 float32"),
        ("shape.txt", f"1 {10**9}", r"shape\.txt: 1000000000 values a row are more than the 16777216 that fit"),
        ("id.txt", "", r"id\.txt holds 0 ids, and shape\.txt tells of 5 rows"),
        ("id.txt", "a_1 a_2 a_3 a_4 a_5 a_6", r"id\.txt holds 6 ids, and shape\.txt tells of 5 rows"),
        (
            "id.txt",
            "a_1 a_2 a_3 a_4 ../../a_5",
            r"id\.txt: id '\.\./\.\./a_5' is empty or holds white space or a slash",
        ),
        ("id.txt", "a_1 a_2 a_3 a_4 ..", r"id\.txt: id '\.\.' is empty .*, or is \. or \.\."),
        ("id.txt", "a_1 a_2 a_3 a_4 a\0b_5", r"id\.txt: id 'a\\x00b_5' is empty .* or control characters"),
        ("id.txt", "a_1 a_2 a_3 a_4 a\x1bb_5", r"id\.txt: id 'a\\x1bb_5' is empty .* or control characters"),
        ("id.txt", "a_1 a_2 a_3 a_4 my cat_5", r"id\.txt holds 6 ids, and shape\.txt tells of 5 rows"),
        ("id.txt", "x" * (5 << 20), r"id\.txt: id 'x{79} is empty .* or is longer than 1000 bytes"),
        ("id.txt", f"a_1 a_2 a_3 a_4 a_{10**30}", r"level=frame: a_10+ is not <video id>_<frame index>"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_damaged_bigfile_is_refused(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(damaged(tmp_path, name, text))
    assert not list(tmp_path.rglob("*.h5*"))
    assert {path.name for path in tmp_path.iterdir()} <= {"f", "outputs"}


@pytest.mark.parametrize("name", ["feature.bin", "id.txt", "shape.txt"])
def test_a_link_to_itself_or_a_pipe_is_no_part_of_a_bigfile(tmp_path: Path, name: str) -> None:
    path = bigfile(tmp_path / "f", list(ROWS), list(ROWS.values())) / name
    for make in (lambda: path.symlink_to(path), lambda: os.mkfifo(path), path.mkdir):
        path.rmdir() if path.is_dir() else path.unlink()
        make()
        with pytest.raises(UsageError, match=rf"is not a BigFile: it has no {name}|is neither the folder of a BigFile"):
            run(path.parent)
    assert not list(tmp_path.rglob("*.h5*"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a_0 1 2\n\na_1 1 x\n", r"in\.txt, line 3: could not convert string to float: 'x'"),
        ("a_0 1 2\nmy a_1 1 2\n", r"line 2: could not convert string to float: 'a_1'; a line is an id without white"),
        ("a_0 1 2\na_1 1\n", r"line 2: 1 values, wanted 2: was the line cut\?"),
        ("a_0\n", r"line 1: 0 values, wanted at least 1"),
        ("a_0 1 1_0\n", r"line 1: a value holds an underscore"),
        ("a/b_0 1\n", r"line 1: id 'a/b_0' is empty or holds white space or a slash"),
        ("\n", r"in\.txt is empty"),
        ("a_0 nan\n", r"in\.txt holds no row of finite numbers"),
    ],
)
def test_a_damaged_text_is_refused_by_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "in.txt").write_text(text)
    with pytest.raises(UsageError, match=message):
        run(tmp_path / "in.txt", "level=frame")
    assert not [p for p in tmp_path.rglob("*") if p.suffix == ".h5" or p.name.startswith(".")]


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"source \(.*nothing\) is neither the folder of a BigFile nor"):
        run(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"level \(shot\) must be one of frame, video, segment"):
        run(bigfile(tmp_path / "f", list(ROWS), list(ROWS.values())), "level=shot")


def test_a_folder_with_text_alone_is_a_text(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "id.feature.txt").write_text("cat 1 2\n")
    with run(tmp_path / "f") as file:
        assert list(file.ids) == ["cat"]


@pytest.mark.dear
@pytest.mark.parametrize("app", ["export", "import_bigfile"])
def test_the_last_line_is_the_path(tmp_path: Path, app: str) -> None:
    source = bigfile(tmp_path / "f", list(ROWS), list(ROWS.values()))
    outputs = [f"output_dir={tmp_path / 'outputs'}", "collection=c", "feature=f,avgpool"]
    path = tmp_path / "outputs" / "c" / "f,avgpool" / "features.h5"
    if app == "import_bigfile":
        assert run_verb(app, f"source={source}", *outputs).stdout.endswith(f"{path}\n")
        with FeatureFile(path) as file:
            assert json.loads(file.attributes["provenance"])["recipe"]["imported"]["level"] == "frame"
    else:
        run(source).close()
        assert run_verb(app, *outputs, "format=npy").stdout.endswith(f"{path.with_name('npy')}\n")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak of a process")
def test_200_000_shuffled_rows_import_within_400_mb(tmp_path: Path) -> None:
    source = tmp_path / "f"
    source.mkdir()
    random = np.random.default_rng(0)
    numbers = random.permutation(200_000)
    block = random.random((1000, 2048), "f4")
    with (source / "feature.bin").open("wb") as matrix:
        for start in range(0, 200_000, 1000):
            block[:, 0] = numbers[start : start + 1000]
            block.tofile(matrix)
    (source / "id.txt").write_text(" ".join(f"shot{n // 100:05d}_1_{n % 100}" for n in numbers))
    (source / "shape.txt").write_text("200000 2048")
    options = ["collection=c", "feature=f", "level=frame", f"output_dir={tmp_path}"]
    memory, path = peak_mb("import_bigfile", f"source={source}", *options)
    assert memory < 400
    with FeatureFile(path) as file:
        np.testing.assert_array_equal(file.features[:, 0], np.arange(200_000))
