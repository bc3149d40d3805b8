"""Feature files: written whole or not at all, and read back as a mapping."""

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

import vfx
from tests.conftest import ROOT
from vfx.errors import OutputError
from vfx.store import Failure, FeatureFile, FeatureFileWriter, Rows

ATTRIBUTES = {"feature": "f,avgpool", "collection": "c", "config": "a: 1", "provenance": '{"recipe": {}}'}


def rows(count: int, start: int = 0, dims: int = 3) -> Rows:
    index = np.arange(start, start + count) * 10
    return Rows(np.arange(count * dims, dtype="f4").reshape(count, dims) + start, index, index / 25)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "features.h5"
    with FeatureFileWriter(path, level="frame", shape=(3,), attributes=ATTRIBUTES) as writer:
        writer.add_video("a_b", iter([rows(2), rows(3, 2)]), decoder="pyav")
        writer.add_video("c", iter([rows(1)]), decoder="decord")
        writer.add_failures([Failure("c", "decode", "1 of 4 frames"), Failure("d", "open", "gone")])
    return path


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
        with pytest.raises(KeyError):
            file["nothing"]


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


def test_pandas_and_torch_hold_the_same_rows(path: Path) -> None:
    with FeatureFile(path) as file:
        frame = file.to_pandas()
        assert frame.index.names == ["video", "index", "seconds"]
        np.testing.assert_array_equal(frame.loc["a_b"].to_numpy(), file["a_b"])
        np.testing.assert_array_equal(file.to_torch().numpy(), file.features[:])


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
    block = Rows(np.full((4, *shape), 0.5, "f4"), np.arange(4), np.arange(4.0))
    with FeatureFileWriter(
        tmp_path / "f.h5", level="frame", shape=shape, dtype="float16", attributes=ATTRIBUTES
    ) as writer:
        writer.add_video("a", iter([block]))
    with FeatureFile(tmp_path / "f.h5") as file:
        assert file.features.dtype == np.float16
        assert file["a"].shape == (4, *shape)


def test_an_exception_while_writing_leaves_no_file(tmp_path: Path) -> None:
    def broken() -> Iterator[Rows]:
        yield rows(1)
        raise RuntimeError("the disk is on fire")

    with (
        pytest.raises(RuntimeError, match="on fire"),
        FeatureFileWriter(tmp_path / "f.h5", level="frame", shape=(3,), attributes=ATTRIBUTES) as writer,
    ):
        writer.add_video("a", broken())
    assert list(tmp_path.iterdir()) == []


def test_a_file_keeps_its_old_content_until_the_new_is_whole(path: Path) -> None:
    with FeatureFileWriter(path, level="frame", shape=(3,), attributes=ATTRIBUTES) as writer:
        with FeatureFile(path) as old:
            assert len(old) == 2
        writer.add_video("new", iter([rows(1)]))
    with FeatureFile(path) as file:
        assert list(file) == ["new"]


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


def test_many_small_videos_are_written_in_blocks(tmp_path: Path) -> None:
    with FeatureFileWriter(tmp_path / "f.h5", level="frame", shape=(3,), attributes=ATTRIBUTES) as writer:
        for v in range(20_000):
            writer.add_video(f"{v:05d}", iter([rows(2, v)]))
    with FeatureFile(tmp_path / "f.h5") as file:
        assert file.features.shape == (40_000, 3)
        np.testing.assert_array_equal(file["19999"], rows(2, 19_999).features)


def test_text_that_hdf5_cannot_hold_is_kept_readable(tmp_path: Path) -> None:
    with FeatureFileWriter(tmp_path / "f.h5", level="frame", shape=(3,), attributes=ATTRIBUTES) as writer:
        writer.add_failures([Failure("a", "open", "caf\udce9.jpg has a \0")])
    with FeatureFile(tmp_path / "f.h5") as file:
        assert file.failures == [Failure("a", "open", "caf\\udce9.jpg has a \\0")]


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    """The kernel's limit on the size of a file stands for a full disk."""
    code = (
        "import resource, signal, sys; from pathlib import Path; import numpy as np\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "from vfx.store import FeatureFileWriter\n"
        f"path = Path({str(tmp_path)!r}) / 'f.h5'\n"
        "with FeatureFileWriter(path, level='video', shape=(1000,), attributes={}) as w:\n"
        "    for n in range(20): w.add_rows([str(200 * n + i) for i in range(200)], np.ones((200, 1000), np.float32))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "OutputError: " in done.stderr
    assert "f.h5 could not be written, and nothing is left of it" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    with FeatureFileWriter(tmp_path / "f.h5", level="frame", shape=(3,), attributes=ATTRIBUTES) as one:
        one.add_video("a", iter([rows(2)]))
        with FeatureFileWriter(tmp_path / "f.h5", level="frame", shape=(3,), attributes=ATTRIBUTES) as two:
            two.add_video("b", iter([rows(1)]))
        one.add_video("c", iter([rows(3)]))
    with FeatureFile(tmp_path / "f.h5") as file:
        assert list(file) == ["a", "c"]


def test_what_only_frames_have_is_said_of_other_levels(tmp_path: Path) -> None:
    with FeatureFileWriter(tmp_path / "f.h5", level="video", shape=(3,), attributes=ATTRIBUTES) as writer:
        writer.add_rows(["a"], np.ones((1, 3)))
    with (
        FeatureFile(tmp_path / "f.h5") as file,
        pytest.raises(OutputError, match="is of video level: it has no seconds"),
    ):
        _ = file.seconds
