"""The app: what it looks at, what it prints, and how it ends."""

import logging
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.commands import run_verb
from tests.features.test_schema import make
from vfx import verify
from vfx.errors import IntegrityError, OutputError, UsageError


@pytest.fixture
def outputs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[Path]:
    """Two features of a collection, one finished and one in parts, and a folder of something else."""
    logging.getLogger("vfx").addHandler(caplog.handler)
    make(tmp_path / "c/f,avgpool/features.h5")
    for n in "12":
        make(tmp_path / f"c/g,avgpool/parts/part-{n}.h5")
    (tmp_path / "c/other").mkdir()
    yield tmp_path
    logging.getLogger("vfx").removeHandler(caplog.handler)


def spoil(path: Path) -> Path:
    with h5py.File(path, "r+") as file:
        file["features"][1] = np.nan
    return path


def run(outputs: Path, *keys: str) -> Path:
    return verify.main(*keys, f"output_dir={outputs}")


def test_every_feature_of_a_collection_is_looked_at(outputs: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert run(outputs, "collection=/data/c") == outputs / "c"
    assert caplog.messages[-1].startswith("3 files, ")
    assert caplog.messages[-1].endswith(" s: nothing is wrong")


@pytest.mark.parametrize("name", ["f,avgpool", "g,avgpool"])
def test_one_feature_is_looked_at_finished_or_not(outputs: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    assert run(outputs, "collection=c", f"feature={name}") == outputs / "c" / name
    assert caplog.messages[-1].startswith({"f": "1 file, ", "g": "2 files, "}[name[0]])


@pytest.mark.parametrize("name", ["features.h5", ""])
def test_any_file_is_looked_at(outputs: Path, name: str) -> None:
    folder = outputs / "c/f,avgpool"
    assert verify.main(f"file={folder / name}") == folder / "features.h5"


def test_what_is_wrong_is_told_with_its_file(outputs: Path, caplog: pytest.LogCaptureFixture) -> None:
    bad = spoil(outputs / "c/g,avgpool/parts/part-2.h5")
    message = rf"1 of 3 files not as it should be, such as {bad}; see above"
    with pytest.raises(IntegrityError, match=message):
        run(outputs, "collection=c")
    assert len(caplog.messages) == 2
    assert caplog.messages[0] == f"{bad}: features, row 1 ('a_5'): NaN or infinity"
    assert caplog.messages[1].startswith(f"{bad}: features: not what was written: sha256 is ")


def test_a_file_without_digests_passes_and_is_told(outputs: Path, caplog: pytest.LogCaptureFixture) -> None:
    with h5py.File(outputs / "c/f,avgpool/features.h5", "r+") as file:
        del file.attrs["digests"]
    run(outputs, "collection=c", "feature=f,avgpool")
    assert "features.h5: no digests, as in files of earlier versions" in caplog.messages[0]
    assert caplog.messages[-1].endswith("nothing is wrong")


def test_mistakes_are_named(outputs: Path) -> None:
    with pytest.raises(UsageError, match=r"give either collection=\.\.\. or file=\.\.\."):
        run(outputs)
    with pytest.raises(UsageError, match=r"give either collection=\.\.\. or file=\.\.\."):
        run(outputs, "collection=c", "file=f.h5")
    with pytest.raises(UsageError, match=r"feature \(f\) goes with collection=\.\.\., not with file="):
        run(outputs, "feature=f", "file=f.h5")
    with pytest.raises(OutputError, match=r"file \(nothing\.h5\) is not there"):
        run(outputs, "file=nothing.h5")
    with pytest.raises(OutputError, match=r"no feature file in .*c/x; .*c has f,avgpool, g,avgpool$"):
        run(outputs, "collection=c", "feature=x")
    with pytest.raises(OutputError, match=r"no feature file in .*d/\*; .*d has none: vfx.extract makes them$"):
        run(outputs, "collection=d")


@pytest.mark.dear
def test_exit_code_and_last_line(outputs: Path) -> None:
    path = outputs / "c/f,avgpool/features.h5"
    before = path.read_bytes()
    assert run_verb("verify", f"file={path}").stdout == f"{path}\n"
    assert path.read_bytes() == before
    done = run_verb("verify", f"file={spoil(path)}", code=1)
    assert done.stdout == ""
    assert "features, row 1 ('a_5'): NaN or infinity" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: 1 of 1 file not as it should be, such as ")
