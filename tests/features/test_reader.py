"""Feature files read back as mappings of ids to rows."""

import pickle
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

import vfx
from tests.feature_files import bytes_read, write_frames, write_rows
from vfx.errors import OutputError, UnknownIdError
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure


def test_the_mapping_gives_videos_and_frames(path: Path) -> None:
    with vfx.FeatureFile(path) as file:
        assert list(file) == ["a_b", "c"]
        assert len(file) == 2
        assert file["a_b"].shape == (5, 3)
        np.testing.assert_array_equal(file["a_b_20"], file["a_b"][2])
        assert "a_b_20" in file
        assert "a_b" in file
        assert "a_b_21" not in file
        assert "a_b_99" not in file


@pytest.mark.parametrize(
    "id", ["nothing", "a_b_21", "a_b_020", "a_b_٢٠", f"a_b_{10**30}", "a_b_", "_20", "c_0_0", "", 3]
)
def test_an_unknown_id_is_told_with_those_there_are(path: Path, id: str) -> None:
    message = (
        rf"features\.h5 has no video or frame {id!r}; it has 2 videos, such as 'a_b', and 6 frames, such as 'a_b_0'"
    )
    with FeatureFile(path) as file:
        assert id not in file
        assert file.get(id) is None
        with pytest.raises(KeyError, match=message):
            file[id]
        with pytest.raises(UnknownIdError, match=message):
            file.span(id)


def test_an_unknown_id_of_other_levels_is_told_too(tmp_path: Path) -> None:
    empty = FeatureFile(write_rows(tmp_path / "empty.h5", [], np.ones((0, 3)), level="segment"))
    with empty, pytest.raises(UnknownIdError, match=r"no segment 'x'; it has none$"):
        empty["x"]
    with FeatureFile(write_rows(tmp_path / "f.h5", ["s1", "s2"], np.ones((2, 3)), level="segment")) as file:
        assert "s1" in file
        assert "s1_0" not in file
        with pytest.raises(UnknownIdError, match=r"no segment 's3'; it has 2 segments, such as 's1'$"):
            file["s3"]


def test_damage_is_told_when_it_is_met(path: Path) -> None:
    with h5py.File(path, "r") as file:
        at = file["ids"].id.get_chunk_info(0).byte_offset
    with path.open("r+b") as file:
        file.seek(at + 4)
        file.write(b"\xff" * 8)  # where the text of the first id lies
    with FeatureFile(path) as file, pytest.raises(OutputError, match=r"features\.h5 is damaged: .*vfx\.verify file="):
        _ = file.ids


def test_every_column_reads_back(path: Path) -> None:
    with FeatureFile(path) as file:
        assert list(file.ids) == ["a_b_0", "a_b_10", "a_b_20", "a_b_30", "a_b_40", "c_0"]
        np.testing.assert_array_equal(file.offsets, [0, 5, 6])
        np.testing.assert_array_equal(file.index, [0, 10, 20, 30, 40, 0])
        np.testing.assert_array_equal(file.seconds, file.index / 25)
        assert list(file.decoders) == ["pyav", "decord"]
        assert file.failures == [Failure("c", "decode", "1 of 4 frames"), Failure("d", "open", "gone")]
        assert file.provenance == {"recipe": {}}
        assert (file.level, file.feature) == ("frame", "f,avgpool")
        assert file.attributes["schema"] == "vfx.features/1"


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has read stands in /proc")
def test_a_row_is_read_without_the_rest_of_its_chunk(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((1000, 1024), "f4")
    with FeatureFile(write_rows(tmp_path / "f.h5", [str(n) for n in range(1000)], rows)) as file:
        _ = file["500"]  # where the chunks lie is read with it
        before = bytes_read()
        np.testing.assert_array_equal(file["700"], rows[700])
        assert 4096 <= bytes_read() - before < 2 * 4096


def test_it_crosses_to_another_process_while_open(path: Path) -> None:
    with FeatureFile(path) as file:
        assert len(file) == 2
        with pickle.loads(pickle.dumps(file)) as other:
            np.testing.assert_array_equal(other["c"], file["c"])


def test_a_folder_means_the_file_in_it(path: Path) -> None:
    with FeatureFile(path.parent) as file:
        assert len(file) == 2


@pytest.mark.parametrize("shape", [(3,), (10, 3)])
def test_float16_and_ten_crops_keep_their_shape(tmp_path: Path, shape: tuple[int, ...]) -> None:
    videos = {"a": np.full((4, *shape), 0.5, "f4")}
    with FeatureFile(write_frames(tmp_path / "f.h5", videos, dtype="float16")) as file:
        assert file.features.dtype == np.float16
        assert file["a"].shape == (4, *shape)


def test_what_is_no_feature_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"no feature file .*nothing\.h5"):
        len(FeatureFile(tmp_path / "nothing.h5"))
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(OutputError, match=r"text\.h5 is not a readable HDF5 file"):
        len(FeatureFile(tmp_path / "text.h5"))
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["x"] = [1]
    with pytest.raises(OutputError, match=r"schema is None, wanted 'vfx\.features/1'"):
        len(FeatureFile(tmp_path / "other.h5"))


def test_what_only_frames_have_is_said_of_other_levels(tmp_path: Path) -> None:
    file = FeatureFile(write_rows(tmp_path / "f.h5", ["a"], np.ones((1, 3))))
    with file, pytest.raises(OutputError, match="is of video level: it has no seconds"):
        _ = file.seconds
