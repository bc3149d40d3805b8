"""Real jobs of a real SLURM of two nodes: as docs/cluster.md has them, they make the file of one process."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.cluster.slurm import UnavailableError, running
from tests.conftest import FEATURE, ROOT, TOYDATA, link_clips
from tests.feature_files import BATCH_COMPOSITION, same
from vfx import extract
from vfx.features.feature_file import FeatureFile

DOCS = (ROOT / "docs/cluster.md").read_text()
SECONDS = 400  # of a machine that has much else to do
# Frames and batches so few that a job is far from its end when it has committed something
SMALL_STEPS = ("writer.commit_mb=0", "batch_size=2")
RANKS = (b" -m vfx.extract ", b" -m submitit.core._submit ")
ENDED = "error: ended by SIGTERM; what was finished is kept: the same command goes on from there"

pytestmark = pytest.mark.timeout(3 * SECONDS)


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """The environment of a SLURM that runs while the tests do."""
    try:
        with running() as environment:
            python = Path(sys.executable).parent
            environment |= {"PATH": f"{python}:{environment['PATH']}", "PYTHONPATH": str(ROOT)}
            print(f"\n{run(['sbatch', '--version'], environment).strip()}, two nodes")
            yield environment
    except UnavailableError as reason:
        pytest.skip(f"no SLURM here: {reason}")


@pytest.fixture
def script(tmp_path: Path) -> Path:
    """The batch script of the docs, as it stands there."""
    path = tmp_path / "vfx.sh"
    path.write_text(
        next(code for code in DOCS.split("```bash\n") if code.startswith("#!/bin/bash")).partition("```")[0]
    )
    return path


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Two short clips of the toy collection, which take a moment."""
    return link_clips(tmp_path / "few", "retina.mp4", "coffee_phone.mp4")


@pytest.fixture
def batch(script: Path, tmp_path: Path) -> list[str]:
    """The first command of the docs that submits the script, but for its collection, and where it writes."""
    return submitting("--nodes=2", script, tmp_path)


def submitting(option: str, script: Path, folder: Path, *others: str) -> list[str]:
    """The first command of the docs that submits the script with an option, or with `others` in place of it."""
    words = documented("sbatch", option)
    assert words[-3:] == ["vfx.sh", "collection=mine", "trainer.accelerator=cpu"]
    options = [*(others or [option]), *words[2:-3], f"--output={folder}/job.log"]
    return [words[0], *options, str(script), f"collection={TOYDATA}", words[-1], f"output_dir={folder}"]


def documented(*beginning: str) -> list[str]:
    """The words of the first command in the docs that begins like this."""
    return next(words for line in DOCS.splitlines() if (words := line.split())[: len(beginning)] == [*beginning])


def run(command: list[str], environment: dict[str, str]) -> str:
    """What a command prints; fails with what it says."""
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, cwd=ROOT)
    assert done.returncode == 0, f"{command}: {done.stdout}\n{done.stderr}"
    return done.stdout


@contextlib.contextmanager
def submitted(command: list[str], environment: dict[str, str]) -> Iterator[str]:
    """Submit a job; gives its number, and cancels it if it is still there in the end."""
    job = run([command[0], "--parsable", *command[1:]], environment).strip()
    try:
        yield job
    finally:
        subprocess.run(["scancel", job], env=environment, timeout=SECONDS, stderr=subprocess.DEVNULL)


def until(ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not ready():
        assert time.monotonic() < deadline, log.read_text() if log.exists() else f"no {log}"
        time.sleep(0.05)


def told_of(job: str, what: str, environment: dict[str, str]) -> str:
    """A field of what `scontrol show job` says."""
    shown = run(["scontrol", "show", "job", job], environment)
    found = re.search(rf"\b{what}=(\S+)", shown)
    assert found, shown
    return found[1]


@contextlib.contextmanager
def halted(job: str, output: Path, log: Path) -> Iterator[list[int]]:
    """Halt the ranks of a job once something is committed, so that what follows finds it there; gives their numbers."""
    until(lambda: any(output.glob("parts/part-*.h5")), log)
    ranks = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            environment = (folder / "environ").read_bytes().split(b"\0")
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
            if f"SLURM_JOB_ID={job}".encode() in environment and any(r in line for r in RANKS) and b"srun" not in line:
                ranks.append(int(folder.name))
    for rank in ranks:
        os.kill(rank, signal.SIGSTOP)
    assert not (output / "features.h5").exists(), log.read_text()
    yield ranks
    for rank in ranks:
        with contextlib.suppress(ProcessLookupError):
            os.kill(rank, signal.SIGCONT)


def is_told_to_end(process: int) -> bool:
    """Whether SIGTERM waits for a process that is halted, or has ended it."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except FileNotFoundError:
        return True
    (mask,) = re.findall(r"^ShdPnd:\t(\w+)$", status, re.MULTILINE)
    return bool(int(mask, 16) >> (signal.SIGTERM - 1) & 1)


def went_on(said: str, path: Path, toy_features: FeatureFile) -> None:
    """A job was ended in mid-run, kept something, did the rest when it was begun again, and nothing was lost."""
    print(said)
    assert said.count(ENDED) == 2, "each rank says so"
    assert "Traceback" not in said
    (counts,) = re.findall(r"(\d+) videos to do, (\d+) of 8 done before", said)
    assert min(map(int, counts)) > 0
    same(FeatureFile(path), toy_features)


@pytest.mark.dear
def test_two_nodes_make_the_file_of_one_process(
    slurm: dict[str, str], batch: list[str], tmp_path: Path, toy_features: FeatureFile
) -> None:
    run([batch[0], "--wait", *batch[1:]], slurm)
    said = (tmp_path / "job.log").read_text()
    print(said)
    # srun brings standard output and error by two ways, so the path need not come last
    (path,) = (Path(line) for line in said.splitlines() if line.endswith("features.h5"))
    assert path == tmp_path / "toydata" / FEATURE / "features.h5"
    assert said.count("weights: ") == 2, "each rank loads the network"
    assert "8 videos, 59 frames" in said
    same(FeatureFile(path), toy_features)


@pytest.mark.dear
def test_a_job_that_is_pre_empted_is_queued_again_and_goes_on(
    slurm: dict[str, str], batch: list[str], tmp_path: Path, toy_features: FeatureFile
) -> None:
    """Ranks that are halted are woken up to be told. What is to be overwritten is so once."""
    log = tmp_path / "job.log"
    output = tmp_path / "toydata" / FEATURE
    urgent = ["--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=:"]
    with submitted([*batch, *SMALL_STEPS, "overwrite=true"], slurm) as job:
        with halted(job, output, log) as ranks:
            assert len(ranks) == 2
            run(["sbatch", "--wait", *urgent], slurm)
        until(lambda: told_of(job, "JobState", slurm) in ("COMPLETED", "FAILED", "CANCELLED"), log)
        assert told_of(job, "JobState", slurm) == "COMPLETED", log.read_text()
        assert told_of(job, "Restarts", slurm) == "1"
    went_on(log.read_text(), output / "features.h5", toy_features)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["time limit", "requeue", "cancel"])
def test_a_job_that_is_ended_goes_on(
    how: str, slurm: dict[str, str], batch: list[str], tmp_path: Path, toy_features: FeatureFile
) -> None:
    log = tmp_path / "job.log"
    output = tmp_path / "toydata" / FEATURE
    with submitted([*batch, *SMALL_STEPS], slurm) as job:
        with halted(job, output, log) as ranks:
            if how == "time limit":
                hours, minutes, _ = map(int, told_of(job, "RunTime", slurm).split(":"))
                change = ["scontrol", "update", f"JobId={job}"]
                run([*change, f"TimeLimit={60 * hours + minutes + 2}"], slurm)
                until(lambda: all(is_told_to_end(rank) for rank in ranks), log)
                run([*change, "TimeLimit=60"], slurm)
            else:
                run({"requeue": ["scontrol", "requeue", job], "cancel": ["scancel", job]}[how], slurm)
        until(lambda: told_of(job, "JobState", slurm) in ("COMPLETED", "FAILED", "CANCELLED"), log)
        assert told_of(job, "JobState", slurm) == ("CANCELLED" if how == "cancel" else "COMPLETED"), log.read_text()
        assert told_of(job, "Restarts", slurm) == ("0" if how == "cancel" else "1")
    if how == "cancel":
        assert not (output / "features.h5").exists()
        run([batch[0], "--wait", *batch[1:], *SMALL_STEPS], slurm)
    went_on(log.read_text(), output / "features.h5", toy_features)


@pytest.mark.slow
def test_an_array_of_jobs_makes_the_file_of_one_process(
    slurm: dict[str, str], script: Path, tmp_path: Path, toy_features: FeatureFile
) -> None:
    array = submitting("--array=1-16", script, tmp_path, "--array=1-3")
    run([array[0], "--wait", *array[1:]], slurm)
    output = tmp_path / "toydata" / FEATURE
    assert sorted(path.name for path in output.glob("extract.*.log")) == [f"extract.{n}-of-3.log" for n in (1, 2, 3)]
    same(FeatureFile(output), toy_features)


def sweep(collection: Path, folder: Path, *overrides: str) -> list[str]:
    """The docs' command for a sweep over two models through SLURM, but for its collection, and where it writes."""
    words = documented("python", "-m", "vfx.extract", "-m", "hydra/launcher=slurm")
    assert words[-2:] == ["collection=mine", "model=efficientnet_lite0,resnet50"]
    here = [f"collection={collection}", "model.weights=random", f"output_dir={folder}"]
    return [*words[:-2], words[-1], *here, *overrides]


def jobs_of(environment: dict[str, str]) -> dict[str, str]:
    """The number of each job of an array that is there, by its place in the array."""
    lines = run(["squeue", "--me", "--noheader", "--array", "--format=%K %A"], environment).splitlines()
    return dict(line.split() for line in lines)


def are_of_one_process(folder: Path, collection: Path, alone: Path) -> None:
    models = ["model=[efficientnet_lite0,resnet50]", "model.weights=random"]
    paths = extract.main(*models, f"collection={collection}", f"output_dir={alone}", "trainer=cpu")
    assert isinstance(paths, list)
    for path in paths:
        wanted = FeatureFile(path)
        file = FeatureFile(folder / path.relative_to(alone))
        same(file, wanted, atol=BATCH_COMPOSITION * float(abs(wanted.features[:]).max()))


@pytest.mark.dear
def test_a_sweep_is_a_job_for_each_model(slurm: dict[str, str], few: Path, tmp_path: Path) -> None:
    said = run(sweep(few, tmp_path / "swept", "trainer=cpu"), slurm).splitlines()
    assert said == [f"{tmp_path}/swept/few/{n},avgpool,random/features.h5" for n in ("efficientnet_lite0", "resnet50")]
    logs = sorted((tmp_path / "swept/.multirun/.submitit").glob("*_?/*_log.out"))
    assert [line for log in logs for line in log.read_text().splitlines() if "2 videos, 6 frames" in line]
    are_of_one_process(tmp_path / "swept", few, tmp_path / "alone")


@pytest.mark.slow
def test_a_sweep_of_jobs_of_two_ranks_goes_on_when_one_is_told_to_end(slurm: dict[str, str], tmp_path: Path) -> None:
    """As before its time limit. The job is queued again while the command that began the sweep waits."""
    on_two_nodes = documented("python", "-m", "vfx.extract", "-m", "hydra/launcher=slurm", "hydra.launcher.nodes=2")
    assert on_two_nodes[-2:] == ["trainer=slurm", "..."]
    options = [*on_two_nodes[5:-1], "trainer.accelerator=cpu", *SMALL_STEPS]
    folder = tmp_path / "swept"
    log = folder / "toydata/efficientnet_lite0,avgpool,random/extract.log"

    def end_first() -> None:
        job = jobs_of(slurm)["0"]
        with halted(job, log.parent, log) as ranks:
            assert len(ranks) == 2
            run(["scancel", "--signal=TERM", job], slurm)

    with ThreadPoolExecutor() as pool:
        whole = pool.submit(run, sweep(TOYDATA, folder, *options), slurm)
        until(log.exists, log)
        end_first()
        assert len(whole.result().splitlines()) == 2
    said = log.read_text()
    print(said)
    assert ENDED in said
    assert re.search(r"\d videos to do, \d of 8 done before", said)
    are_of_one_process(folder, TOYDATA, tmp_path / "alone")


@pytest.mark.slow
def test_jobs_of_a_sweep_outlive_it(slurm: dict[str, str], few: Path, tmp_path: Path) -> None:
    folder = tmp_path / "swept"
    command = sweep(few, folder, "trainer=cpu")
    with subprocess.Popen(command, env=slurm, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        log = folder / "few/efficientnet_lite0,avgpool,random/extract.log"
        until(log.exists, log)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=SECONDS)[1]
    print(said)
    assert process.returncode == 130
    assert "error: ended by Ctrl-C; jobs that SLURM has go on: squeue shows them, scancel ends them" in said
    assert "Traceback" not in said
    until(lambda: not jobs_of(slurm), log)
    are_of_one_process(folder, few, tmp_path / "alone")
