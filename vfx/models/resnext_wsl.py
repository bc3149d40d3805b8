"""ResNeXt-101 32x8d to 32x48d of WSL-Images (Mahajan et al., 2018), the networks of video-cnn-feat's features."""

from __future__ import annotations

from functools import partial

from vfx.models.network import Network, check_layer, check_name, cut_head
from vfx.models.published_weights import Published
from vfx.models.transforms import Transform
from vfx.models.weights import construct, load
from vfx.system import fast_imports

resnet = fast_imports.load("torchvision").models.resnet
# From hubconf.py of github.com/facebookresearch/WSL-Images: group width, and file name.
NETWORKS = {
    "resnext101_32x8d_wsl": (8, "ig_resnext101_32x8-c38310e5.pth"),
    "resnext101_32x16d_wsl": (16, "ig_resnext101_32x16-c6f796b0.pth"),
    "resnext101_32x32d_wsl": (32, "ig_resnext101_32x32-e4b90b00.pth"),
    "resnext101_32x48d_wsl": (48, "ig_resnext101_32x48-3e41cc8a.pth"),
}
URL = "https://download.pytorch.org/models"
LICENCE = "CC-BY-NC-4.0 (non-commercial use only)"
TRANSFORM = Transform(
    resize=256, crop=224, interpolation="bilinear", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)


def build(*, name: str, layer: str = "avgpool", weights: str = "pretrained") -> Network:
    """Build one of NETWORKS, cut after its global average pooling: 2048 values.

    Args:
        name: A key of NETWORKS.
        layer: `avgpool`.
        weights: `pretrained`, `random`, or a file.

    Raises:
        ModelError: For another name or layer.
        WeightsError: Where the weights cannot be fetched or read, or do not fit.
    """
    check_name(name, NETWORKS, of="WSL-Images")
    check_layer(layer, ["avgpool"], of=name)
    width, filename = NETWORKS[name]

    of_width = partial(resnet.ResNet, resnet.Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=width)
    body = construct(of_width, weights)
    published = Published.at(f"{URL}/{filename}", licence=LICENCE)
    loaded = load(body, weights, published, head="fc")
    head = cut_head(body, "fc")
    return Network(name, layer, body, head, dim=2048, transform=TRANSFORM, weights=loaded)
