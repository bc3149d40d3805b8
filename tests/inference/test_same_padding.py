"""Padding inside of convolutions gives the very same features, and touches only what it may."""

import pytest
import timm
import torch
from timm.layers import Conv2dSame
from torch import nn

from tests.inference.test_batchnorm_folding import random_norms
from vfx.inference.same_padding import replace_same_padding


def copying(body: nn.Module) -> int:
    return sum(isinstance(m, Conv2dSame) for m in body.modules())


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=["channels_last", "contiguous"])
@pytest.mark.parametrize(
    ("architecture", "side", "replaced"),
    # the stem is no depthwise convolution, and stays
    [("tf_efficientnet_lite0", 224, 4), ("tf_mobilenetv3_small_075", 99, 4), ("tf_efficientnet_b0", 130, 4)],
)
def test_features_stay(architecture: str, side: int, replaced: int, layout: torch.memory_format) -> None:
    body = random_norms(timm.create_model(architecture)).to(memory_format=layout)
    before = copying(body)
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1)).contiguous(memory_format=layout)
    wanted = body(images)
    assert replace_same_padding(body, side) == replaced
    assert copying(body) == before - replaced
    body.to(memory_format=layout)
    torch.testing.assert_close(body(images), wanted, rtol=0, atol=3e-7 * float(wanted.abs().max()))


@pytest.mark.parametrize("kernel", [2, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("side", [7, 8, 9, 12])
def test_sums_are_the_same_for_every_size(kernel: int, stride: int, side: int) -> None:
    convolution = Conv2dSame(3, 6, kernel, stride=stride, groups=3, bias=True).eval().requires_grad_(False)
    body = nn.Sequential(convolution)
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    wanted = body(images)
    assert replace_same_padding(body, side) == 1
    assert copying(body) == 0
    torch.testing.assert_close(body(images), wanted, rtol=0, atol=1e-6)


class Twice(nn.Module):
    """A convolution that sees inputs of two sizes."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = Conv2dSame(3, 3, 3, stride=2, groups=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.convolution(self.convolution(x))


@pytest.mark.parametrize(
    "body",
    [
        nn.Sequential(Conv2dSame(3, 8, 3, stride=2)),
        nn.Sequential(Conv2dSame(3, 3, 3, stride=2, dilation=2, groups=3)),
        nn.Sequential(Conv2dSame(3, 3, (3, 5), stride=2, groups=3)),
        nn.Sequential(nn.Conv2d(3, 3, 3, stride=2, groups=3)),
        Twice(),
    ],
    ids=["not depthwise", "dilated", "oblong", "of torch", "of two sizes"],
)
def test_others_are_left_alone(body: nn.Module) -> None:
    before = [*body.modules()]
    assert replace_same_padding(body.eval().requires_grad_(False), 32) == 0
    assert [*body.modules()] == before
    assert not any(module._forward_pre_hooks for module in body.modules())
