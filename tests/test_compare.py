"""Comparison as its user runs it: features of the toy collection, their exports, and what was done to them."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from tests.commands import peak_mb, run_verb
from tests.conftest import ROOT, TOYDATA
from tests.feature_files import ATTRIBUTES, write_frames
from vfx import compare, export, extract
from vfx.comparison.compare_rows import Comparison
from vfx.errors import DifferenceError, OutputError, UsageError
from vfx.features.feature_file import FeatureFile
from vfx.features.writer import FeatureFileWriter


@pytest.fixture(scope="session")
def others(tmp_path_factory: pytest.TempPathFactory) -> FeatureFile:
    """The toy collection at one frame a second, and in float16."""
    folder = tmp_path_factory.mktemp("others")
    recipe = ["sampler=fps", "sampler.fps=1", "writer.dtype=float16"]
    return FeatureFile(extract.main(f"collection={TOYDATA}", f"output_dir={folder}", "trainer=cpu", *recipe))


def exported(file: FeatureFile, destination: Path, *overrides: str) -> Path:
    given = ["collection=toydata", f"output_dir={file.path.parents[2]}", f"feature={file.feature}"]
    return export.main(*given, f"destination={destination}", *overrides)


@pytest.fixture
def bigfile(tmp_path: Path, toy_features: FeatureFile) -> Path:
    return exported(toy_features, tmp_path / "big,file")


def change(bigfile: Path, *, rows: np.ndarray | None = None, without: int = 0) -> None:
    """Put other rows into a BigFile, or take away its last."""
    ids = (bigfile / "id.txt").read_text().split()
    count, dims = map(int, (bigfile / "shape.txt").read_text().split())
    values = np.fromfile(bigfile / "feature.bin", "<f4").reshape(count, dims) if rows is None else rows
    values[: count - without].tofile(bigfile / "feature.bin")
    (bigfile / "id.txt").write_text(" ".join(ids[: count - without]))
    (bigfile / "shape.txt").write_text(f"{count - without} {dims}")


def compared(a: Path, b: Path, *overrides: str) -> Comparison:
    found = compare.main(f"a={a}", f"b={b}", *overrides)
    assert isinstance(found, Comparison)
    return found


def test_an_export_is_the_same(toy_features: FeatureFile, bigfile: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = compared(toy_features.path, bigfile)
    assert (found.cosine == 1).all()
    assert not found.difference.any()
    assert found.hints == []
    assert str(found) == "59 rows compared: least cosine 1.00000000, largest difference 0"
    printed = capsys.readouterr().out
    assert "59 rows in both, in the same order\n" in printed
    assert "recipe: b is a BigFile, which keeps none" in printed
    assert "worst rows" not in printed
    assert str(compared(bigfile / "feature.bin", toy_features.path.parent, "difference=0")) == str(found)


def test_the_lineages_text_is_the_same_to_six_digits(toy_features: FeatureFile, tmp_path: Path) -> None:
    text = exported(toy_features, tmp_path / "f", "format=txt")
    found = compared(toy_features.path, text, "difference=0.00001")
    assert 0 < found.difference.max() < 1e-5
    assert list(tmp_path.iterdir()) == [text]


@pytest.mark.dear
def test_two_recipes(toy_features: FeatureFile, others: FeatureFile, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DifferenceError, match=r"^a and b differ: ids: 28 \(astronaut_12, astronaut_36, .*\) only in a"):
        compare.main(f"a={toy_features.path}", f"b={others.path}")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if line.startswith("recipe")] == [
        ["recipe.dtype", "float32", "float16"],
        ["recipe.sampler.fps", "nothing", "1"],
        ["recipe.sampler.name", "half_second", "fps"],
    ]
    assert "seconds differ in 0 of them" in lines
    found = compared(toy_features.path, others.path, "subset=true")
    assert list(found.matched.a) == [i for i, id in enumerate(toy_features.ids) if id in set(others.ids)]
    x, y = toy_features["cat_0"].astype("f8"), others["cat_0"].astype("f8")
    at = list(others.ids).index("cat_0")
    assert found.cosine[at] == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=1e-12)
    assert found.difference[at] == np.abs(x - y).max()


def test_rows_that_are_missing(toy_features: FeatureFile, bigfile: Path) -> None:
    change(bigfile, without=3)
    lost = ", ".join(toy_features.ids[-3:])
    with pytest.raises(DifferenceError, match=rf"^a and b differ: ids: 3 \({lost}\) only in a; subset=true compares"):
        compare.main(f"a={toy_features.path}", f"b={bigfile}")
    with pytest.raises(DifferenceError, match=rf"3 \({lost}\) only in b"):
        compare.main(f"a={bigfile}", f"b={toy_features.path}")
    assert len(compared(bigfile, toy_features.path, "subset=true").cosine) == 56


def test_the_row_that_was_changed_is_the_worst(toy_features: FeatureFile, bigfile: Path, tmp_path: Path) -> None:
    rows = toy_features.features[:]
    rows[17, 40:60] += 1
    change(bigfile, rows=rows)
    id, table = toy_features.ids[17], tmp_path / "new" / "rows,1.tsv"
    with pytest.raises(
        DifferenceError, match=rf"^a and b differ: 1 of 59 rows have a cosine below 0.9999, .*\({id}\)$"
    ):
        compare.main(f"a={toy_features.path}", f"b={bigfile}", f"output={table}")
    assert compare.main(
        f"a={toy_features.path}", f"b={bigfile}", "cosine=0.5", f"output={table}", "overwrite=true"
    ) == (table)
    head, *lines = table.read_text().splitlines()
    assert head == "id\tcosine\tmax_abs"
    values = {line.split("\t")[0]: tuple(map(float, line.split("\t")[1:])) for line in lines}
    assert list(values) == list(toy_features.ids)
    assert {name for name, numbers in values.items() if numbers != (1, 0)} == {id}
    assert 0.5 < values[id][0] < 0.9999
    assert values[id][1] == pytest.approx(1, rel=1e-5)
    assert list(table.parent.iterdir()) == [table]


def test_a_table_that_is_there_stays(toy_features: FeatureFile, tmp_path: Path) -> None:
    table = tmp_path / "rows.tsv"
    table.write_text("mine")
    sides = [f"a={toy_features.path}", f"b={toy_features.path}", f"output={table}"]
    with pytest.raises(UsageError, match=r"output \(.*rows.tsv\) is there already; overwrite=true replaces it"):
        compare.main(*sides)
    assert table.read_text() == "mine"
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match=r"folder could not be written: Is a directory\. Nothing half-written"):
        compare.main(*sides[:2], f"output={tmp_path / 'folder'}", "overwrite=true")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "rows.tsv"]


def test_ten_crops_in_two_types(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((20, 10, 16), np.float32)
    a, b = (write_frames(tmp_path / f"{dtype}.h5", {"v": rows}, dtype=dtype) for dtype in ("float32", "float16"))
    found = compared(a, b)
    np.testing.assert_array_equal(found.difference, np.abs(rows - rows.astype("f2")).max(axis=(1, 2)))
    assert found.hints == ["one is the other rounded to float16: they are equal once both are"]
    assert (found.inputs[0].shape, found.inputs[1].dtype) == ((20, 10, 16), "float16")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("cosine=2", r"cosine \(2\) must be a number, at most 1"),
        ("cosine=null", r"cosine \(None\) must be a number, at most 1"),
        ("cosine=nan", r"cosine \(nan\) must be a number"),
        ("difference=some", r"difference \(some\) must be a number"),
        ("subset=some", r"subset \(some\) must be true or false"),
        ("b=/nowhere", r"/nowhere holds no feature: neither features\.h5, nor feature\.bin of a BigFile, nor id\.fea"),
        (f"b={ROOT}", r" holds no feature"),
    ],
)
def test_mistakes_are_named(toy_features: FeatureFile, override: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        compare.main(f"a={toy_features.path}", *([] if override[0] == "b" else [f"b={toy_features.path}"]), override)


def test_a_damaged_bigfile_is_refused(toy_features: FeatureFile, bigfile: Path) -> None:
    (bigfile / "feature.bin").write_bytes(b"short")
    with pytest.raises(OutputError, match=r"feature\.bin has 5 bytes"):
        compare.main(f"a={toy_features.path}", f"b={bigfile}")


@pytest.mark.dear
def test_the_command_line(toy_features: FeatureFile, bigfile: Path, tmp_path: Path) -> None:
    command = partial(run_verb, "compare", f"a={toy_features.path.parent}", f"b={bigfile}")
    assert command().stdout.endswith("\n59 rows compared: least cosine 1.00000000, largest difference 0\n")
    table = tmp_path / "rows.tsv"
    assert command(f"output={table}").stdout.endswith(f"\n{table}\n")
    change(bigfile, without=3)
    done = command(code=1)
    assert "56 rows in both, in the same order\n" in done.stdout
    assert done.stderr.startswith("error: a and b differ: ids: 3 (")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the peak of a process")
def test_200_000_rows_in_another_order_compare_within_300_mb(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    numbers = random.permutation(200_000)
    block = random.random((1000, 2048), "f4")
    (tmp_path / "b").mkdir()
    with (
        FeatureFileWriter(tmp_path / "a.h5", level="video", shape=(2048,), attributes=ATTRIBUTES) as writer,
        (tmp_path / "b" / "feature.bin").open("wb") as matrix,
    ):
        for start in range(0, 200_000, 1000):
            block[:, 0] = np.arange(start, start + 1000)
            writer.add_rows([f"v{n}" for n in range(start, start + 1000)], block)
            block[:, 0] = numbers[start : start + 1000]
            # the other columns go with the row's number, as they do above
            block_b = block[numbers[start : start + 1000] % 1000]
            block_b[:, 0] = block[:, 0]
            block_b.tofile(matrix)
    (tmp_path / "b" / "id.txt").write_text(" ".join(f"v{n}" for n in numbers))
    (tmp_path / "b" / "shape.txt").write_text("200000 2048")
    memory, told = peak_mb("compare", f"a={tmp_path / 'a.h5'}", f"b={tmp_path / 'b'}", "difference=0")
    assert told == "200000 rows compared: least cosine 1.00000000, largest difference 0"
    assert memory < 300
    shutil.rmtree(tmp_path)
