"""Folding batch norms leaves the features as they are, and touches only what it may."""

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import nn

from vfx.inference.batchnorm_folding import fold_batch_norms


def random_norms(body: nn.Module) -> nn.Module:
    """As after training: a new batch norm would do nothing, and folding it would prove nothing."""
    generator = torch.Generator().manual_seed(0)
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 2.0),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.3, 0.3),
            ):
                tensor.uniform_(low, high, generator=generator)
    return body.eval().requires_grad_(False)


def norms(body: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in body.modules())


@pytest.mark.parametrize(
    ("make", "left"),
    [
        (lambda: timm.create_model("tf_efficientnet_lite0"), 0),
        (lambda: timm.create_model("resnest14d"), 0),
        (lambda: torchvision.models.resnet18(), 0),
        (lambda: torchvision.models.mobilenet_v3_small(), 0),
        # norms before convolutions, behind concatenations
        (lambda: torchvision.models.densenet121(), 62),
        # norms beside convolutions, whose input is that of others too
        (lambda: timm.create_model("repvgg_a0"), 17),
        (lambda: timm.create_model("convnext_atto"), 0),
    ],
)
def test_features_stay(make: Callable[[], nn.Module], left: int) -> None:
    body = random_norms(make())
    before = norms(body)
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    wanted = body(images)
    assert fold_batch_norms(body, 96) == before - left
    assert norms(body) == left
    torch.testing.assert_close(body(images), wanted, rtol=0, atol=3e-6 * float(wanted.abs().max()))


class Forked(nn.Module):
    """The output of its convolution goes to a norm and past it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x)
        return (self.norm(x) + x).mean((2, 3))


class Shared(nn.Module):
    """One convolution, two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.a, self.b = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.a(self.conv(x)) * self.b(self.conv(x))).mean((2, 3))


class Inherited(nn.BatchNorm2d):
    """Does what nobody here knows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).square()


@pytest.mark.parametrize(
    "make", [Forked, Shared, lambda: nn.Sequential(nn.Conv2d(3, 4, 3), Inherited(4), nn.Flatten(1))]
)
def test_what_cannot_be_folded_is_left(make: Callable[[], nn.Module]) -> None:
    body = random_norms(make())
    images = torch.randn(2, 3, 16, 16)
    wanted = body(images)
    assert fold_batch_norms(body, 16) == 0
    torch.testing.assert_close(body(images), wanted, rtol=0, atol=0)
