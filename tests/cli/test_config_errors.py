"""What is said where a name or a key is misspelled: the nearest ones, and the way out, without a traceback."""

import os
import subprocess
import sys

import pytest

import vfx
from tests.conftest import ROOT
from vfx.errors import UsageError

MORE = (
    "any network of timm or torchvision: model=timm model.name={} (python -m vfx.models filter=<part of a name> lists"
    " them)"
)
HELP = "python -m vfx.extract --help lists them"


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        (
            "model=resnest5O",
            "model (resnest5O) is not one of its options; nearest: resnest50, resnet50, resnest269; "
            f"{HELP}; {MORE.format('resnest5O')}",
        ),
        ("sampler=half_secnd", f"sampler (half_secnd) is not one of its options; nearest: half_second; {HELP}"),
        ("trainer=xyz", "trainer (xyz) must be one of cpu, ddp, default, gpu, multinode, slurm"),
        ("colection=toydata", f"vfx.extract has no key colection; nearest: collection; {HELP}"),
        ("model.weight=random", "vfx.extract has no key model.weight; nearest: model.weights, "),
        ("num_workers=3", "vfx.extract has no key num_workers; nearest: dataset.num_workers, num_threads; "),
        ("experimnt=lineage", f"vfx.extract has no key experimnt; nearest: experiment; {HELP}"),
        (
            "sampler.fps=1",
            "sampler.fps is a key of sampler=fps and sampler=segments, not of sampler=half_second: give sampler=fps",
        ),
        ("trainer.max_time=3", "in conf/trainer is added by +trainer.max_time=..."),
        ("pooling=max", "pooling is nothing that vfx.extract chooses, which is dataset, experiment, limits, model, "),
        ("toydata", "toydata must be <key>=<value>, such as collection=toydata"),
        (
            "batch_size=[1",
            "batch_size ([1) is not how Hydra writes a value: no viable alternative at input '[1'; quote it, "
            "and the whole for the shell: 'batch_size=\"[1\"'",
        ),
        ("writer.dtype='x", "writer.dtype (x) is not how Hydra writes a value: a quote or a bracket is left open; "),
        ("~foo", "config: Could not delete from config. 'foo' does not exist; "),
    ],
)
def test_a_mistake_is_answered_with_what_was_meant(mistake: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        vfx.extract.main("collection=toydata", mistake)
    assert said in str(raised.value)


def test_keys_of_the_options_that_were_chosen_are_known() -> None:
    with pytest.raises(UsageError, match=r"no key sampler\.fsp; nearest: sampler\.fps"):
        vfx.extract.main("collection=toydata", "sampler=fps", "sampler.fsp=1")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["model=timm", "model.name=resnet5O"], "is not a network of timm; nearest: resnet50, "),
        (["model=torchvision", "model.name=resnet5O"], "is not a network of torchvision; nearest: resnet50, "),
    ],
)
def test_so_are_the_names_of_networks_of_libraries(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError) as raised:
        vfx.extract.main(f"collection={ROOT / 'toydata'}", *arguments)
    assert said in str(raised.value)


@pytest.mark.parametrize("given", [["model=resnest5O"], ["-m", "model=resnest50,resnest5O"]])
def test_on_a_terminal_it_is_one_line(given: list[str]) -> None:
    asked = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    done = subprocess.run(
        [sys.executable, "-m", "vfx.extract", *given, "collection=toydata"],
        cwd=ROOT,
        env=asked,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: model (resnest5O) is not one of its options; nearest: resnest50, ")
