"""Disks that fill up, take no writes or lose their folders: an error that says so, and the next run mends it all."""

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import FEATURE, ROOT, SHORT_CLIPS, TOYDATA, link_clips
from tests.feature_files import BATCH_COMPOSITION, write_frames
from tests.outputs.parts import ATTRIBUTES, RECIPE, commit, finish, half_done, parts, put
from vfx import concat, export, extract, frames, pool
from vfx.cli.logging import log_to_files
from vfx.errors import OutputError
from vfx.features.feature_file import FeatureFile
from vfx.outputs.output_folder import OutputFolder
from vfx.system.folder_lock import lock_folder

KEPT = "Nothing half-written is left there, and what was finished before is kept: put the cause right and run the same"
NOBODY = 65534


def mount(*arguments: str | Path) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no file system of our own can be mounted here: {done.stderr.strip()}")


class Disk:
    """A file system of 24 MB at `root`, which can be filled up and made read-only."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def full(self, *, room: int = 0) -> Iterator[None]:
        """No more than `room` KB are left inside."""
        filler = self.root / "filler"
        status = os.statvfs(self.root)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - room * 1024)
        try:
            yield
        finally:
            filler.unlink()

    @contextmanager
    def read_only(self) -> Iterator[None]:
        mount("-o", "remount,ro", self.root)
        try:
            yield
        finally:
            mount("-o", "remount,rw", self.root)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if os.geteuid() or not shutil.which("mount"):
        pytest.skip("only root can mount a file system to fill")
    root = tmp_path / "disk"
    root.mkdir()
    mount("-t", "tmpfs", "-o", "size=24m", "tmpfs", root)
    try:
        yield Disk(root)
    finally:
        log_to_files(Path(os.devnull))  # an app's log is still open there
        subprocess.run(["umount", "--lazy", root], check=True)


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the log has said since."""
    texts: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: texts.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("vfx")
    before = logger.handlers
    logger.handlers = [handler]  # one that an earlier test left may have a stream that is closed
    yield texts
    logger.handlers = before


@contextmanager
def somebody_else() -> Iterator[None]:
    """For root, whom no permission binds, what it is to be another user."""
    if os.geteuid():
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def open_to_all(folder: Path) -> None:
    """Let another user write to a folder of this test."""
    folder.chmod(0o777)
    for parent in folder.parents[:2]:
        parent.chmod(0o711)


def feature(outputs: Path, name: str) -> None:
    """A feature of 800 frames, 240 KB, of the collection `few`."""
    rng = np.random.default_rng(len(name))
    videos = {f"v{v:02d}": rng.random((20, 64), np.float32) for v in range(40)}
    write_frames(outputs / "few" / name / "features.h5", videos, feature=name, collection="few")


def prepared(folder: Path) -> OutputFolder:
    output = OutputFolder(folder)
    output.prepare(RECIPE, overwrite=False)
    return output


def names(folder: Path) -> list[str]:
    """All that is in a folder, but for the filler and the logs."""
    found = [str(p.relative_to(folder)) for p in folder.rglob("*")]
    return sorted(name for name in found if name != "filler" and not name.endswith(".log"))


def values(output: OutputFolder) -> dict[str, list[float]]:
    with FeatureFile(output.features) as file:
        return {video: file[video][:, 0].tolist() for video in file}


def test_a_part_that_finds_no_room_is_made_by_the_next_run(disk: Disk) -> None:
    output = prepared(disk.root / "f")
    writer = half_done(output)
    with disk.full(room=8):
        with pytest.raises(OutputError, match=rf"part-\w+\.h5 could not be written: No space left on device\. {KEPT}"):
            writer.commit()
        writer.close()  # as the run does on its way out
        assert output.done() == {"a"}
        assert len(names(output.parts)) == 2  # the recipe, and the part of a
    writer = parts(prepared(disk.root / "f"))
    finish(writer, "b", 2)
    writer.commit()
    output.assemble(ATTRIBUTES)
    assert values(output) == {"a": [1, 1, 1], "b": [2, 2, 2]}


def test_rows_that_wait_on_the_disk_find_no_room(disk: Disk) -> None:
    output = prepared(disk.root / "f")
    writer = parts(output, spool_bytes=1000)
    finish(writer, "a", 1)
    with disk.full(room=1000):
        with pytest.raises(OutputError, match=rf"f/parts could not be written: No space left on device\. {KEPT}"):
            for at in range(0, 60_000, 3):
                put(writer, "long", 2, at=at)
        writer.close()  # which makes room for what is finished
        assert output.done() == {"a"}


def test_parts_stay_until_all_of_them_are_in_one_file(disk: Disk) -> None:
    output = prepared(disk.root / "f")
    for n in range(3):
        commit(output, f"v{n}", n)
    before = names(disk.root)
    with disk.full(room=16), pytest.raises(OutputError, match=r"features\.h5 could not be written: No space left"):
        output.assemble(ATTRIBUTES)
    assert names(disk.root) == before
    output.assemble(ATTRIBUTES)
    assert values(output) == {"v0": [0] * 3, "v1": [1] * 3, "v2": [2] * 3}
    assert names(disk.root) == ["f", "f/features.h5"]


@pytest.mark.parametrize("room", [0, 4, 12])
def test_a_run_that_cannot_begin_says_so(disk: Disk, room: int) -> None:
    output = OutputFolder(disk.root / "f")
    with disk.full(room=room):
        with (
            pytest.raises(OutputError, match="could not be written: No space left on device"),
            output.locked(),
        ):
            output.prepare(RECIPE | {"long": "x" * 9000}, overwrite=False)
        assert [name for name in names(disk.root) if Path(name).suffix] == []
    with output.locked():
        output.prepare(RECIPE, overwrite=False)


APPS: dict[str, tuple[Callable[..., Path], list[str]]] = {
    "pool": (pool.main, ["feature=A"]),
    "concat": (concat.main, ["features=A+B"]),
    "frames": (frames.main, ["num_workers=0"]),
    **{
        format: (export.main, ["feature=A", f"format={format}", "destination={root}/exported"])
        for format in ["npy", "npz", "parquet", "txt", "bigfile"]
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The collection, and two features of it."""
    root = tmp_path_factory.mktemp("made")
    link_clips(root / "few", *SHORT_CLIPS)
    for name in "AB":
        feature(root / "outputs", name)
    return root


def run(name: str, root: Path) -> Path:
    app, overrides = APPS[name]
    outputs = [] if app is frames.main else [f"output_dir={root}/outputs"]
    return app(f"collection={root}/few", *outputs, *(text.format(root=root) for text in overrides))


def content(root: Path) -> dict[str, bytes]:
    """What the files in a folder hold, but for the filler, the logs, and the configs, which name the folder; of feature
    files, the rows."""
    found = {}
    for path in map(root.joinpath, names(root)):
        if path.suffix == ".h5":
            with FeatureFile(path) as file:
                found[str(path.relative_to(root))] = file.features[:].tobytes()
        elif path.is_file() and path.name != "config.yaml":
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


@pytest.mark.dear
@pytest.mark.parametrize("name", APPS)
def test_an_app_that_finds_no_room_leaves_nothing_half_written(
    disk: Disk, tmp_path: Path, made: Path, name: str
) -> None:
    shutil.copytree(made, tmp_path / "whole", symlinks=True)
    run(name, tmp_path / "whole")
    wanted = content(tmp_path / "whole")
    for room in [0, 40, 150]:
        root = disk.root / str(room)
        shutil.copytree(made, root, symlinks=True)
        with disk.full(room=room):
            with pytest.raises(OutputError, match=rf"could not be written: .*No space left.*{KEPT}"):
                run(name, root)
            assert content(root).items() <= wanted.items()
        run(name, root)
        assert content(root) == wanted
        shutil.rmtree(root)


def test_a_log_ends_where_the_disk_is_full(disk: Disk, said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    log = logging.getLogger("vfx.test")
    log_to_files(disk.root / "run.log")
    log.warning("one")
    with disk.full():
        for _ in range(200):
            log.warning("x" * 100)
    log_to_files(Path(os.devnull))
    refusal = f"{disk.root}/run.log cannot be written (No space left on device): what follows is said here alone"
    assert [text for text in said if not text.startswith("x")] == ["one", refusal]
    assert "Traceback" not in capsys.readouterr().err
    assert (disk.root / "run.log").read_text().splitlines()[0].endswith("WARNING one")


def test_on_a_read_only_disk_what_is_done_is_found_and_the_rest_refused(
    disk: Disk, made: Path, said: list[str]
) -> None:
    root = disk.root / "r"
    shutil.copytree(made, root, symlinks=True)
    done = run("pool", root)
    log_to_files(Path(os.devnull))  # an open log would keep the disk writable
    before = content(root)
    with disk.read_only():
        assert run("pool", root) == done
        assert f"{done} is done, nothing to do (overwrite=true writes it again)" in said
        for name in ["concat", "frames", "npy"]:
            with pytest.raises(OutputError, match=rf"could not be written: Read-only file system\. {KEPT}"):
                run(name, root)
    assert content(root) == before


def test_parts_are_kept_where_permission_is_lost(tmp_path: Path) -> None:
    open_to_all(tmp_path)
    with somebody_else():
        output = prepared(tmp_path / "f")
        writer = half_done(output)
        output.parts.chmod(0o555)
        with pytest.raises(OutputError, match=rf"part-\w+\.h5 could not be written: Permission denied\. {KEPT}"):
            writer.commit()
        assert output.done() == {"a"}
        output.folder.chmod(0o555)
        with pytest.raises(OutputError, match=r"f could not be written: Permission denied"):
            output.prepare(RECIPE, overwrite=True)
        output.folder.chmod(0o755)
        output.parts.chmod(0o755)
        for part in output.parts.glob("part-*"):
            part.chmod(0)  # no reason to take it for damaged
        with pytest.raises(OutputError, match="Permission denied"):
            prepared(tmp_path / "f")
        assert len(list(output.parts.glob("part-*"))) == 1


def test_a_folder_that_is_removed_ends_the_run(tmp_path: Path) -> None:
    output = OutputFolder(tmp_path / "f")
    with output.locked():
        output.prepare(RECIPE, overwrite=False)
        writer = half_done(output)
        shutil.rmtree(output.folder)
        removed = f"{output.folder} was removed or emptied while this run was writing to it; run the same command again"
        with pytest.raises(OutputError, match=removed):
            writer.commit()
        with pytest.raises(OutputError, match=removed):
            output.assemble(ATTRIBUTES)
        assert not output.folder.exists()


def test_a_folder_that_another_run_has_by_now_is_left_to_it(tmp_path: Path) -> None:
    output = OutputFolder(tmp_path / "f")
    with output.locked():
        output.prepare(RECIPE, overwrite=False)
        writer = parts(output)
        finish(writer, "a", 1)
        shutil.rmtree(output.folder)
        with lock_folder(output.folder):
            with pytest.raises(OutputError, match=rf"taken over by another run \(process {os.getpid()} on .*goes on"):
                writer.commit()
            assert names(output.folder) == [".lock"]


def command(root: Path, outputs: Path, *overrides: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    """A real extraction, of one video after the other, each committed at once."""
    return subprocess.Popen(
        [*before, sys.executable, "-m", "vfx.extract", f"collection={root}", f"output_dir={outputs}", "trainer=cpu",
         "writer.commit_mb=0", "dataset.num_workers=1", "batch_size=1", *overrides],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def goes_on(collection: Path, outputs: Path, toy_features: FeatureFile) -> FeatureFile:
    """Extract anew; gives the file, which is that of an undisturbed run."""
    file = FeatureFile(extract.main(f"collection={collection}", f"output_dir={outputs}", "trainer=cpu"))
    assert {*file} == {path.stem for path in (collection / "VideoData").rglob("*.*")}
    for video in file:
        np.testing.assert_allclose(file[video], toy_features[video], atol=BATCH_COMPOSITION, rtol=0)
    return file


@pytest.mark.dear
def test_an_extraction_that_finds_no_room_says_so_and_goes_on_later(disk: Disk, toy_features: FeatureFile) -> None:
    root = link_clips(disk.root / "few", *SHORT_CLIPS)
    with disk.full(room=100):  # for the lock, the recipe and the config, and for one part at most
        done = command(root, disk.root / "out")
        _, said = done.communicate(timeout=200)
        assert done.returncode == 1
        assert f"error: {disk.root}/out/few/{FEATURE}" in said
        assert "could not be written: No space left on device. Nothing half-written is left there" in said
        assert "Traceback" not in said
    goes_on(root, disk.root / "out", toy_features)
    assert names(disk.root / "out" / "few" / FEATURE) == ["config.yaml", "features.h5", "throughput.tsv"]


def wait_for_a_part(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until a run has committed something, and stop it there."""
    while not any(folder.glob("parts/part-*.h5")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.05)
    process.send_signal(signal.SIGSTOP)


def refused(process: subprocess.Popen[str], why: str) -> None:
    """A run ends with errors of one line that say why."""
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
    _, said = process.communicate(timeout=250)
    assert process.returncode == 1
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    assert errors, said  # one for each rank that met it
    assert all(re.search(why, error) for error in errors), said
    assert "Traceback" not in said


@pytest.mark.slow
def test_an_extraction_whose_folder_is_removed_ends_and_can_be_repeated(
    tmp_path: Path, toy_features: FeatureFile
) -> None:
    outputs = tmp_path / "outputs"
    process = command(TOYDATA, outputs)
    wait_for_a_part(process, outputs / "toydata" / FEATURE)
    shutil.rmtree(outputs)
    refused(process, f"({FEATURE} was removed or emptied|its folder is gone, removed) while this run was")
    assert names(tmp_path) == []
    goes_on(TOYDATA, outputs, toy_features)


@pytest.mark.slow
def test_an_extraction_that_loses_its_permission_ends_and_goes_on_later(
    tmp_path: Path, toy_features: FeatureFile
) -> None:
    if not os.geteuid() and not shutil.which("setpriv"):
        pytest.skip("no permission binds root here")
    bound = [] if os.geteuid() else ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
    process = command(TOYDATA, tmp_path / "outputs", before=bound)
    folder = tmp_path / "outputs" / "toydata" / FEATURE
    wait_for_a_part(process, folder)
    (folder / "parts").chmod(0o555)
    refused(process, rf"part-\w+\.h5 could not be written: Permission denied\. {KEPT}")
    (folder / "parts").chmod(0o755)
    before = OutputFolder(folder).done()
    assert before
    goes_on(TOYDATA, tmp_path / "outputs", toy_features)
    assert f"{8 - len(before)} videos to do, {len(before)} of 8 done before" in (folder / "extract.log").read_text()


@pytest.mark.slow
def test_an_extraction_resumed_on_a_read_only_disk_is_refused_and_goes_on_later(
    disk: Disk, toy_features: FeatureFile
) -> None:
    process = command(TOYDATA, disk.root)
    wait_for_a_part(process, disk.root / "toydata" / FEATURE)
    process.kill()
    process.communicate()
    with disk.read_only():
        refused(command(TOYDATA, disk.root), rf"could not be written: Read-only file system\. {KEPT}")
    again = goes_on(TOYDATA, disk.root, toy_features)
    assert names(again.path.parent) == ["config.yaml", "features.h5"]


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
def test_an_extraction_whose_disk_fills_up_ends_and_goes_on_later(
    disk: Disk, toy_features: FeatureFile, ranks: int
) -> None:
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2"]
    process = command(TOYDATA, disk.root, *(ddp if ranks > 1 else []))
    wait_for_a_part(process, disk.root / "toydata" / FEATURE)
    with disk.full(room=8):
        refused(process, rf"No space left on device\. {KEPT}")
        before = OutputFolder(disk.root / "toydata" / FEATURE).done()
        assert before
    goes_on(TOYDATA, disk.root, toy_features)
