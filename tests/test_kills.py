"""Extractions that are killed anywhere and resumed end with the file of an undisturbed one, that read videos whole."""

import contextlib
import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from tests.clips import CLIPS
from tests.conftest import FEATURE, ROOT, TOY_CLIPS, TOYDATA, link_clips
from tests.feature_files import same
from vfx.features.feature_file import FeatureFile

PIECE_BYTES = 1 << 40  # more than any clip has


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy clips, one of them cut short, one with many key frames, and files that hold no video."""
    folder = link_clips(tmp_path_factory.mktemp("kills") / "mixed", *TOY_CLIPS) / "VideoData"
    whole = (TOYDATA / "VideoData" / "launch.AVI").read_bytes()
    (folder / "short.avi").write_bytes(whole[: len(whole) // 2])
    dataclasses.replace(CLIPS["h264.mp4"], name="long.mp4", num_frames=600).write(folder)
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video\n")
    return folder.parent


def start(
    collection: Path, outputs: Path, *, ranks: int = 1, workers: int = 1, piece_cost: int = PIECE_BYTES
) -> subprocess.Popen[str]:
    """A real extraction, as the leader of a session of its own; every finished video is committed at once.

    `piece_cost`: bytes of a piece of a video, if it is not to be read whole.
    """
    ddp = ["trainer=ddp", "trainer.accelerator=cpu", f"trainer.devices={ranks}"] if ranks > 1 else ["trainer=cpu"]
    return subprocess.Popen(
        [
            *(sys.executable, "-m", "vfx.extract", f"collection={collection}", f"output_dir={outputs}"),
            *("sampler=fps", "sampler.fps=5", "writer.commit_mb=0", f"dataset.num_workers={workers}", *ddp),
            f"+dataset.piece_cost={piece_cost}",
        ],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def session(leader: int) -> dict[int, str]:
    """The living processes of a session: number -> command line."""
    found = {}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, ProcessLookupError):  # it has ended meanwhile
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = " ".join(process.cmdline())
    return found


def workers_of(leader: int) -> list[int]:
    """Those that read videos: children of fork servers, which have the same command line as these."""
    servers = {pid for pid, line in session(leader).items() if "forkserver" in line}
    parents = {process.pid: process.info["ppid"] for process in psutil.process_iter(["ppid"])}
    return [pid for pid in servers if parents.get(pid) in servers]


def kill(run: subprocess.Popen[str], whom: str, rng: random.Random) -> bool:
    """Send SIGKILL; returns whether there was somebody to receive it."""
    if run.poll() is not None:
        return False
    ranks = [pid for pid, line in session(run.pid).items() if "vfx.extract" in line]
    targets = {
        "main": [run.pid],
        "worker": [rng.choice(found)] if (found := sorted(workers_of(run.pid))) else [],
        "rank": [rng.choice(sorted(ranks))] if len(ranks) > 1 else [],
        "group": [*session(run.pid)],
    }[whom]
    for pid in targets:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return bool(targets)


def ended(run: subprocess.Popen[str], seconds: float = 300) -> str:
    """What a run printed, once all its processes are gone."""
    _, printed = run.communicate(timeout=seconds)
    deadline = time.monotonic() + 60
    while left := session(run.pid):
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.1)
    return printed


def finished(folder: Path) -> bool:
    return (folder / "features.h5").exists() and not (folder / "parts").exists()


@pytest.fixture(scope="module")
def undisturbed(collection: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureFile:
    folder = tmp_path_factory.mktemp("undisturbed")
    printed = ended(run := start(collection, folder))
    assert run.returncode == 0, printed
    file = FeatureFile(folder / "mixed" / FEATURE)
    assert {failure.id for failure in file.failures} == {"short", "empty", "text"}
    return file


def hunt(kills: int, seed: int, collection: Path, undisturbed: FeatureFile, tmp_path: Path) -> Counter[str]:
    """Start, kill at a random moment, resume with other workers and ranks; over again whenever a run is done.

    Clips of more than 40 kB are read in pieces where several processes share the work, or where one finds some done.
    """
    rng = random.Random(seed)
    hits: Counter[str] = Counter()
    length = 8.0  # seconds of an undisturbed run, learnt as the hunt goes on
    folder = tmp_path / "mixed" / FEATURE
    while hits.total() < kills:
        whom = rng.choice(["main", "worker", "rank", "group"])
        began = time.monotonic()
        ranks = 2 if whom == "rank" else rng.choice([1, 1, 2])
        run = start(collection, tmp_path, ranks=ranks, workers=rng.choice([1, 2, 3]), piece_cost=20_000)
        wait = rng.uniform(0.3, 1.0) * length
        while run.poll() is None and time.monotonic() - began < wait:
            time.sleep(0.05)
        hits[whom] += kill(run, whom, rng)
        printed = ended(run)
        if run.returncode == 0:
            length = min(60.0, time.monotonic() - began)
            same(FeatureFile(folder), undisturbed)
            shutil.rmtree(tmp_path)
        else:
            assert "Traceback" not in printed.replace("zombies", ""), printed
            assert not finished(folder) or whom in ("rank", "main", "group"), printed
    printed = ended(run := start(collection, tmp_path, workers=2, piece_cost=20_000))
    assert run.returncode == 0, printed
    same(FeatureFile(folder), undisturbed)
    return hits


@pytest.mark.dear
def test_a_few_kills(collection: Path, undisturbed: FeatureFile, tmp_path: Path) -> None:
    assert hunt(2, 1, collection, undisturbed, tmp_path).total() == 2


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_many_kills(collection: Path, undisturbed: FeatureFile, tmp_path: Path) -> None:
    hits = hunt(32, 2, collection, undisturbed, tmp_path)
    print(f"\nkills survived: {dict(hits)}")
    assert min(hits.values()) >= 3


@pytest.mark.dear
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_commits_what_is_finished(
    number: int, code: int, collection: Path, undisturbed: FeatureFile, tmp_path: Path
) -> None:
    run = start(collection, tmp_path, ranks=2 if number == signal.SIGTERM else 1)
    parts = tmp_path / "mixed" / FEATURE / "parts"
    deadline = time.monotonic() + 60
    while not list(parts.glob("part-*.h5")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(run.pid, number)
    printed = ended(run)
    assert run.returncode == code, printed
    name = signal.Signals(number).name
    assert f"error: ended by {name}; what was finished is kept: the same command goes on from there" in printed
    assert "Traceback" not in printed
    kept = {video for part in parts.glob("part-*.h5") for video in FeatureFile(part).videos}
    assert kept
    printed = ended(run := start(collection, tmp_path, workers=2))
    assert run.returncode == 0, printed
    assert "done before" in printed
    same(FeatureFile(tmp_path / "mixed" / FEATURE), undisturbed)
