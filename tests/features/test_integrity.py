"""Damage is found: every flipped byte that changes anything, and every breach of the schema, with where it is."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import VIDEOS
from tests.feature_files import ATTRIBUTES, timed, write_frames, write_rows
from tests.features.test_schema import HOSTILE, attribute, put
from vfx.features.examination import Finding
from vfx.features.integrity import examine, examine_files
from vfx.features.rows import Failure
from vfx.features.writer import FeatureFileWriter

COLUMNS = ["features", "ids", "failures", "index", "seconds", "videos/ids", "videos/offsets", "videos/decoder"]
CREATED = "2026-01-02T03:04:05+00:00"
Change = Callable[[h5py.File], object]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five videos of four frames each, two failures; the same bytes each time."""
    random = np.random.default_rng(0)
    return write_frames(
        tmp_path_factory.mktemp("good") / "features.h5",
        {video: timed(random.random((4, 8)), step=10, rate=25) for video in ("a", "b_1", "c", "d", "é")},
        decoder="pyav",
        failures=[Failure("b_1", "decode", "4 of 5 frames"), Failure("w", "open", "is gone")],
        created=CREATED,
        config="a: Größe",
    )


def problems(path: Path, **options: int) -> list[str]:
    return [item.text for item in examine(path, **options) if isinstance(item, Finding) and item.wrong]


def content(path: Path) -> str:
    """All that a reader could see."""
    with h5py.File(path) as file:
        columns = {name: (str(file[name].dtype), file[name].shape, file[name][:].tolist()) for name in COLUMNS}
        return repr((dict(file.attrs), columns))


def copied(good: Path, path: Path, change: Change) -> Path:
    path.write_bytes(good.read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def flipped(good: Path, path: Path, at: int, bits: int) -> Path:
    data = bytearray(good.read_bytes())
    data[at] ^= bits
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("level", ["frame", "video", "segment"])
def test_nothing_is_wrong_with_what_was_written(good: Path, tmp_path: Path, level: str) -> None:
    path = good
    if level != "frame":
        path = write_rows(tmp_path / "f.h5", ["b", "a_1", "c"], np.ones((3, 10, 3)), level=level, dtype="float16")
    assert [item for item in examine(path) if isinstance(item, Finding)] == []
    assert list(examine_files([path])) == []


def test_a_part_without_rows_is_whole(tmp_path: Path) -> None:
    with FeatureFileWriter(tmp_path / "f.h5", level="frame", shape=(3,), attributes=ATTRIBUTES) as writer:
        writer.add_failures([Failure("a", "open", "is gone")])
    assert problems(tmp_path / "f.h5") == []


def test_blocks_change_nothing(good: Path) -> None:
    assert problems(good, block_rows=3) == []


@pytest.mark.dear
def test_every_flip_is_found_or_harmless(good: Path, tmp_path: Path) -> None:
    """Half of the flips anywhere, half among the bytes that are not zero, of which there are few."""
    random = np.random.default_rng(7)
    data = np.frombuffer(good.read_bytes(), np.uint8)
    places = [*random.integers(0, len(data), 30), *random.choice(np.flatnonzero(data), 60)]
    paths = [flipped(good, tmp_path / f"{n}.h5", int(at), 1 << n % 8) for n, at in enumerate(places)]
    found = {path for path, finding in examine_files(paths, patience=3) if finding.wrong}
    assert len(found) > 30
    want = content(good)
    assert [str(path) for path in paths if path not in found and content(path) != want] == []


@pytest.mark.parametrize("name", COLUMNS)
def test_a_flip_in_a_column_is_found_by_its_name(good: Path, tmp_path: Path, name: str) -> None:
    with h5py.File(good) as file:
        data, at = file[name], file[name].id.get_chunk_info(0).byte_offset
        if (
            data.dtype.kind == "O" or data.dtype.names
        ):  # the first text lies elsewhere; 16 bytes in the chunk lead to it
            length, heap, number = struct.unpack("<IQI", data.id.read_direct_chunk((0,))[1][:16])
            text = np.ravel(data[:].tolist())[0]
            # an object of the heap: its number, how often it is referred to, its size, then the text
            at = good.read_bytes().index(struct.pack("<HHIQ", number, 0, 0, length) + text, heap) + 16
    (found,) = [p for p in problems(flipped(good, tmp_path / "f.h5", at, 1)) if "not what was written" in p]
    assert found.startswith(f"{name}: not what was written: sha256 is ")


@pytest.mark.parametrize(
    "text",
    ["vfx.features/1", "frame", CREATED, "f,avgpool", "c", "a: Gr", '{"recipe"', '{"features": "', '"attributes": "'],
)
def test_a_flip_in_an_attribute_is_found(good: Path, tmp_path: Path, text: str) -> None:
    """Their values lie in the heap: a length of 8 bytes, then the text."""
    data = good.read_bytes()
    at = data.index(text.encode(), data.index(b"vfx.features/1"))
    if len(text) == 1:
        at = data.index(len(text).to_bytes(8, "little") + text.encode(), data.index(b"vfx.features/1")) + 8
    assert problems(flipped(good, tmp_path / "f.h5", at, 1))


@pytest.mark.parametrize("part", [0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999])
def test_a_file_that_was_cut_is_found(good: Path, tmp_path: Path, part: float) -> None:
    path = tmp_path / "f.h5"
    path.write_bytes(good.read_bytes()[: int(part * good.stat().st_size)])
    (found,) = problems(path)
    assert found.startswith("is not a readable HDF5 file: ")


def test_what_is_not_there_is_a_finding(tmp_path: Path) -> None:
    assert problems(tmp_path / "f.h5") == [f"no feature file {tmp_path / 'f.h5'}; `python -m vfx.extract` makes them"]


def swap(name: str, a: int, b: int) -> Change:
    def change(file: h5py.File) -> None:
        rows = file[name][:]
        rows[[a, b]] = rows[[b, a]]
        file[name][:] = rows

    return change


def set_row(name: str, row: int, value: object) -> Change:
    return lambda file: file[name].__setitem__(row, value)


SAME = r": not what was written: sha256 is [0-9a-f]{64}, digests has '[0-9a-f]{64}'"
BREACHES: dict[str, tuple[Change, list[str]]] = {
    "rows swapped": (swap("features", 3, 9), ["features" + SAME]),
    "ids swapped": (
        swap("ids", 3, 9),
        [
            "ids" + SAME,
            r"ids, row 3 \('c_10'\): not <video id>_<index>, 'a_30'",
            r"ids, row 9 \('a_30'\): not <video id>_<index>, 'c_10'",
        ],
    ),
    "index swapped": (
        swap("index", 4, 5),
        [
            "index" + SAME,
            r"ids, row 4 \('b_1_0'\): not <video id>_<index>, 'b_1_10'",
            r"index, row 5 \('b_1_10'\): not above the one before, of the same video",
        ],
    ),
    "index below 0": (set_row("index", 0, -1), ["index" + SAME, r"index, row 0 \('a_0'\): below 0"]),
    "seconds fall": (
        set_row("seconds", 6, 0.1),
        ["seconds" + SAME, r"seconds, row 6 \('b_1_20'\): below the one before, of the same video"],
    ),
    "seconds infinite": (set_row("seconds", 7, np.inf), ["seconds" + SAME, r"seconds, row 7 \('b_1_30'\): infinite"]),
    "NaN": (set_row("features", 19, np.nan), ["features" + SAME, r"features, row 19 \('é_30'\): NaN or infinity"]),
    "infinity": (set_row("features", 0, [np.inf] * 8), [r"features, row 0 \('a_0'\): NaN or infinity"]),
    "zeros": (set_row("features", 5, 0), [r"features, row 5 \('b_1_10'\): all zeros"]),
    "offsets": (put("videos/offsets", data=[0, 4, 8, 12, 16, 19]), [r"videos/offsets: from 0 to 19, wanted 0 to 20"]),
    "offsets shifted": (
        put("videos/offsets", data=[0, 5, 8, 12, 16, 20]),
        [
            "videos/offsets" + SAME,
            r"ids, row 4 \('b_1_0'\): not <video id>_<index>, 'a_0'",
            r"index, row 4 .*not above",
        ],
    ),
    "offsets fall": (
        put("videos/offsets", data=[0, 4, 12, 8, 16, 20]),
        [r"videos/offsets, row 2 \('c'\): the next is not above it"],
    ),
    "videos swapped": (
        swap("videos/ids", 1, 2),
        ["videos/ids" + SAME, r"videos/ids, row 2 \('b_1'\): not above the one before", "ids: .*: 8 rows in all"],
    ),
    "video twice": (set_row("videos/ids", 1, "a"), [r"videos/ids, row 1 \('a'\): not above the one before"]),
    "white space": (
        set_row("videos/ids", 0, "a b"),
        [r"videos/ids, row 0 \('a b'\): not an id: empty, too long, or with white space, a slash or control"],
    ),
    "slash": (set_row("ids", 0, "../a"), [r"ids, row 0 \('../a'\): not an id", r"ids, row 0 .*, 'a_0'"]),
    "no text": (set_row("videos/decoder", 2, b"\xff"), [r"videos/decoder, row 2 \('c'\): not UTF-8"]),
    "failures": (set_row("failures", 0, ("w", "open", "was gone")), ["failures" + SAME]),
    "feature": (attribute("feature", "other"), ["attributes" + SAME]),
    "created": (attribute("created", "yesterday"), ["attribute created: 'yesterday' is no time in ISO 8601"]),
    "provenance": (attribute("provenance", "{}"), ["attribute provenance: not a JSON object with a recipe"]),
    "new attribute": (lambda file: file.attrs.__setitem__("note", "mine"), ["attributes" + SAME]),
    "new number": (lambda file: file.attrs.__setitem__("n", 3), ["attribute n: not one of the schema, so nothing"]),
    "new dataset": (lambda file: file.__setitem__("extra", [1]), ["extra: not one of the schema, so nothing vouches"]),
    "digests": (attribute("digests", "[]"), ["attribute digests: not a JSON object"]),
    "a digest": (
        attribute("digests", '{"x": "y"}'),
        ["ids: not what was .* digests has None", "attribute digests: 'x' is not"],
    ),
    "level": (attribute("level", "shot"), [r"level \('shot'\) must be one of frame, video, segment"]),
}


@pytest.mark.parametrize(("change", "messages"), BREACHES.values(), ids=BREACHES)
def test_a_breach_is_named(good: Path, tmp_path: Path, change: Change, messages: list[str]) -> None:
    found = problems(copied(good, tmp_path / "f.h5", change))
    for message in messages:
        assert any(re.match(message, line) for line in found), (message, found)


def test_a_breach_is_named_once_whatever_the_blocks(good: Path, tmp_path: Path) -> None:
    for change, _ in BREACHES.values():
        path = copied(good, tmp_path / "f.h5", change)
        assert sorted(problems(path, block_rows=1)) == sorted(problems(path))


def test_many_of_a_kind_are_counted(good: Path, tmp_path: Path) -> None:
    def change(file: h5py.File) -> None:
        file["features"][3:] = np.nan

    found = problems(copied(good, tmp_path / "f.h5", change))
    assert [line.partition(" (")[0] for line in found[:6]] == [
        *(f"features, row {n}" for n in range(3, 8)), found[5],
    ]  # fmt: skip
    assert found[-1] == "features: NaN or infinity: 17 rows in all"


def test_ids_that_are_there_twice_are_named(tmp_path: Path) -> None:
    assert problems(write_rows(tmp_path / "f.h5", "bab", np.ones((3, 1)))) == ["ids, row 2 ('b'): there before"]


def test_a_deviation_may_be_zero(tmp_path: Path) -> None:
    for pooling, wrong in [("std", False), ("mean", True)]:
        provenance = json.dumps({"recipe": {"pooling": {"name": pooling}}})
        path = write_rows(tmp_path / "f.h5", "ab", [[1, 2], [0, 0]], provenance=provenance)
        found = [item for item in examine(path) if isinstance(item, Finding)]
        assert found == [Finding("features, row 1 ('b'): all zeros", wrong)]


def test_a_file_without_digests_is_said_so_and_keeps_its_schema(good: Path, tmp_path: Path) -> None:
    path = copied(good, tmp_path / "f.h5", lambda file: file.attrs.__delitem__("digests"))
    (found,) = [item for item in examine(path) if isinstance(item, Finding)]
    assert found == Finding("no digests, as in files of earlier versions: changed values would not be seen", False)
    with h5py.File(path, "r+") as file:
        file["index"][2] = 5
        file.attrs["digest"] = "{}"  # as a flipped byte would name it
    assert problems(path) == [
        "attribute digest: not one of the schema, so nothing vouches for it",
        "ids, row 2 ('a_20'): not <video id>_<index>, 'a_5'",
        "index, row 2 ('a_20'): not above the one before, of the same video",
    ]


@pytest.mark.parametrize("change", [change for change, _ in HOSTILE.values()], ids=HOSTILE)
def test_what_is_refused_is_found(good: Path, tmp_path: Path, change: Change) -> None:
    assert problems(copied(good, tmp_path / "f.h5", change))


def test_it_finds_what_the_contract_finds(good: Path, tmp_path: Path) -> None:
    check = VIDEOS.parent / "bin" / "check_features"
    if not check.is_file():
        pytest.skip("the contract's own checker is not here (VFX_TEST_VIDEOS)")
    changes = {name: change for name, (change, _) in BREACHES.items() if name not in ("no text", "level")}
    paths = {name: copied(good, tmp_path / f"{n}.h5", change) for n, (name, change) in enumerate(changes.items())}
    lines = subprocess.run([sys.executable, check, *paths.values()], capture_output=True, text=True).stdout
    breached = {name for name, path in paths.items() if f"{path}: holds" not in lines}
    assert len(breached) > 10
    assert [name for name in breached if not problems(paths[name])] == []


def crashing(path: Path) -> Iterator[Finding | int]:
    if path.name == "crash.h5":
        os.kill(os.getpid(), signal.SIGSEGV)
    if path.name == "hang.h5":
        time.sleep(60)
    yield from examine(path)


@pytest.mark.dear
def test_files_that_take_their_reader_down_are_findings(good: Path, tmp_path: Path) -> None:
    nan = copied(good, tmp_path / "nan.h5", set_row("features", 1, np.nan))
    paths = [tmp_path / "crash.h5", good, tmp_path / "hang.h5", nan]
    found = list(examine_files(paths, crashing, patience=1))
    assert {(path.name, finding.text) for path, finding in found if "sha256" not in finding.text} == {
        ("crash.h5", "damaged: HDF5 crashes reading it"),
        ("hang.h5", "damaged: HDF5 hangs reading it"),
        ("nan.h5", "features, row 1 ('a_10'): NaN or infinity"),
    }
    assert len(found) == 4


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """160 MB are read by a process that may take 64 MB."""
    block = np.random.default_rng(0).random((400, 1000), "f4")
    write_frames(tmp_path / "f.h5", {f"v{v:03d}": block for v in range(100)})
    read: list[int] = []
    assert list(examine_files([tmp_path / "f.h5"], memory=64 << 20, on_read=read.append)) == []
    assert sum(read) > 160_000_000
    assert json.loads(h5py.File(tmp_path / "f.h5").attrs["digests"]).keys() == {*COLUMNS, "attributes"}
