"""Fusing leaves the features as they are, and touches only what it may; tests/test_gpu.py does it where it counts."""

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from tests.models.test_folding import random_norms
from vfx.models.folding import fold
from vfx.models.fusing import Fused, fuse, multiply


def images(n: int = 2) -> Tensor:
    return torch.randn(n, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def fused(body: nn.Module) -> int:
    return sum(isinstance(module, Fused) for module in body.modules())


@pytest.mark.parametrize(
    ("make", "count", "products"),
    [
        (lambda: torchvision.models.resnet18(), 17, 0),
        (lambda: torchvision.models.resnext50_32x4d(), 49, 4),
        (lambda: timm.create_model("resnet26d"), 27, 4),
        (lambda: timm.create_model("resnest14d"), 19, 8),
        (lambda: timm.create_model("regnetx_002"), 40, 4),
        (lambda: torchvision.models.densenet121(), 59, 0),  # norms before convolutions: half of its ReLUs follow these
        (lambda: torchvision.models.mobilenet_v3_small(), 14, 29),
        (lambda: timm.create_model("tf_efficientnet_lite0"), 0, 32),  # ReLU6
        (lambda: timm.create_model("convnext_atto"), 0, 24),
    ],
)
@pytest.mark.parametrize("first", ["fuse", "multiply"])
def test_features_stay(make: Callable[[], nn.Module], count: int, products: int, first: str) -> None:
    body = random_norms(make())
    fold(body, 64)
    wanted = body(images())
    if first == "fuse":
        body = fuse(body, 64)
        assert (fused(body), multiply(body)) == (count, products)
    else:
        assert multiply(body) >= products
        body = fuse(body, 64)
        assert fused(body) <= count
    assert not body.training
    torch.testing.assert_close(body(images()), wanted, rtol=0, atol=3e-6 * float(wanted.abs().max()))


class Net(nn.Module):
    def __init__(self, course: Callable[["Net", Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.plain = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.course = course
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.course(self, x)


@pytest.mark.parametrize(
    ("course", "count"),
    [
        (lambda net, x: net.relu(net.a(x)), 1),
        (lambda net, x: torch.relu(net.b(torch.relu_(net.a(x)))), 2),
        (lambda net, x: net.a(x).relu(), 1),
        (lambda net, x: net.relu(net.b(y := net.relu(net.a(x))) + y), 2),
        (lambda net, x: net.relu(net.a(x) + net.a(x + 1)), 0),  # one convolution, twice
        (lambda net, x: net.relu(y := net.a(x)) + y, 0),  # past the ReLU
        (lambda net, x: net.relu(z := net.b(net.a(x)) + 1) + z, 0),  # a number is added
        (lambda net, x: net.relu(net.b(y := net.a(x)) + y.mean(1, keepdim=True)), 0),  # of another shape
        (lambda net, x: net.relu(torch.add(net.b(y := net.a(x)), y, alpha=2)), 0),
        (lambda net, x: net.relu(net.b(y := net.a(x)) - y), 0),
        (lambda net, x: net.relu(net.plain(net.relu(net.a(x)))), 1),  # there is no bias to add
        (lambda net, x: net.relu(net.a(x) if x.mean() > 0 else -net.a(x)), 0),  # torch.fx cannot follow
    ],
)
def test_what_may_not_be_fused_is_left(course: Callable[[Net, Tensor], Tensor], count: int) -> None:
    net = Net(course)
    wanted = net(images())
    made = fuse(net, 64)
    assert fused(made) == count
    assert (made is net) == (count == 0)
    torch.testing.assert_close(made(images()), wanted)


def test_a_network_that_counts_its_runs_is_left() -> None:
    """What torch.fx has written down once would count no more."""

    def course(net: Net, x: Tensor) -> Tensor:
        net.runs = getattr(net, "runs", 0) + 1
        return net.relu(net.a(x)) * net.runs

    net = Net(course)
    assert fuse(net, 64) is net


def test_what_cudnn_cannot_do_goes_step_by_step() -> None:
    made = Fused(nn.Conv2d(3, 4, 3))
    with torch.inference_mode():
        torch.testing.assert_close(made(images(), -torch.ones(1)), torch.relu(made.convolution(images()) - 1))
    assert not made.at_once


def test_no_memory_is_not_taken_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    made = Fused(nn.Conv2d(3, 4, 3))

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch, "cudnn_convolution_relu", fail)
    with pytest.raises(torch.OutOfMemoryError):
        made(images())
    assert made.at_once
