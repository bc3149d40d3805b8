"""What a network does is seen over no images, and over two where it cannot do without."""

import pytest
import torch
import torchvision
from torch import Tensor, nn

from tests.inference.test_batchnorm_folding import random_norms
from vfx.inference.batchnorm_folding import fold_batch_norms
from vfx.inference.convolution_fusion import fuse_activations
from vfx.inference.dry_run import dry_run
from vfx.inference.fused_convolutions import FusedConv, OneDnnConv


class Viewing(nn.Module):
    """Asks for a size that nothing has: -1 of no values could be any."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.norm, self.relu = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.norm(self.convolution(x))).view(x.size(0), -1)


class Adding(Viewing):
    """Adds what it has for one image to all: nothing that may be taken for a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Parameter(torch.randn(1, 8, 14, 14), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.norm(self.convolution(x)) + self.own).view(x.size(0), -1)


def noting(convolution: nn.Module) -> list[int]:
    seen: list[int] = []
    convolution.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    return seen


def test_no_image_goes_through_where_none_is_needed() -> None:
    body = random_norms(torchvision.models.resnet18())
    seen = noting(body.conv1)
    assert fold_batch_norms(body, 64) == 20
    assert seen == [0]
    fused = fuse_activations(body, 64, OneDnnConv)
    assert sum(isinstance(module, FusedConv) for module in fused.modules()) == 17


def test_two_go_through_where_they_are() -> None:
    body = random_norms(Viewing())
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    wanted = body(images)
    seen = noting(body.convolution)
    assert fold_batch_norms(body, 16) == 1
    assert seen == [0, 2]
    fused = fuse_activations(body, 16, OneDnnConv)
    assert sum(isinstance(module, FusedConv) for module in fused.modules()) == 1
    torch.testing.assert_close(fused(images), wanted, rtol=0, atol=2e-6 * float(wanted.abs().max()))


def test_what_is_made_of_images_is_told_from_what_is_there() -> None:
    body = random_norms(Adding())
    fold_batch_norms(body, 16)
    assert not any(isinstance(module, FusedConv) for module in fuse_activations(body, 16, OneDnnConv).modules())


def test_what_fails_with_an_image_too_is_raised() -> None:
    def run(images: Tensor) -> None:
        raise ValueError(f"of {len(images)}")

    with pytest.raises(ValueError, match="of 2"):
        dry_run(nn.Conv2d(3, 3, 1), 8, run)
