"""Sweeps as their user runs them: every job has its own folder, one that fails costs itself alone, and all are told."""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from tests.clips import CLIPS
from tests.conftest import ROOT, link_clips
from tests.test_kills import session
from vfx import extract
from vfx.cli.overrides import quote
from vfx.features.feature_file import FeatureFile

FEATURE = "test_resnet,pre_logits"
MODEL = ("model=timm", "model.name=test_resnet", "model.weights=random")
pytestmark = pytest.mark.timeout(600)  # several processes begin, each of which imports torch

TWO_RANKS = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "dataset.num_workers=1")
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
DOCUMENTED = re.findall(r"^python -m vfx\.(.*)$", (ROOT / "docs/sweeps.md").read_text(), re.MULTILINE)
MB = 1 << 20


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Collections `one` and `two`, of a short clip each."""
    for name, clip in [("one", "retina.mp4"), ("two", "coffee_phone.mp4")]:
        link_clips(tmp_path / "root" / name, clip)
    return tmp_path / "root"


def start(root: Path, *overrides: str, app: str = "extract", **environment: str) -> subprocess.Popen[str]:
    """A sweep, as the leader of a session of its own; it writes to `out` beside `root`."""
    return subprocess.Popen(
        [sys.executable, "-m", f"vfx.{app}", "-m", f"rootpath={root}", "output_dir=out", *overrides],
        cwd=root.parent,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ended(run: subprocess.Popen[str], code: int = 0) -> tuple[list[str], str]:
    """The lines on standard output, and standard error, once nothing of it is at work any more.

    Asserts that it ended with this exit code.
    """
    out, err = run.communicate(timeout=500)
    deadline = time.monotonic() + 60
    while left := session(run.pid):
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.1)
    assert run.returncode == code, err
    return out.splitlines(), err


def rows(err: str) -> list[list[str]]:
    """The cells of the table that a sweep ends with, frames/s left out, which are never the same."""
    lines = err[err.rindex("\njob  ") + 1 :].splitlines()
    cells = [re.split("  +", line) for line in lines if re.match(r"(job|\d+)  ", line)]
    return [[cell for name, cell in zip(cells[0], row, strict=True) if name != "frames/s"] for row in cells]


def features(root: Path, *overrides: str) -> FeatureFile:
    """What a run of its own in this process gives."""
    folder = root.parent / "alone"
    return FeatureFile(extract.main(*MODEL, f"rootpath={root}", f"output_dir={folder}", "trainer=cpu", *overrides))


def same(path: Path, wanted: FeatureFile) -> None:
    with FeatureFile(path) as file:
        assert list(file.ids) == list(wanted.ids)
        np.testing.assert_allclose(file.features[:], wanted.features[:], atol=2e-5 * abs(wanted.features[:]).max())
        assert file.provenance["recipe"] == wanted.provenance["recipe"]
        theirs, ours = (OmegaConf.create(each.attributes["config"]) for each in (wanted, file))
        for key in ("output_dir", "overwrite", "trainer", "dataset"):
            del theirs[key], ours[key]
        assert ours == theirs


@pytest.mark.dear
def test_every_job_is_told_at_the_end(root: Path) -> None:
    """The third does what the first has done; there is no collection for the last two."""
    out, err = ended(
        start(root, *MODEL, "collection=one,nowhere", "oversample=false,true,false", "trainer=cpu"), code=1
    )
    one = f"out/one/{FEATURE}"
    assert out == [f"{one},random/features.h5", f"{one},os,random/features.h5", f"{one},random/features.h5"]
    assert rows(err) == [
        ["job", "collection", "feature", "state", "rows", "dims", "failures"],
        ["0", "one", f"{FEATURE},random", "done", "1", "96", "0"],
        ["1", "one", f"{FEATURE},os,random", "done", "1", "96", "0"],
        ["2", "one", f"{FEATURE},random", "nothing to do", "1", "96", "0"],
        ["3", "nowhere", f"{FEATURE},random", "failed", "-", "-", "-"],
        ["4", "nowhere", f"{FEATURE},os,random", "failed", "-", "-", "-"],
        ["5", "nowhere", f"{FEATURE},random", "failed", "-", "-", "-"],
    ]
    assert "\njob 4 failed (collection=nowhere oversample=True): collection nowhere: neither " in err
    assert err.endswith("\nerror: 3 of 6 jobs failed: 3, 4, 5\n")
    assert "Traceback" not in err
    assert [path.name for path in (root.parent / "out/.multirun").iterdir()] == ["multirun.yaml"]
    log = (root.parent / one).with_name(f"{FEATURE},os,random") / "extract.log"
    assert "job  collection" not in log.read_text()
    same(root.parent / f"{one},random", features(root, "collection=one"))

    names = f'feature="{FEATURE},random","{FEATURE},os,random"'
    out, err = ended(start(root, "collection=one", names, app="pool"))
    assert out == [f"out/one/mean_{FEATURE}{crops},random/features.h5" for crops in ("", ",os")]
    assert [row[2:] for row in rows(err)[1:]] == [[Path(path).parent.name, "done", "1", "96", "0"] for path in out]


def test_the_commands_of_the_docs_are_those_that_run_here() -> None:
    commands = {tuple(shlex.split(line)) for line in DOCUMENTED}
    assert ("extract", "-m", "collection=one,two", *TWO_RANKS[:3]) in commands
    assert ("extract", "-m", "collection=one,two", "trainer=cpu", *JOBLIB) in commands
    assert any(line[0] == "pool" for line in commands)
    for app, *arguments in commands:  # they are what Hydra sweeps over
        overrides = OverridesParser.create().parse_overrides(quote(arguments, app)[1:])
        assert [override for override in overrides if override.is_sweep_override()]


@pytest.mark.dear
def test_jobs_of_several_ranks(root: Path) -> None:
    """Each job has ranks of its own; the second finds all done, which is settled before any rank starts."""
    out, err = ended(start(root, *MODEL, "collection=two", "oversample=true,true", *TWO_RANKS))
    path = f"out/two/{FEATURE},os,random/features.h5"
    assert out == [path, path]
    assert [row[3] for row in rows(err)] == ["state", "done", "nothing to do"]
    assert err.count("1 process reads") == 1
    same(root.parent / path, features(root, "collection=two", "oversample=true"))


@pytest.mark.dear
def test_ranks_that_others_started_cannot_be_swept(root: Path) -> None:
    torchrun = {
        "TORCHELASTIC_RUN_ID": "mine", "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0", "GROUP_WORLD_SIZE": "1", "TORCHELASTIC_MAX_RESTARTS": "0",
    }  # fmt: skip
    out, err = ended(start(root, *MODEL, "collection=one,two", "trainer=multinode", **torchrun), code=1)
    assert out == []
    assert err.count("error: torchrun started the ranks of one job, and this is a sweep: give each job a") == 2
    assert err.endswith("\nerror: 2 of 2 jobs failed: 0, 1\n")


def test_a_sweep_that_cannot_take_notes_does_not_begin(root: Path) -> None:
    (root.parent / "out").touch()
    out, err = ended(start(root, *MODEL, "collection=one,two", "trainer=cpu"), code=1)
    assert out == []
    assert err.startswith(f"error: {root.parent}/out/.multirun could not be written: Not a directory")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_jobs_side_by_side(root: Path) -> None:
    """By joblib, each in a process of its own: alone, and with ranks."""
    (root / "broken" / "VideoData").mkdir(parents=True)
    (root / "broken" / "VideoData" / "text.mp4").write_text("no video\n")
    of = ("collection=one,nowhere,two,broken", "oversample=false,true", "trainer=cpu")
    out, err = ended(start(root, *MODEL, *of, *JOBLIB), code=1)
    names = [f"{FEATURE}{crops},random" for crops in ("", ",os")]
    assert out == [f"out/{collection}/{name}/features.h5" for collection in ("one", "two") for name in names]
    assert [row[3] for row in rows(err)][1:] == ["done"] * 2 + ["failed"] * 2 + ["done"] * 2 + ["failed"] * 2
    assert "\njob 6 failed (collection=broken oversample=False): " in err
    assert "Traceback" not in err
    for collection in ("one", "two"):
        for name, over in zip(names, ("false", "true"), strict=True):
            wanted = features(root, f"collection={collection}", f"oversample={over}")
            same(root.parent / "out" / collection / name, wanted)
    out, err = ended(start(root, *MODEL, "collection=one,two", "overwrite=true", *TWO_RANKS, *JOBLIB))
    for collection in ("one", "two"):
        same(root.parent / "out" / collection / names[0], features(root, f"collection={collection}"))


@pytest.mark.slow
def test_what_nobody_foresaw_fails_one_job(root: Path) -> None:
    library = root.parent / "libraries/openvino"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("raise RuntimeError('made for another processor')\n")
    compiled = [*MODEL, "collection=one", "trainer=cpu", "model.compile=openvino,false", "overwrite=true"]
    out, err = ended(start(root, *compiled, PYTHONPATH=f"{library.parent}:{ROOT}"), code=1)
    assert out == [f"out/one/{FEATURE},random/features.h5"]
    assert "job 0 failed (model.compile=openvino): RuntimeError: made for another processor" in err
    assert "Traceback" not in err


@pytest.fixture
def long(root: Path) -> Path:
    """Also `long` and `other`, whose clip keeps the network busy for a minute, with ten crops a frame."""
    clip = replace(CLIPS["h264.mp4"], name="long.mp4", num_frames=300).write(root)
    for name in ("long", "other"):
        (root / name / "VideoData").mkdir(parents=True)
        (root / name / "VideoData" / "long.mp4").symlink_to(clip)
    return root


BUSY = ("oversample=true", "sampler=all", "num_threads=1")
WAYS = {
    "basic": ("trainer=cpu",),
    "ranks": TWO_RANKS,
    "joblib": ("trainer=cpu", *JOBLIB),
    "joblib_of_ranks": (*TWO_RANKS, *JOBLIB),
}


def at_work(run: subprocess.Popen[str], root: Path) -> list[int]:
    """Wait until the first job, of `long`, is at its video; the processes that have the job alone, ranks of it."""
    log = root.parent / "out/long/efficientnet_lite0,avgpool,os/extract.log"
    deadline = time.monotonic() + 240
    while not (log.exists() and "frames a batch" in log.read_text()):
        assert run.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    return sorted(pid for pid, line in session(run.pid).items() if "vfx.extract --config-dir" in line and " 0 " in line)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way", "number"),
    [
        ("basic", signal.SIGTERM),
        ("basic", signal.SIGINT),
        ("ranks", signal.SIGINT),
        ("joblib", signal.SIGINT),
        ("joblib_of_ranks", signal.SIGTERM),
    ],
)
def test_a_signal_ends_the_sweep(long: Path, way: str, number: signal.Signals) -> None:
    run = start(long, "collection=long,other,one", *BUSY, *WAYS[way])
    at_work(run, long)
    if number == signal.SIGINT:  # as a terminal does it, to all
        os.killpg(run.pid, number)
    else:
        run.send_signal(number)
    out, err = ended(run, code=128 + number)
    assert out == []
    states = [row[3] for row in rows(err)[1:]]
    assert states == ["ended", "ended" if way.startswith("joblib") else "not begun", "not begun"]
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("way", ["joblib", "joblib_of_ranks"])
def test_a_job_that_is_killed_costs_itself_alone(long: Path, way: str) -> None:
    run = start(long, "collection=long,one", *BUSY, *WAYS[way])
    os.kill(at_work(run, long)[-1], signal.SIGKILL)  # of two ranks the second, which takes the first with it
    out, err = ended(run, code=1)
    assert [row[3] for row in rows(err)[1:]] == ["failed", "done"]
    assert out == ["out/one/efficientnet_lite0,avgpool,os/features.h5"]
    assert "\njob 0 failed (collection=long): its process was ended by SIGKILL; what was finished is kept" in err
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("way", ["ranks", "joblib_of_ranks"])
def test_nothing_goes_on_when_the_sweep_is_killed(long: Path, way: str) -> None:
    run = start(long, "collection=long,other", *BUSY, *WAYS[way])
    at_work(run, long)
    run.kill()
    ended(run, code=-signal.SIGKILL)
    assert not list((long.parent / "out").glob("*/*/features.h5"))
    ended(start(long, "collection=one", *BUSY, *WAYS[way]))
    assert [path.name for path in (long.parent / "out/.multirun").iterdir()] == ["multirun.yaml"]


@pytest.mark.slow
def test_memory_is_given_back_between_jobs(root: Path) -> None:
    """Of a network of 98 MB; over five jobs its process was measured within 15 MB of its size after the first."""
    script = root.parent / "resident.py"
    script.write_text(
        "from pathlib import Path\n"
        "from hydra.experimental.callback import Callback\n\n\n"
        "class Resident(Callback):\n"
        "    def on_job_end(self, config, job_return, **_):\n"
        "        pages = int(Path('/proc/self/statm').read_text().split()[1])\n"
        "        with open('resident', 'a') as file:\n"
        "            print(pages * 4096, file=file)\n"
    )
    ended(
        start(
            root, "model=resnet50", "model.weights=random", "collection=two",
            "sampler=uniform", "sampler.num_frames=1,2,3,4,5,6", "trainer=cpu",
            'feature="resnet50,${sampler.num_frames},random"', "+hydra.callbacks.resident._target_=resident.Resident",
            PYTHONPATH=f"{ROOT}:{root.parent}",
        )
    )  # fmt: skip
    sizes = [int(line) for line in (root.parent / "resident").read_text().split()]
    assert len(sizes) == 6
    assert max(sizes) - sizes[0] < 49 * MB, [size // MB for size in sizes]
