"""Checkpoints of every form are read, without running code, or the error says why not."""

from __future__ import annotations

import argparse
import hashlib
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.models.conftest import same, toy
from vfx.errors import WeightsError
from vfx.models.checkpoint import module_versions, read_checkpoint
from vfx.models.network import Weights
from vfx.models.published_weights import Published, download
from vfx.models.weights import construct, load, read


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("wrap", ["bare", "state_dict", "model", "prefixed", "average"])
def test_weights_are_read_from_every_form_and_wrapping(tmp_path: Path, form: str, wrap: str) -> None:
    state = toy().state_dict()
    prefixed = {f"module.{key}": tensor for key, tensor in state.items()}
    if form == "safetensors":
        path = tmp_path / "w.safetensors"
        save_file(prefixed if wrap == "prefixed" else state, path)
    else:
        path = tmp_path / "w.pth"
        checkpoint = {
            "bare": state,
            "state_dict": {"state_dict": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)},
            "model": {"model": prefixed, "optimizer": {}},
            "prefixed": prefixed,
            "average": {"state_dict": {}, "model_ema": state},
        }[wrap]
        torch.save(checkpoint, path, _use_new_zipfile_serialization=form == "zip")
    network = construct(toy, str(path))
    loaded = load(network, str(path), None, head="3")
    assert same(network.state_dict(), state)
    assert loaded == Weights(str(path), "unknown (a local file)", hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.mark.dear  # torch imports its compiler
def test_the_prefixes_of_compile_and_data_parallel_are_removed(tmp_path: Path) -> None:
    for n, network in enumerate((torch.compile(toy()), nn.DataParallel(torch.compile(toy())))):
        torch.save(network.state_dict(), tmp_path / f"{n}.pth")
        assert list(read_checkpoint(tmp_path / f"{n}.pth")) == list(toy().state_dict())


def test_a_checkpoint_keeps_the_versions_of_its_modules(tmp_path: Path) -> None:
    state = toy().state_dict()
    torch.save(state, tmp_path / "w.pth")
    assert module_versions(read_checkpoint(tmp_path / "w.pth")) == module_versions(state) != {}


class Payload:
    """Unpickled by a reader that runs code, it makes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple:
        return Path.touch, (self.proof,)


@pytest.mark.parametrize("legacy", [True, False])
def test_weights_that_need_code_are_refused_and_no_code_is_run(tmp_path: Path, legacy: bool) -> None:
    path, proof = tmp_path / "evil.pth", tmp_path / "proof"
    torch.save({"w": torch.zeros(1), "x": Payload(proof)}, path, _use_new_zipfile_serialization=not legacy)
    for weights, published in [(str(path), None), ("pretrained", Published("http://x", "MIT", path, download))]:
        with pytest.raises(WeightsError) as error:
            read(weights, published)
    assert not proof.exists()
    assert str(error.value).startswith(f"{path} is refused: to read it, code would have to run (")
    assert str(error.value).endswith("None was run. Save the network's state_dict() alone, or as .safetensors")
    torch.load(path, weights_only=False)
    assert proof.exists(), "the payload is a real one"


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "content", [b"", b"<!DOCTYPE html>", b"PK\x03\x04 cut short", pickle.dumps([1, 2], protocol=2)]
)
def test_files_that_are_no_weights_are_named(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.\w+ (cannot be read as weights|holds no table of named)"):
        read(str(path), None)


def test_weights_cut_short_are_named(tmp_path: Path) -> None:
    for legacy in (True, False):
        path = tmp_path / "w.pth"
        torch.save(toy().state_dict(), path, _use_new_zipfile_serialization=not legacy)
        path.write_bytes(path.read_bytes()[:-300])
        with pytest.raises(WeightsError, match="cannot be read as weights, and may be damaged or cut short"):
            read(str(path), None)


def test_what_is_no_table_of_tensors_is_named(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth holds no table of named tensors \(a state_dict\)"):
        read(str(tmp_path / "w.pth"), None)
