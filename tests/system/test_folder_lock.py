"""One run to a folder: the second is told of the first, and the dead hold nothing."""

import errno
import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT, TOYDATA
from tests.test_kills import session
from vfx.errors import OutputError
from vfx.features.feature_file import FeatureFile
from vfx.system.folder_lock import NAME, STALE_SECONDS, lock_folder
from vfx.system.lock_holder import Holder

HOLD = """
import sys, time
from pathlib import Path
from vfx.system.folder_lock import lock_folder
with lock_folder(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def take(folder: Path, **options: bool) -> None:
    with lock_folder(folder, **options):
        pass


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds `tmp_path`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_is_told_who_the_first_is(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    said = rf"(?s)another run is writing to {tmp_path} \(process {holder.pid} on .*, since 20.*: .*\); let it end first"
    with pytest.raises(OutputError, match=said):
        take(tmp_path)
    holder.send_signal(signal.SIGSTOP)  # however long it takes
    with pytest.raises(OutputError, match=said):
        take(tmp_path)


def test_what_a_killed_run_held_is_taken_over_at_once(
    tmp_path: Path, holder: subprocess.Popen[str], caplog: pytest.LogCaptureFixture
) -> None:
    holder.kill()
    holder.wait()
    with caplog.at_level(logging.INFO, "vfx"):
        take(tmp_path)
    assert f"taking over from a run that was killed: process {holder.pid} on" in caplog.text
    assert not (tmp_path / NAME).exists()


def sign(folder: Path, *, age: float = 0, **changes: object) -> None:
    """Leave the lock file of a run like this one, but for `changes`, last touched `age` seconds ago."""
    path = folder / NAME
    path.write_text(json.dumps(asdict(replace(Holder.current("another"), **changes))))  # type: ignore[arg-type]
    os.utime(path, (time.time() - age,) * 2)


def test_a_run_of_another_machine_is_believed_while_it_gives_signs(tmp_path: Path) -> None:
    sign(tmp_path, host="far", kernel="another", age=30)
    said = r"(?s)process \d+ on far.*sign of life is 3\d s old.*remove .*\.lock"
    with pytest.raises(OutputError, match=said):
        take(tmp_path)
    sign(tmp_path, host="far", kernel="another", age=STALE_SECONDS + 5)
    with lock_folder(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


@pytest.mark.dear
def test_what_a_job_held_on_another_machine_before_it_was_started_anew_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("vfx.system.folder_lock.POLL_SECONDS", 0.1)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    far = {"host": "far", "kernel": "another", "age": STALE_SECONDS - 3}
    sign(tmp_path, **far, job="SLURM 8")
    with pytest.raises(OutputError, match="another run is writing"):
        take(tmp_path, patient=True)
    sign(tmp_path, **far)
    with pytest.raises(OutputError, match="another run is writing"):
        take(tmp_path)
    with caplog.at_level(logging.INFO, "vfx"):
        take(tmp_path, patient=True)
    assert "waiting for an earlier attempt of this job to end: process" in caplog.messages[0]
    assert "taking over from a run that was killed: process" in caplog.messages[1]
    monkeypatch.setattr("vfx.system.folder_lock.WAIT_SECONDS", 0)
    sign(tmp_path, **far)
    with pytest.raises(OutputError, match="another run is writing"):
        take(tmp_path, patient=True)


def test_where_there_are_no_locks_the_process_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    sign(tmp_path)  # it is this very process
    with pytest.raises(OutputError, match=rf"(?s)another run is writing to .*process {os.getpid()} "):
        take(tmp_path)
    sign(tmp_path, started=1)  # a process of that number, but another
    take(tmp_path)


def test_a_holder_whose_folder_was_removed_is_told(tmp_path: Path) -> None:
    with lock_folder(tmp_path / "f") as lock:
        lock.check()
        (tmp_path / "f" / NAME).unlink()
        with pytest.raises(OutputError, match="was removed or emptied while this run was writing to it"):
            lock.check()


def test_a_child_that_lives_on_holds_nothing(tmp_path: Path) -> None:
    with lock_folder(tmp_path):
        child = os.fork()
        if not child:
            time.sleep(600)
    try:
        take(tmp_path)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_holder_gives_signs_of_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vfx.system.folder_lock.HEARTBEAT_SECONDS", 0.05)
    with lock_folder(tmp_path):
        os.utime(tmp_path / NAME, (0, 0))
        until = time.monotonic() + 10
        while (tmp_path / NAME).stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert abs((tmp_path / NAME).stat().st_mtime - time.time()) < 10


RIVAL = """
import sys, time
from pathlib import Path
from vfx.errors import OutputError
from vfx.system.folder_lock import lock_folder
folder, held = Path(sys.argv[1]), 0
until = time.monotonic() + 2
while time.monotonic() < until:
    try:
        with lock_folder(folder / "f"):
            count = int((folder / "count").read_text())
            time.sleep(0.002)
            (folder / "count").write_text(str(count + 1))
            held += 1
    except OutputError as error:
        assert "another run is writing to" in str(error), error
print(held)
"""


@pytest.mark.dear
def test_of_many_that_come_at_once_one_at_a_time_is_let_in(tmp_path: Path) -> None:
    (tmp_path / "count").write_text("0")
    rivals = [
        subprocess.Popen([sys.executable, "-c", RIVAL, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(5)
    ]
    held = [int(rival.communicate(timeout=60)[0]) for rival in rivals]
    assert sum(held) == int((tmp_path / "count").read_text())
    assert sum(map(bool, held)) > 1


@contextmanager
def extraction(outputs: Path, *overrides: str) -> Iterator[subprocess.Popen[str]]:
    """A real one of the toy collection, which takes its time; nothing is left of it."""
    with subprocess.Popen(
        [sys.executable, "-m", "vfx.extract", f"collection={TOYDATA}", f"output_dir={outputs}", "trainer=cpu",
         "batch_size=1", "dataset.num_workers=1", "writer.commit_mb=0", *overrides],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:  # fmt: skip
        try:
            yield run
        finally:
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)


def stop_at_work(run: subprocess.Popen[str], folder: Path) -> None:
    """Wait until it has committed something, and stop all its processes there."""
    while not any(folder.glob("parts/part-*.h5")):
        assert run.poll() is None, run.communicate()[1]
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGSTOP)


@pytest.mark.slow
def test_of_two_extractions_the_second_ends_and_the_first_goes_on(tmp_path: Path, toy_features: FeatureFile) -> None:
    folder = tmp_path / "toydata" / toy_features.feature
    with extraction(tmp_path) as first:
        stop_at_work(first, folder)
        with extraction(tmp_path, "overwrite=true") as second:
            _, said = second.communicate(timeout=200)
        assert second.returncode == 1
        assert f"error: another run is writing to {folder} (process {first.pid} on " in said
        assert f"-m vfx.extract collection={TOYDATA} " in said
        assert said.endswith("let it end first\n")
        os.killpg(first.pid, signal.SIGCONT)
        _, said = first.communicate(timeout=200)
    assert first.returncode == 0, said
    assert list(FeatureFile(folder)) == list(toy_features)
    assert not (folder / NAME).exists()


@pytest.mark.slow
def test_workers_that_outlive_their_run_hold_nothing(tmp_path: Path, toy_features: FeatureFile) -> None:
    folder = tmp_path / "toydata" / toy_features.feature
    with extraction(tmp_path) as first:
        stop_at_work(first, folder)
        first.kill()
        first.wait()
        assert len(session(first.pid)) >= 2  # the server of processes and a worker, stopped
        with extraction(tmp_path) as second:
            _, said = second.communicate(timeout=200)
        os.killpg(first.pid, signal.SIGCONT)
        assert second.returncode == 0, said
        assert f"{folder}: taking over from a run that was killed: process {first.pid} on " in said
        until = time.monotonic() + 30
        while session(first.pid) and time.monotonic() < until:
            time.sleep(0.1)
        assert not session(first.pid)
    file = FeatureFile(folder)
    assert list(file) == list(toy_features)
    np.testing.assert_allclose(file.features[:], toy_features.features[:], atol=2e-5, rtol=0)
