"""Exports: byte for byte what video-cnn-feat writes, read back by a reader that knows nothing of vfx."""

import ast
import logging
import os
import re
import signal
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.commands import peak_mb, run_python
from tests.conftest import TOYDATA
from tests.feature_files import timed, write_frames, write_rows
from vfx import export
from vfx.errors import CollectionError, OutputError, UsageError
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Rows
from vfx.formats import FORMATS, bigfile, npy
from vfx.system.files import remove_abandoned, working_folder

FEATURE = "net,avgpool"
MEMORY_MB = 400


def read_bigfile(folder: Path) -> tuple[dict[str, tuple[float, ...]], dict[str, list[str]] | None]:
    """A reader made from docs/formats.md alone: rows by id, and the frames of each video."""
    rows, dims = map(int, (folder / "shape.txt").read_text().split())
    ids = (folder / "id.txt").read_text().split(" ")
    data = (folder / "feature.bin").read_bytes()
    assert (len(ids), len(data)) == (rows, rows * dims * 4)
    vectors = {id: struct.unpack_from(f"<{dims}f", data, n * dims * 4) for n, id in enumerate(ids)}
    frames = folder / "video2frames.txt"
    return vectors, ast.literal_eval(frames.read_text()) if frames.exists() else None


def make(
    tmp_path: Path,
    *,
    level: str = "frame",
    shape: tuple[int, ...] = (2,),
    dtype: str = "float32",
    value: float = 0.5,
) -> list[str]:
    """A feature file of three rows, and the overrides that find it; the collection is there, and empty."""
    (tmp_path / "c").mkdir(exist_ok=True)
    path = tmp_path / "outputs" / "c" / FEATURE / "features.h5"
    values = np.arange(3 * np.prod(shape), dtype="f4").reshape(3, *shape) + value
    if level == "frame":
        b = Rows(values[2:], np.array([7]), np.array([np.nan]))
        write_frames(path, {"a_1": timed(values[:2], step=12, rate=25), "b": b}, dtype=dtype, feature=FEATURE)
    else:
        write_rows(path, ["b", "a_1", "z"], values, level=level, dtype=dtype, feature=FEATURE)
    os.utime(path, (1e9, 1e9))  # by which an export knows of what it was made
    return [f"collection={tmp_path / 'c'}", f"output_dir={tmp_path / 'outputs'}", f"feature={FEATURE}"]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_tiny_bigfile_byte_for_byte(tmp_path: Path) -> None:
    folder = export.main(*make(tmp_path))
    assert folder == tmp_path / "c" / "FeatureData" / FEATURE
    assert tree(folder) == {
        "feature.bin": struct.pack("<6f", 0.5, 1.5, 2.5, 3.5, 4.5, 5.5),
        "id.txt": b"a_1_0 a_1_12 b_7",
        "shape.txt": b"3 2",
        "video2frames.txt": b"{'a_1': ['a_1_0', 'a_1_12'], 'b': ['b_7']}",
    }
    assert [p.name for p in folder.parent.iterdir()] == [FEATURE]


def test_other_levels_have_no_frames(tmp_path: Path) -> None:
    vectors, frames = read_bigfile(export.main(*make(tmp_path, level="video")))
    assert list(vectors) == ["b", "a_1", "z"]
    assert frames is None


def test_float16_is_widened(tmp_path: Path) -> None:
    vectors, _ = read_bigfile(export.main(*make(tmp_path, dtype="float16")))
    assert vectors["a_1_12"] == (2.5, 3.5)


def test_real_features_reach_an_independent_reader(toy_features: FeatureFile, tmp_path: Path) -> None:
    outputs = toy_features.path.parent.parent.parent
    folder = export.main(
        f"collection={TOYDATA}", f"output_dir={outputs}", f"feature={toy_features.feature}", f"destination={tmp_path}/f"
    )
    vectors, frames = read_bigfile(folder)
    assert frames is not None
    with toy_features as file:
        assert list(frames) == list(file.videos)
        for video, ids in frames.items():
            np.testing.assert_array_equal([vectors[id] for id in ids], file[video])
        assert list(vectors) == [id for ids in frames.values() for id in ids] == list(file.ids)


@pytest.mark.parametrize(("level", "place"), [("frame", f"frame/{FEATURE}"), ("video", FEATURE)])
def test_laff_looks_for_frames_in_a_folder_of_their_own(tmp_path: Path, level: str, place: str) -> None:
    assert export.main(*make(tmp_path, level=level), "layout=laff") == tmp_path / "c" / "FeatureData" / place


def test_the_text_of_the_lineage(tmp_path: Path) -> None:
    path = export.main(*make(tmp_path, value=1 / 3), "format=txt")
    assert path == tmp_path / "outputs" / "c" / FEATURE / "id.feature.txt"
    assert path.read_bytes() == b"a_1_0 0.333333 1.33333\na_1_12 2.33333 3.33333\nb_7 4.33333 5.33333\n"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("shape", [(2,), (10, 2)])
def test_npy_keeps_shape_and_type(tmp_path: Path, shape: tuple[int, ...], dtype: str) -> None:
    folder = export.main(*make(tmp_path, shape=shape, dtype=dtype), "format=npy")
    values = np.load(folder / "features.npy", mmap_mode="r")
    assert values.dtype == dtype
    with FeatureFile(tmp_path / "outputs" / "c" / FEATURE) as file:
        np.testing.assert_array_equal(values, file.features[:])
    assert (folder / "ids.txt").read_text() == "a_1_0\na_1_12\nb_7\n"


@pytest.mark.parametrize("shape", [(2,), (10, 2)])
def test_npz_holds_a_video(tmp_path: Path, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vfx.formats.base.BLOCK_BYTES", 1)
    folder = export.main(*make(tmp_path, shape=shape), "format=npz")
    assert sorted(p.name for p in folder.iterdir()) == ["a_1.npz", "b.npz"]
    with FeatureFile(tmp_path / "outputs" / "c" / FEATURE) as file, np.load(folder / "a_1.npz") as arrays:
        assert sorted(arrays) == ["features", "ids", "index", "seconds"]
        np.testing.assert_array_equal(arrays["features"], file["a_1"])
        np.testing.assert_array_equal(arrays["index"], [0, 12])
        np.testing.assert_array_equal(arrays["seconds"], [0, 0.48])
        assert arrays["ids"].tolist() == ["a_1_0", "a_1_12"]


def test_npz_of_other_levels_holds_a_row(tmp_path: Path) -> None:
    folder = export.main(*make(tmp_path, level="segment"), "format=npz")
    with np.load(folder / "z.npz") as arrays:
        np.testing.assert_array_equal(arrays["features"], [4.5, 5.5])
        assert arrays["ids"] == "z"


@pytest.mark.parametrize("level", ["frame", "video"])
def test_parquet_has_a_row_for_each(tmp_path: Path, level: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow, of the extra parquet, is not installed")
    path = export.main(*make(tmp_path, level=level), "format=parquet")
    table = parquet.read_table(path)
    with FeatureFile(tmp_path / "outputs" / "c" / FEATURE) as file:
        assert table["id"].to_pylist() == list(file.ids)
        np.testing.assert_array_equal(table["features"].to_pylist(), file.features[:])
    if level == "frame":
        assert table["video"].to_pylist() == ["a_1", "a_1", "b"]
        assert table["index"].to_pylist() == [0, 12, 7]
    assert table.schema.metadata[b"feature"] == FEATURE.encode()


def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'vfx\[parquet\]'"):
        export.main(*make(tmp_path), "format=parquet")


@pytest.mark.parametrize("format", ["bigfile", "txt", "parquet"])
def test_ten_crops_do_not_fit_one_vector_a_row(tmp_path: Path, format: str) -> None:
    with pytest.raises(UsageError, match=r"keeps ten crops of each frame apart; extract with oversample=true"):
        export.main(*make(tmp_path, shape=(10, 2)), f"format={format}")


@pytest.mark.parametrize("format", ["bigfile", "npy", "npz", "txt"])
def test_a_break_in_the_middle_leaves_nothing(tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    overrides = make(tmp_path)
    real = FeatureFile.features.func
    asked = 0

    class Breaking:
        def __init__(self, data: Any) -> None:
            self.shape, self.dtype, self._data = data.shape, data.dtype, data

        def __getitem__(self, part: slice) -> Any:
            nonlocal asked
            asked += 1
            if asked > 1:
                raise KeyboardInterrupt
            return self._data[part]

    monkeypatch.setattr("vfx.formats.base.BLOCK_BYTES", 1)
    monkeypatch.setattr(FeatureFile, "features", property(lambda self: Breaking(real(self))))
    before = tree(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        export.main(*overrides, f"format={format}")
    assert asked == 2
    assert {k: v for k, v in tree(tmp_path).items() if not k.endswith(".log")} == before
    assert not list(tmp_path.rglob(".export.*"))


@pytest.mark.parametrize("format", ["bigfile", "npy", "npz", "txt"])
def test_what_is_there_is_kept_if_equal_and_replaced_if_asked(tmp_path: Path, format: str) -> None:
    path = export.main(*make(tmp_path), f"format={format}")
    folder = path if path.is_dir() else path.parent
    before, number = tree(folder), path.stat().st_ino
    assert export.main(*make(tmp_path), f"format={format}") == path
    log = tmp_path / "outputs" / "c" / FEATURE / "export.log"
    assert "is there already and holds the very same export" in log.read_text()
    assert path.stat().st_ino == number

    changed = make(tmp_path, value=0.25)
    with pytest.raises(OutputError, match=r"holds another export; overwrite=true replaces it"):
        export.main(*changed, f"format={format}")
    assert {k: v for k, v in tree(folder).items() if k in before and "." in k and k != "features.h5"} == {
        k: v for k, v in before.items() if k not in ("features.h5", "export.log")
    } | {k: v for k, v in tree(folder).items() if k == "export.log"}
    export.main(*changed, f"format={format}", "overwrite=true")
    after = tree(folder)
    assert after.keys() == before.keys()
    assert after != before
    assert not list(tmp_path.rglob(".export.*"))


@pytest.mark.parametrize("format", ["bigfile", "txt"])
def test_another_export_is_refused_before_any_work(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = [*make(tmp_path), f"format={format}"]
    path = export.main(*overrides)
    before = tree(path.parent)
    os.utime(tmp_path / "outputs" / "c" / FEATURE / "features.h5", (2e9, 2e9))
    with monkeypatch.context() as patch:
        patch.setattr(FORMATS[format], "write", lambda *_: pytest.fail("it is written"))
        with pytest.raises(OutputError, match=r"holds another export, not made of .*h5; overwrite=true replaces it"):
            export.main(*overrides)
    assert {k: v for k, v in tree(path.parent).items() if not k.endswith(".log")} == {
        k: v for k, v in before.items() if not k.endswith(".log")
    }


WRITE_AND_DIE = """
import os, signal, sys
from pathlib import Path
from vfx import export
rename = Path.rename
def dying(self, target):
    if self.name == "new":
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)
Path.rename = dying
export.main(*sys.argv[1:])
"""


def die(overrides: list[str]) -> None:
    """Run an export that is killed as it is about to give what it wrote its name."""
    run_python("-c", WRITE_AND_DIE, *overrides, code=-signal.SIGKILL)


def test_what_a_killed_export_left_goes_with_the_next(tmp_path: Path) -> None:
    overrides = make(tmp_path)
    die(overrides)
    (left,) = (tmp_path / "c" / "FeatureData").iterdir()
    assert [p.name for p in left.iterdir()] == ["new"]
    folder = export.main(*overrides)
    assert [p.name for p in folder.parent.iterdir()] == [FEATURE]
    (log,) = (tmp_path / "outputs").rglob("export.log")
    assert f"removed {left}, left by a run that was killed" in log.read_text()


def test_an_export_that_was_killed_as_it_replaced_another_gives_that_back(tmp_path: Path) -> None:
    folder = export.main(*make(tmp_path))
    before = tree(folder)
    die([*make(tmp_path, value=0.25), "overwrite=true"])
    assert not folder.exists()
    with pytest.raises(OutputError, match="holds another export"):
        export.main(*make(tmp_path, value=0.25))
    assert tree(folder) == before
    assert [p.name for p in folder.parent.iterdir()] == [FEATURE]


def test_a_run_at_work_keeps_its_folder(tmp_path: Path) -> None:
    with working_folder(tmp_path, ".export.") as folder:
        (folder / "new").write_text("mine")
        (tmp_path / ".export.notes").mkdir()
        with working_folder(tmp_path, ".export.") as other:
            remove_abandoned(tmp_path, ".export.")
            assert other.is_dir()
        assert (folder / "new").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir()] == [".export.notes"]


def test_a_folder_with_other_files_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "id.feature.txt").write_text("the only copy")
    with pytest.raises(OutputError, match=r"mine holds what this export would not write: id\.feature\.txt"):
        export.main(*make(tmp_path), f"destination={tmp_path / 'mine'}", "overwrite=true")
    with pytest.raises(OutputError, match=r"mine is a folder"):
        export.main(*make(tmp_path), f"destination={tmp_path / 'mine'}", "overwrite=true", "format=txt")
    assert tree(tmp_path / "mine") == {"id.feature.txt": b"the only copy"}


@pytest.mark.parametrize("name", ["precious.npz", ".git"])
def test_overwrite_removes_nothing_that_it_does_not_write(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_text("the only copy")
    with pytest.raises(OutputError, match=f"mine holds what this export does not write: {re.escape(name)}"):
        export.main(*make(tmp_path), f"destination={tmp_path / 'mine'}", "overwrite=true", "format=npz")
    assert tree(tmp_path / "mine") == {name: b"the only copy"}


def test_a_stray_file_does_not_make_it_another_export(tmp_path: Path) -> None:
    folder = export.main(*make(tmp_path))
    (folder / ".DS_Store").write_bytes(b"")
    before = tree(folder)
    assert export.main(*make(tmp_path)) == folder
    assert tree(folder) == before


def test_an_overwrite_that_fails_keeps_the_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = export.main(*make(tmp_path))
    before = tree(folder)
    rename = Path.rename

    def broken(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError("disk full")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(OutputError, match=r"could not be written: disk full\. Nothing half-written is left"):
        export.main(*make(tmp_path, value=0.25), "overwrite=true")
    assert tree(folder) == before


def test_a_link_to_another_disk_stays_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    export.main(*make(tmp_path), f"destination={tmp_path / 'link'}")
    assert (tmp_path / "link").is_symlink()
    assert "shape.txt" in tree(tmp_path / "disk")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["format=mat"], r"format \(mat\) must be one of bigfile, npy, npz, parquet, txt"),
        (["layout=flat"], r"layout \(flat\) must be default or laff"),
        (["format=npy", "layout=laff"], r"layout=laff is one of format=bigfile, and format is npy"),
        (["feature=other,avgpool"], rf"no .*features\.h5; .* has {FEATURE}"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        export.main(*make(tmp_path), *overrides)


def test_a_bigfile_needs_a_collection_or_a_destination(tmp_path: Path) -> None:
    overrides = make(tmp_path)
    (tmp_path / "c").rmdir()
    with pytest.raises(CollectionError, match="neither"):
        export.main(*overrides)
    assert export.main(*overrides, "format=npy").is_dir()


def test_ids_that_the_readers_would_lose_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("vfx"), "propagate", True)
    with FeatureFile(write_rows(tmp_path / "ascii.h5", ["é", "b"], np.ones((2, 1)))) as file:
        bigfile.write(file, tmp_path / "out")
    assert "not ASCII, such as é:" in caplog.text
    with (
        FeatureFile(write_rows(tmp_path / "space.h5", ["a b"], np.ones((1, 1)))) as file,
        pytest.raises(OutputError, match="id 'a b' is empty or holds white space"),
    ):
        npy.write(file, tmp_path / "npy")


def exported(rows: int, format: str, tmp_path: Path) -> tuple[float, Path]:
    """The most memory that a process of its own took to export that many rows of 2048 values, and what it wrote."""
    values = np.random.default_rng(0).random((100, 2048), "f4")
    videos = {f"shot{video:05d}_1": values for video in range(rows // 100)}
    write_frames(tmp_path / "outputs" / "c" / FEATURE / "features.h5", videos)
    overrides = ["collection=c", f"feature={FEATURE}", f"format={format}", f"output_dir={tmp_path / 'outputs'}"]
    memory, written = peak_mb("export", *overrides, f"destination={tmp_path / 'out'}")
    return memory, Path(written)


@pytest.mark.dear
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak of a process")
@pytest.mark.parametrize("format", ["bigfile", "npy", "npz"])
def test_memory_stays_small(tmp_path: Path, format: str) -> None:
    memory, _ = exported(20_000, format, tmp_path)
    assert memory < 160, memory  # the rows alone are 156 MB


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak of a process")
@pytest.mark.parametrize("format", ["bigfile", "npy", "npz", "txt"])
def test_200_000_rows_export_within_400_mb(tmp_path: Path, format: str) -> None:
    memory, written = exported(200_000, format, tmp_path)
    assert memory < MEMORY_MB
    if format == "bigfile":
        assert (written / "shape.txt").read_text() == "200000 2048"
        assert (written / "feature.bin").stat().st_size == 200_000 * 2048 * 4
