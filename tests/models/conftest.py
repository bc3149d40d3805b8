"""What the tests of the models share: a cat as the input of a network, and a place for weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import skimage.data
import timm
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms as T

from vfx.models.transforms import Transform


def draw(build: Callable[[], nn.Module]) -> nn.Module:
    """A network with random weights of a fixed seed, drawn faster than its own initialisation would."""
    with pytest.MonkeyPatch.context() as patch:
        # Truncated draws are what takes long.
        patch.setattr(torch.nn.init, "_no_grad_trunc_normal_", lambda tensor, *_, **__: tensor)
        patch.setattr(timm.layers.weight_init, "_trunc_normal_", lambda tensor, *_, **__: tensor)
        network = build()
    generator = torch.Generator().manual_seed(1)
    for name, parameter in network.named_parameters():
        if parameter.ndim > 1:
            parameter.data.normal_(0, parameter[0].numel() ** -0.5, generator=generator)
        elif name.endswith("bias"):
            parameter.data.zero_()
    return network.eval()


@pytest.fixture
def cat() -> Callable[[Transform], Tensor]:
    """A photograph of a cat as (1,3,h,w), by PIL and torchvision."""
    image = Image.fromarray(skimage.data.chelsea())

    def prepare(transform: Transform) -> Tensor:
        steps = [
            T.Resize(transform.resize, interpolation=T.InterpolationMode(transform.interpolation)),
            T.CenterCrop(transform.crop),
            T.ToTensor(),
            T.Normalize(transform.mean, transform.std),
        ]
        return T.Compose(steps)(image)[None]

    return prepare


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of torch's cache of checkpoints; nothing outside this machine is asked."""
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "hub" / "checkpoints"


def toy() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 10))


def saved(state: object, path: Path) -> str:
    """A file of these weights, as `weights` wants it."""
    torch.save(state, path)
    return str(path)


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return list(left) == list(right) and all(torch.equal(left[key], right[key]) for key in left)
