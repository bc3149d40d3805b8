"""Feature files in the workers of a DataLoader, however these are started."""

import multiprocessing
import os
import pickle
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from tests.feature_files import write_frames, write_rows
from vfx.errors import OutputError
from vfx.features.feature_file import FeatureFile
from vfx.features.torch_dataset import FeatureRows, Item

METHODS = multiprocessing.get_all_start_methods()
needs_fork = pytest.mark.skipif("fork" not in METHODS, reason="there is no fork here")
# Python 3.12 and later warn of every fork of a process with threads, as torch's are
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[FeatureFile]:
    with FeatureFile(write(tmp_path / "features.h5")) as file:
        yield file


def write(path: Path, videos: int = 6) -> Path:
    random = np.random.default_rng(videos)
    return write_frames(path, {f"v{v}": random.random((v + 2, 4), "f4") for v in range(videos)})


class Witnessed(FeatureRows):
    """Features, and in place of the row the process that read it."""

    def __getitems__(self, rows: list[int]) -> list[Item]:
        return [(features, 100_000_000 * row + os.getpid()) for features, row in super().__getitems__(rows)]


@pytest.mark.dear
@forks
@pytest.mark.parametrize("method", METHODS)
def test_two_workers_read_every_row(file: FeatureFile, method: str) -> None:
    """The file is open here when they start, as it is in a notebook."""
    whole = file.to_torch()
    loader = DataLoader(Witnessed(file), batch_size=5, shuffle=True, num_workers=2, multiprocessing_context=method)
    features, witnesses = map(torch.cat, zip(*loader, strict=True))
    rows, processes = witnesses // 100_000_000, witnesses % 100_000_000
    assert sorted(rows.tolist()) == list(range(27))
    assert torch.equal(features, whole[rows])
    assert len(set(processes.tolist()) - {os.getpid()}) == 2
    assert torch.equal(file.to_torch(), whole)  # and here it is open still


@forks
@pytest.mark.parametrize("method", METHODS[:1])
def test_the_file_itself_gives_whole_videos(file: FeatureFile, method: str) -> None:
    order = sorted(file, reverse=True)
    loader = DataLoader(file, sampler=order, batch_size=None, num_workers=2, multiprocessing_context=method)
    for video, features in zip(order, loader, strict=True):
        np.testing.assert_array_equal(features.numpy(), file[video])


def look(file: FeatureFile, handle: int, answer: Connection) -> None:
    kept = leads_to(handle) == str(file.path)  # its number may be that of something else by now, such as /dev/null
    features = file["v3"]
    answer.send((features, leads_to(file.features.file.id.get_vfd_handle()), kept))


def leads_to(handle: int) -> str | None:
    link = Path(f"/proc/self/fd/{handle}")
    return str(link.readlink()) if link.is_symlink() else None


@needs_fork
@forks
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc")
def test_a_forked_process_lets_go_of_its_parents_handle_before_it_reads(file: FeatureFile) -> None:
    wanted = file["v3"]
    here, there = multiprocessing.Pipe()
    handle = file.features.file.id.get_vfd_handle()
    process = multiprocessing.get_context("fork").Process(target=look, args=(file, handle, there))
    process.start()
    assert here.poll(60)
    features, path, kept = here.recv()
    process.join(60)
    assert not kept
    np.testing.assert_array_equal(features, wanted)
    assert path == str(file.path)
    assert os.fstat(handle).st_ino == file.path.stat().st_ino


def test_items_are_rows_with_their_number(file: FeatureFile) -> None:
    rows = file.to_dataset()
    assert len(rows) == 27
    features, number = rows[-1]
    assert number == 26
    np.testing.assert_array_equal(features, file["v5"][6])
    with pytest.raises(IndexError):
        rows[27]
    batch = rows.__getitems__([9, 2, 3, 9])
    assert [number for _, number in batch] == [9, 2, 3, 9]
    np.testing.assert_array_equal(torch.stack([f for f, _ in batch]), file.features[:][[9, 2, 3, 9]])
    assert sum(1 for _ in rows) == 27


@pytest.mark.parametrize("shape", [(4,), (10, 4)])
def test_float16_and_ten_crops_come_as_they_are(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = write_rows(tmp_path / "f.h5", "ab", np.arange(2 * np.prod(shape)).reshape(2, *shape), dtype="float16")
    with FeatureFile(path) as file:
        (features, rows), *none = DataLoader(file.to_dataset(), batch_size=2)
        assert not none
        assert features.dtype == torch.float16
        assert rows.tolist() == [0, 1]
        np.testing.assert_array_equal(features, file.features[:])


def test_a_file_that_took_its_place_is_not_taken_for_it(file: FeatureFile) -> None:
    """A worker that opened it would give rows that are not those of the ids here."""
    _ = file.ids
    crossed = pickle.dumps(file)
    write(file.path, videos=3)
    message = r"features\.h5 was written anew at 20.*, since it was first opened here: make a new FeatureFile"
    with pytest.raises(OutputError, match=message):
        pickle.loads(crossed)["v1"]
    assert len(file) == 6  # what is open stays what it was
    file.close()
    with pytest.raises(OutputError, match=message):
        file["v1"]
    assert len(FeatureFile(file.path)) == 3
