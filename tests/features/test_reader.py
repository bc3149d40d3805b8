"""Feature files: written whole or not at all (vfx.features.writer), and read back (vfx.features.reader)."""

import json
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
from vfx.errors import OutputError, UnknownIdError
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure, Rows
from vfx.features.writer import FeatureFileWriter

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
    with FeatureFileWriter(tmp_path / "f.h5", level="segment", shape=(3,), attributes=ATTRIBUTES) as writer:
        pass
    with FeatureFile(tmp_path / "f.h5") as file, pytest.raises(UnknownIdError, match=r"no segment 'x'; it has none$"):
        file["x"]
    with FeatureFileWriter(tmp_path / "f.h5", level="segment", shape=(3,), attributes=ATTRIBUTES) as writer:
        writer.add_rows(["s1", "s2"], np.ones((2, 3)))
    with FeatureFile(tmp_path / "f.h5") as file:
        assert "s1" in file
        assert "s1_0" not in file
        with pytest.raises(UnknownIdError, match=r"no segment 's3'; it has 2 segments, such as 's1'$"):
            file["s3"]


@pytest.mark.parametrize(("dtype", "size"), [("float32", 7), ("float32", 5000), ("float16", 5000)])
def test_digests_are_those_of_the_documentation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, size: int
) -> None:
    """The code in docs/schema.md is run as it stands there; `size`: rows of a call, below and above a block's."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    with FeatureFileWriter(
        tmp_path / "features.h5", level="frame", shape=(1000,), dtype=dtype, attributes=ATTRIBUTES
    ) as writer:
        for video in ("a", "bé"):
            blocks = np.array_split(np.arange(6000), 6000 // size)
            writer.add_video(video, (Rows(random.random((len(b), 1000), "f4"), b, b / 25) for b in blocks))
        writer.add_failures([Failure("a", "decode", "Übel"), Failure("c", "open", "")])
    (code,) = [
        c for c in (ROOT / "docs/schema.md").read_text().split("```python\n") if "hashlib" in c.partition("```")[0]
    ]
    namespace: dict[str, object] = {}
    exec(code.partition("```")[0], namespace)
    with h5py.File("features.h5") as file:
        assert json.loads(file.attrs["digests"]) == namespace["found"]
        assert set(namespace["found"]) == {
            "features", "ids", "failures", "index", "seconds", "videos/ids", "videos/offsets", "videos/decoder",
            "attributes",
        }  # fmt: skip


def test_one_row_at_a_time_gives_the_same_digests(tmp_path: Path) -> None:
    rows = np.random.default_rng(0).random((50, 3))
    found = []
    for size in (1, 50):
        with FeatureFileWriter(tmp_path / "f.h5", level="video", shape=(3,), attributes=ATTRIBUTES) as writer:
            for start in range(0, 50, size):
                writer.add_rows([str(n) for n in range(start, start + size)], rows[start : start + size])
        with FeatureFile(tmp_path / "f.h5") as file:
            np.testing.assert_array_equal(file.features[:], rows.astype("f4"))
            found.append(json.loads(file.attributes["digests"]))
    assert found[0]["features"] == found[1]["features"]
    assert found[0]["ids"] == found[1]["ids"]


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
    with FeatureFileWriter(tmp_path / "f.h5", level="video", shape=(1024,), attributes=ATTRIBUTES) as writer:
        writer.add_rows([str(n) for n in range(1000)], rows)

    def read() -> int:
        return int(Path("/proc/self/io").read_text().split()[1])

    with FeatureFile(tmp_path / "f.h5") as file:
        _ = file["500"]  # where the chunks lie is read with it
        before = read()
        np.testing.assert_array_equal(file["700"], rows[700])
        assert 4096 <= read() - before < 2 * 4096


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
        "from vfx.features.writer import FeatureFileWriter\n"
        f"path = Path({str(tmp_path)!r}) / 'f.h5'\n"
        "with FeatureFileWriter(path, level='video', shape=(1000,), attributes={}) as w:\n"
        "    for n in range(20): w.add_rows([str(200 * n + i) for i in range(200)], np.ones((200, 1000), np.float32))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "OutputError: " in done.stderr
    assert "f.h5 could not be written: File too large. Nothing half-written is left there" in done.stderr
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
