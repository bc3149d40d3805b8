"""Runs vfx as it is typed, in a process of its own, and composes the configs of commands."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

from tests.conftest import ROOT
from vfx import CONF_DIR


def compose(verb: str, *overrides: str, **options: bool) -> DictConfig:
    """The config of a command."""
    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
        return hydra.compose(verb, [*overrides], **options)


def run_python(*arguments: str | Path, code: int = 0, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder, from where it finds this vfx; asserts that it ends with this exit code."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment, timeout=300
    )
    assert done.returncode == code, done.stderr
    return done


def run_verb(verb: str, *overrides: str, code: int = 0, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run a command of vfx."""
    return run_python("-m", f"vfx.{verb}", *overrides, code=code, cwd=cwd)


def peak_mb(verb: str, *overrides: str) -> tuple[float, str]:
    """The most memory that a command took, which imports no torch, and the last line that it printed."""
    script = (
        f"import sys; from vfx import {verb}; print({verb}.main(*sys.argv[1:]))\n"
        "assert not {'torch', 'pytorch_lightning'} & set(sys.modules)\n"
        # not ru_maxrss, which a new process takes over from the one that started it
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    *_, said, memory = run_python("-c", script, *overrides).stdout.splitlines()
    return int(memory) / 1024, said
