"""Feature files from elsewhere: what leads out of the file, or is not what the schema has, is refused with a reason."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.feature_files import timed, write_frames, write_rows
from vfx import compare, concat, export, pool
from vfx.errors import OutputError
from vfx.features.feature_file import FeatureFile
from vfx.features.rows import Failure

Change = Callable[[h5py.File], object]


def make(path: Path) -> Path:
    """Two videos of three and two frames, with four values a row."""
    rows = np.arange(1, 13, dtype="f4").reshape(3, 4)
    videos = {"a": timed(rows, step=5, rate=25), "b": timed(rows[:2], step=5, rate=25)}
    return write_frames(path, videos, decoder="pyav", failures=[Failure("b", "decode", "2 of 3 frames")])


def changed(path: Path, change: Change) -> Path:
    with h5py.File(make(path), "r+") as file:
        change(file)
    return path


def put(name: str, **options: object) -> Change:
    """Another dataset in the place of one."""

    def change(file: h5py.File) -> None:
        del file[name]
        file.create_dataset(name, **options)

    return change


def link(name: str, target: object) -> Change:
    def change(file: h5py.File) -> None:
        del file[name]
        file[name] = target

    return change


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((5, 4), "f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "features", (5, 4))
    del file["features"]
    file.create_virtual_dataset("features", layout)


def virtual_offsets(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3,), "i8")
    layout[:] = h5py.VirtualSource(".", "index", (5,))[:3]
    del file["videos/offsets"]
    file.create_virtual_dataset("videos/offsets", layout)


def through_a_plugin(file: h5py.File) -> None:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_chunk((5, 4))
    properties.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, ())
    del file["features"]
    h5py.h5d.create(file.id, b"features", h5py.h5t.IEEE_F32LE, h5py.h5s.create_simple((5, 4)), properties)


def attribute(name: str, value: object) -> Change:
    def change(file: h5py.File) -> None:
        del file.attrs[name]
        if value is not None:
            file.attrs[name] = value

    return change


HUGE = 10**12
HOSTILE = {
    "soft link": (link("features", h5py.SoftLink("/index")), r"features is a link to another place in the file: links"),
    "dangling link": (link("ids", h5py.SoftLink("/nowhere")), r"ids is a link to another place in the file"),
    "external link": (link("features", h5py.ExternalLink("other.h5", "/x")), r"features is a link to other\.h5: links"),
    "linked group": (link("videos", h5py.ExternalLink("/etc/hostname", "/")), r"videos/ids is a link to /etc/hostname"),
    "external storage": (
        put("features", shape=(5, 4), dtype="f4", external=[("/etc/hostname", 0, 80)]),
        r"features keeps its rows in another file \(/etc/hostname\): copy it with its rows",
    ),
    "virtual": (virtual, r"features is a virtual dataset, whose rows are in other files"),
    "virtual within the file": (virtual_offsets, r"videos/offsets is a virtual dataset"),
    "plugin": (through_a_plugin, r"features is stored with HDF5 filter 32015, and only gzip, shuffle, fletcher32, lzf"),
    "schema": (attribute("schema", "vfx.features/2"), r"schema is 'vfx\.features/2', wanted 'vfx\.features/1'"),
    "schema of numbers": (attribute("schema", np.zeros((3, 3))), r"schema is None, wanted 'vfx\.features/1'"),
    "no created": (attribute("created", None), r"it has no attribute created"),
    "level": (attribute("level", "shot"), r"level \('shot'\) must be one of frame, video, segment"),
    "level of frames": (attribute("level", 3), r"attribute level cannot be read as text"),
    "fixed text": (attribute("feature", np.bytes_(b"f")), r"attribute feature cannot be read as text"),
    "missing": (lambda file: file.__delitem__("failures"), r"failures is not there"),
    "no videos": (lambda file: file.__delitem__("videos"), r"videos/ids is not there"),
    "group": (lambda file: file.move("ids", "x") or file.create_group("ids"), r"ids is not a dataset"),
    "videos a dataset": (put("videos", data=[1]), r"videos/ids is not there, since its folder is none"),
    "one axis": (put("features", data=np.zeros(5, "f4")), r"features has the shape \(5,\), wanted 2 or 3 axes"),
    "four axes": (put("features", data=np.zeros((5, 1, 1, 4), "f4")), r"features has the shape \(5, 1, 1, 4\)"),
    "no values": (put("features", data=np.zeros((5, 0), "f4")), r"features has the shape \(5, 0\), wanted 2 or 3 axes"),
    "scalar": (put("index", data=np.int64(3)), r"index has the shape \(\), wanted 1 axes"),
    "nothing": (put("index", data=h5py.Empty("i8")), r"index has the shape None, wanted 1 axes"),
    "float64": (put("features", data=np.zeros((5, 4))), r"features is of float64, wanted float32 or float16"),
    "big endian": (put("features", data=np.zeros((5, 4), ">f4")), r"features is of >f4, wanted float32 or float16"),
    "text of bytes": (put("ids", data=np.array([b"a_0"] * 5)), r"ids is of \|S3, wanted text"),
    "ids of numbers": (put("ids", data=np.arange(5)), r"ids is of int64, wanted text"),
    "failures": (put("failures", data=np.arange(5)), r"failures is of int64, wanted records of id, stage, error"),
    "short ids": (put("ids", data=["a_0"] * 4), r"ids has 4 rows, wanted 5 for 5 of features"),
    "long index": (put("index", data=np.arange(6)), r"index has 6 rows, wanted 5 for 5 of features"),
    "short offsets": (put("videos/offsets", data=[0, 5]), r"videos/offsets has 2 rows, wanted 3 for 2 of videos/ids"),
    "huge": (
        put("features", shape=(HUGE, 4), dtype="f4", chunks=(64, 4)),
        rf"features claims {16 * HUGE} bytes, in a file of \d+: it was not written or copied to its end, or is forged",
    ),
    "huge ids": (put("ids", shape=(HUGE,), dtype=h5py.string_dtype(), chunks=(64,)), r"ids claims 8000000000000 bytes"),
    "huge and compressed": (
        put("features", shape=(HUGE, 4), dtype="f4", chunks=(64, 4), compression="gzip"),
        r"features claims 16000000000000 bytes",
    ),
    "large chunks": (
        put("index", shape=(5,), maxshape=(None,), dtype="i8", chunks=(1 << 28,), compression="gzip"),
        r"index is compressed in chunks of \(268435456,\), more than 256 MiB each: use h5repack",
    ),
}


@pytest.mark.parametrize(("change", "message"), HOSTILE.values(), ids=HOSTILE)
def test_what_is_not_as_the_schema_has_it_is_refused(tmp_path: Path, change: Change, message: str) -> None:
    path = changed(tmp_path / "f.h5", change)
    with pytest.raises(OutputError, match=rf"f\.h5 is not a feature file that can be used: .*{message}"):
        len(FeatureFile(path))


LIES: dict[str, tuple[Change, str, str]] = {
    "beyond": (put("videos/offsets", data=[0, 3, 7]), "offsets", "do not ascend from 0 to 5, the number of rows"),
    "negative": (put("videos/offsets", data=[-5, 3, 5]), "offsets", "do not ascend from 0 to 5, the number of rows"),
    "falling": (put("videos/offsets", data=[0, 9, 5]), "offsets", "do not ascend from 0 to 5, the number of rows"),
    "empty video": (put("videos/offsets", data=[0, 0, 5]), "offsets", "do not ascend from 0 to 5, the number of rows"),
    "unsorted": (put("videos/ids", data=["b", "a"]), "videos", "videos/ids are not sorted: 'a' comes after 'b'"),
    "twice": (put("videos/ids", data=["a", "a"]), "videos", "videos/ids are not sorted: 'a' comes after 'a'"),
    "not UTF-8": (put("ids", data=[b"a_\xe9"] * 5, dtype=h5py.string_dtype()), "ids", "is damaged: .*decode byte 0xe9"),
    "no JSON": (attribute("provenance", "{"), "provenance", "attribute provenance is not a JSON object with a recipe"),
    "a list": (attribute("provenance", "[1]"), "provenance", "attribute provenance is not a JSON object with a recipe"),
    "nested": (attribute("provenance", "[" * 10**5), "provenance", "attribute provenance is not a JSON object"),
    "no recipe": (attribute("provenance", '{"a": 1}'), "provenance", "is not a JSON object with a recipe"),
}


@pytest.mark.parametrize(("change", "name", "message"), LIES.values(), ids=LIES)
def test_a_column_that_lies_is_refused_when_it_is_asked_for(
    tmp_path: Path, change: Change, name: str, message: str
) -> None:
    with FeatureFile(changed(tmp_path / "f.h5", change)) as file:
        assert file.features.shape == (5, 4)
        with pytest.raises(OutputError, match=rf"f\.h5.*{message}"):
            getattr(file, name)


def test_ids_that_are_there_twice_are_refused(tmp_path: Path) -> None:
    file = FeatureFile(write_rows(tmp_path / "f.h5", "aba", np.ones((3, 1))))
    with file, pytest.raises(OutputError, match=r"f\.h5: 1 of 3 ids are there twice"):
        file["a"]


@pytest.mark.parametrize("compression", ["gzip", "lzf"])
def test_a_file_that_others_compressed_is_read(tmp_path: Path, compression: str) -> None:
    rows = np.arange(20, dtype="f4").reshape(5, 4)
    change = put("features", data=rows, compression=compression, shuffle=True, fletcher32=True)
    with FeatureFile(changed(tmp_path / "f.h5", change)) as file:
        np.testing.assert_array_equal(file["b"], rows[3:])


@pytest.mark.parametrize("name", ["huge", "falling"])
def test_every_app_refuses_it_and_writes_nothing(tmp_path: Path, name: str) -> None:
    change = HOSTILE[name][0] if name in HOSTILE else LIES[name][0]
    good, bad = make(tmp_path / "c/g/features.h5"), changed(tmp_path / "c/f/features.h5", change)
    (tmp_path / "other.h5").write_bytes(good.read_bytes())
    places = ["collection=c", f"output_dir={tmp_path}"]
    for run, keys in [
        (pool, ["feature=f", *places]),
        (concat, ["features=g+f", *places]),
        (concat, ["features=f+g", *places]),
        (export, ["feature=f", f"destination={tmp_path / 'out'}", *places]),
        (compare, [f"a={good}", f"b={bad}"]),
    ]:
        with pytest.raises(OutputError, match=r"c/f/features\.h5"):
            run.main(*keys)
    assert {p.name for p in tmp_path.iterdir()} == {"c", "other.h5"}
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.glob("c/*/*.h5")) == [
        "c/f/features.h5",
        "c/g/features.h5",
    ]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for the peak of a process")
def test_refusing_takes_no_memory(tmp_path: Path) -> None:
    path = changed(tmp_path / "f.h5", HOSTILE["huge"][0])
    code = (
        "import sys; from vfx.features.feature_file import FeatureFile; from vfx.errors import OutputError\n"
        "try: FeatureFile(sys.argv[1])['a']\n"
        "except OutputError: print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])\n"
    )
    done = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) / 1024 < 150


def test_no_file_outside_is_opened(tmp_path: Path) -> None:
    """A pipe that nobody writes to would hang whoever opened it."""
    pipe = str(tmp_path / "pipe")
    os.mkfifo(pipe)

    def growing(file: h5py.File) -> None:
        layout = h5py.VirtualLayout((5, 4), "f4", maxshape=(None, 4))
        source = h5py.VirtualSource(pipe, "x", (5, 4), maxshape=(None, 4))
        layout[: h5py.h5s.UNLIMITED, :] = source[: h5py.h5s.UNLIMITED, :]
        del file["features"]
        file.create_virtual_dataset("features", layout)

    for change, message in [
        (link("features", h5py.ExternalLink(pipe, "/x")), "pipe: links are not followed"),
        (link("videos", h5py.ExternalLink(pipe, "/")), "pipe: links are not followed"),
        (growing, "features is a virtual dataset"),
    ]:
        with pytest.raises(OutputError, match=message):
            len(FeatureFile(changed(tmp_path / "f.h5", change)))
