"""What all export formats share: ids from elsewhere name no file but in the export's own folder."""

from pathlib import Path

import numpy as np
import pytest

from tests.feature_files import write_rows
from vfx import export
from vfx.errors import OutputError


@pytest.mark.parametrize("format", ["bigfile", "txt", "npy", "npz", "parquet"])
@pytest.mark.parametrize("id", ["../up", "/tmp/up", "..", ".", "a\nb", "a\tb", "a\x1b[2Jb", "q" * 10_000])
def test_an_id_from_elsewhere_is_refused_and_nothing_is_written(tmp_path: Path, id: str, format: str) -> None:
    (tmp_path / "c").mkdir()
    write_rows(tmp_path / "outputs/c/f/features.h5", ["good", id], np.ones((2, 2)))
    before = sorted(tmp_path.rglob("*"))
    overrides = [f"collection={tmp_path / 'c'}", f"output_dir={tmp_path / 'outputs'}", "feature=f", f"format={format}"]
    with pytest.raises(OutputError, match=r"id '.{1,79} is empty or holds white space or a slash or control char"):
        export.main(*overrides)
    after = [p for p in sorted(tmp_path.rglob("*")) if p.name not in ("export.log", "FeatureData")]
    assert after == before


def test_an_id_too_long_to_name_a_file_is_refused_by_npz_alone(tmp_path: Path) -> None:
    path = tmp_path / "outputs/c/f/features.h5"
    write_rows(path, ["-rf", "con", "q" * 300], np.ones((3, 2)), level="segment")
    overrides = ["collection=c", f"output_dir={tmp_path / 'outputs'}", "feature=f"]
    with pytest.raises(OutputError, match="npz"):
        export.main(*overrides, "format=npz")
    assert {p.name for p in path.parent.iterdir()} - {"export.log"} == {"features.h5"}
    assert (export.main(*overrides, "format=npy") / "ids.txt").read_text() == f"-rf\ncon\n{'q' * 300}\n"
