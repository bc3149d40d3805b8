"""Feature files are written whole or not at all, with the digests of the documentation."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.feature_files import ATTRIBUTES, write_frames
from tests.features.conftest import rows
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure, Rows
from vfx.features.writer import FeatureFileWriter


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


def test_many_small_videos_are_written_in_blocks(tmp_path: Path) -> None:
    with FeatureFile(write_frames(tmp_path / "f.h5", {f"{v:05d}": rows(2, v) for v in range(20_000)})) as file:
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
