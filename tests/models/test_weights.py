"""Weights are found and fitted to their network, or the error says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from tests.models.conftest import same, toy
from vfx.errors import WeightsError
from vfx.models.network import Weights
from vfx.models.weights import RANDOM, construct, fit, load, read


def drawn(weights: str) -> nn.Sequential:
    return construct(toy, weights)


def test_random_weights_are_the_same_each_time_and_leave_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first, second = drawn("random"), drawn("random")
    assert same(first.state_dict(), second.state_dict())
    assert torch.equal(before, torch.get_rng_state())
    assert load(first, "random", None, head="3") == RANDOM == Weights("random (seed 0)", "none", None)


class Computing(nn.Linear):
    """A network that reads a tensor while it is built, as torchvision's RegNet does."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.sum = torch.arange(3).sum().item()


class Table(nn.Linear):
    """A network with a tensor that its state_dict does not hold."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.register_buffer("table", torch.arange(3), persistent=False)


class Attribute(nn.Linear):
    """A network with a tensor of which torch does not know."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.table = torch.arange(3)


@pytest.mark.parametrize(("build", "device"), [(toy, "meta"), (Computing, "cpu"), (Table, "cpu"), (Attribute, "cpu")])
def test_values_that_a_file_will_replace_are_not_drawn_and_others_are_kept(build: type, device: str) -> None:
    network = construct(build, "w.pth")
    assert {parameter.device.type for parameter in network.parameters()} == {device}
    if hasattr(network, "table"):
        assert network.table.tolist() == [0, 1, 2]


def test_half_precision_weights_become_float32(tmp_path: Path) -> None:
    state = toy().half().state_dict()
    torch.save(state, tmp_path / "half.pt")
    network = drawn("half")
    load(network, str(tmp_path / "half.pt"), None, head="3")
    assert {p.dtype for p in network.parameters()} == {torch.float32}
    assert torch.equal(network[0].weight, state["0.weight"].float())


def test_checkpoints_older_than_num_batches_tracked_fit() -> None:
    state = {k: v for k, v in toy().state_dict().items() if "num_batches" not in k}
    network = drawn("old")
    fit(network, state, origin="old.pth", head="3")
    assert torch.equal(network[0].weight, state["0.weight"])


def test_a_file_that_is_not_there_is_named_with_the_choices(tmp_path: Path) -> None:
    with pytest.raises(WeightsError) as error:
        read(str(tmp_path / "none.pth"), None)
    assert str(error.value) == (
        f"model.weights ({tmp_path}/none.pth) must be `pretrained`, `random` or a file; "
        f"there is no file {tmp_path}/none.pth"
    )


def test_tensors_that_do_not_fit_are_listed() -> None:
    state = toy().state_dict()
    del state["0.bias"]
    state["extra.weight"] = torch.zeros(1)
    state["1.weight"] = torch.zeros(7)
    with pytest.raises(WeightsError) as error:
        fit(toy(), state, origin="w.pth", head="3")
    assert str(error.value) == (
        "w.pth does not fit the network: missing 0.bias; unexpected extra.weight; 1.weight is [7], must be [4];"
        " give the model that it is of (model=..., model.name=...), or its own weights"
    )


def test_only_the_first_few_misfits_are_listed() -> None:
    with pytest.raises(WeightsError, match=r"missing 0\.weight; .*; and 3 more; give"):
        fit(toy(), {"a": torch.zeros(1)}, origin="w.pth", head="3")


@pytest.mark.parametrize("classes", [None, 7])
def test_a_missing_or_other_classifier_is_left_out_and_said(
    classes: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    state = toy().state_dict()
    del state["3.weight"], state["3.bias"]
    if classes:
        state |= {"3.weight": torch.zeros(classes, 16), "3.bias": torch.zeros(classes)}
    network = drawn("w.pth")
    fit(network, state, origin="w.pth", head="3")
    assert isinstance(network[3], nn.Identity)
    assert torch.equal(network[0].weight, state["0.weight"])
    assert "w.pth has no classifier that fits; features do not need it" in caplog.text
