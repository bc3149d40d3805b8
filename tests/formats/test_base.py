"""What all export formats share: ids from elsewhere name no file but in the export's own folder."""

from pathlib import Path

import numpy as np
import pytest

from vfx import export
from vfx.errors import OutputError
from vfx.features.writer import FeatureFileWriter


@pytest.mark.parametrize("format", ["bigfile", "txt", "npy", "npz", "parquet"])
@pytest.mark.parametrize("id", ["../up", "/tmp/up", "..", ".", "a\nb", "a\tb", "a\x1b[2Jb", "q" * 10_000])
def test_an_id_from_elsewhere_is_refused_and_nothing_is_written(tmp_path: Path, id: str, format: str) -> None:
    path = tmp_path / "outputs" / "c" / "f" / "features.h5"
    path.parent.mkdir(parents=True)
    (tmp_path / "c").mkdir()
    attributes = {"feature": "f", "collection": "c", "config": "", "provenance": '{"recipe": {}}'}
    with FeatureFileWriter(path, level="video", shape=(2,), attributes=attributes) as writer:
        writer.add_rows(["good", id], np.ones((2, 2), "f4"))
    before = sorted(tmp_path.rglob("*"))
    overrides = [f"collection={tmp_path / 'c'}", f"output_dir={tmp_path / 'outputs'}", "feature=f", f"format={format}"]
    with pytest.raises(OutputError, match=r"id '.{1,79} is empty or holds white space or a slash or control char"):
        export.main(*overrides)
    after = [p for p in sorted(tmp_path.rglob("*")) if p.name not in ("export.log", "FeatureData")]
    assert after == before


def test_an_id_too_long_to_name_a_file_is_refused_by_npz_alone(tmp_path: Path) -> None:
    path = tmp_path / "outputs" / "c" / "f" / "features.h5"
    path.parent.mkdir(parents=True)
    attributes = {"feature": "f", "collection": "c", "config": "", "provenance": '{"recipe": {}}'}
    with FeatureFileWriter(path, level="segment", shape=(2,), attributes=attributes) as writer:
        writer.add_rows(["-rf", "con", "q" * 300], np.ones((3, 2), "f4"))
    overrides = ["collection=c", f"output_dir={tmp_path / 'outputs'}", "feature=f"]
    with pytest.raises(OutputError, match="npz"):
        export.main(*overrides, "format=npz")
    assert {p.name for p in path.parent.iterdir()} - {"export.log"} == {"features.h5"}
    assert (export.main(*overrides, "format=npy") / "ids.txt").read_text() == f"-rf\ncon\n{'q' * 300}\n"
