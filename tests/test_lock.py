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
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from tests.conftest import ROOT
from vfx.errors import OutputError
from vfx.lock import NAME, STALE_SECONDS, _myself, alone_in

HOLD = """
import sys, time
from pathlib import Path
from vfx.lock import alone_in
with alone_in(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


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
    with pytest.raises(OutputError, match=said), alone_in(tmp_path):
        pass
    holder.send_signal(signal.SIGSTOP)  # however long it takes
    with pytest.raises(OutputError, match=said), alone_in(tmp_path):
        pass


def test_what_a_killed_run_held_is_taken_over_at_once(
    tmp_path: Path, holder: subprocess.Popen[str], caplog: pytest.LogCaptureFixture
) -> None:
    holder.kill()
    holder.wait()
    with caplog.at_level(logging.INFO, "vfx"), alone_in(tmp_path):
        pass
    assert f"taking over from a run that was killed: process {holder.pid} on" in caplog.text
    assert not (tmp_path / NAME).exists()


def sign(folder: Path, *, age: float = 0, **changes: object) -> None:
    """Leave the lock file of a run like this one, but for `changes`, last touched `age` seconds ago."""
    path = folder / NAME
    path.write_text(json.dumps(asdict(replace(_myself("another"), **changes))))  # type: ignore[arg-type]
    os.utime(path, (time.time() - age,) * 2)


def test_a_run_of_another_machine_is_believed_while_it_gives_signs(tmp_path: Path) -> None:
    sign(tmp_path, host="far", kernel="another", age=30)
    said = r"(?s)process \d+ on far.*sign of life is 3\d s old.*remove .*\.lock"
    with pytest.raises(OutputError, match=said), alone_in(tmp_path):
        pass
    sign(tmp_path, host="far", kernel="another", age=STALE_SECONDS + 5)
    with alone_in(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()


def test_where_there_are_no_locks_the_process_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", none)
    sign(tmp_path)  # it is this very process
    with (
        pytest.raises(OutputError, match=rf"(?s)another run is writing to .*process {os.getpid()} "),
        alone_in(tmp_path),
    ):
        pass
    sign(tmp_path, started=1)  # a process of that number, but another
    with alone_in(tmp_path):
        pass


def test_a_holder_whose_folder_was_removed_is_told(tmp_path: Path) -> None:
    with alone_in(tmp_path / "f") as lock:
        lock.check()
        (tmp_path / "f" / NAME).unlink()
        with pytest.raises(OutputError, match="was removed or emptied while this run was writing to it"):
            lock.check()


def test_a_child_that_lives_on_holds_nothing(tmp_path: Path) -> None:
    with alone_in(tmp_path):
        child = os.fork()
        if not child:
            time.sleep(600)
    try:
        with alone_in(tmp_path):
            pass
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
