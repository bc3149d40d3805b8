"""Overrides as users type them: names and paths with commas and brackets, lists of models, sweeps and launchers."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from vfx.cli.overrides import check_launcher, expand_models, quote, sweep_first
from vfx.errors import UsageError


def test_names_with_commas_are_quoted_for_hydra() -> None:
    given = ["feature=a,b,os", "features=A,x+B,y", "feature=plain", "feature='a,b'", "model=a,b", "--help"]
    assert quote(given, "extract") == [
        "feature='a,b,os'", "features='A,x+B,y'", "feature=plain", "feature='a,b'", "model=a,b", "--help",
    ]  # fmt: skip
    assert quote(quote(given, "extract"), "extract") == quote(given, "extract")
    assert quote(["segments=/a,b.tsv", "segments=~/x.tsv", "sampler.file=~/x"], "pool") == [
        "segments='/a,b.tsv'", "segments='~/x.tsv'", "sampler.file='~/x'",
    ]  # fmt: skip


def test_paths_with_brackets_need_no_quotes_within_quotes() -> None:
    assert quote(["collection=/my videos (2024)", "rootpath=~/x"], "extract") == [
        "collection='/my videos (2024)'", "rootpath='~/x'",
    ]  # fmt: skip
    assert quote(["collection='a (b)'", "rootpath=${oc.env:X}", "collection=my videos"], "extract") == [
        "collection='a (b)'", "rootpath=${oc.env:X}", "collection=my videos",
    ]  # fmt: skip


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
def test_in_a_sweep_the_error_says_how_to_quote(flag: str) -> None:
    with pytest.raises(UsageError, match=r"""quote each name, and the whole for the shell: 'feature="a,b"'"""):
        quote([flag, "feature=a,b"], "pool")
    assert quote([flag, 'feature="a,b","c,d"', "model=a,b"], "pool") == [flag, 'feature="a,b","c,d"', "model=a,b"]


@pytest.mark.parametrize(("name", "plugin"), [("joblib", "joblib"), ("slurm", "submitit")])
def test_a_launcher_that_is_missing_is_named_with_what_installs_it(
    name: str, plugin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, f"hydra_plugins.hydra_{plugin}_launcher", None)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=rf"hydra/launcher={name} needs hydra_plugins: pip install 'vfx\[cluster\]'"):
        check_launcher(["-m", f"hydra/launcher={name}"])
    check_launcher(["-m", "collection=a,b"])


def test_a_sweep_may_be_asked_for_anywhere(tmp_path: Path) -> None:
    assert sweep_first(["a=1", "--multirun", "b=2", "--cfg", "job"]) == ["--multirun", "a=1", "b=2", "--cfg", "job"]
    given = [f"rootpath={tmp_path}", f"output_dir={tmp_path}", "collection=none", "-m", "feature=x", "pooling=mean,max"]
    run = subprocess.run([sys.executable, "-m", "vfx.pool", *given], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 1
    assert "error: 2 of 2 jobs failed: 0, 1" in run.stderr


def test_a_list_of_models_stays_behind_the_options_before_it() -> None:
    assert expand_models(["-m", "model=[a,b]", "model.layer=x", "oversample=false,true"]) == [
        "-m", "model=a", "+model@models.a=a", "+model@models.b=b", "model.layer=x", "oversample=false,true",
        "models.a.layer=x", "models.b.layer=x",
    ]  # fmt: skip
