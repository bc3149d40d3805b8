"""Any classification network of torchvision, cut before its last linear layer."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any

from torch import nn

from vfx.errors import ModelError
from vfx.models.checkpoint import StateDict
from vfx.models.network import Network, check_layer, check_name, cut_head
from vfx.models.published_weights import Published
from vfx.models.transforms import Transform
from vfx.models.weights import construct, load
from vfx.system import fast_imports

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum

torchvision = fast_imports.load("torchvision")
# The networks whose last linear layer reads the global average of the last feature map, dropout aside. The others
# normalise that average, have more layers between, or do not average (ViT).
AVERAGED = (
    torchvision.models.ResNet,
    torchvision.models.RegNet,
    torchvision.models.DenseNet,
    torchvision.models.EfficientNet,
    torchvision.models.GoogLeNet,
    torchvision.models.Inception3,
    torchvision.models.MNASNet,
    torchvision.models.MobileNetV2,
    torchvision.models.ShuffleNetV2,
    torchvision.models.SqueezeNet,
    torchvision.models.SwinTransformer,
)
# Weights published before torch 0.4 have a dot inside the names of DenseNet's layers.
DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")


def build(*, name: str, layer: str = "pre_logits", weights: str = "pretrained") -> Network:
    """Build a classification network of torchvision, cut before its last linear layer.

    Args:
        name: `resnet50`, or `resnet50.IMAGENET1K_V1` for other weights than torchvision's default ones.
        layer: `pre_logits`, or `avgpool` where the last linear layer reads the global average.
        weights: `pretrained`, `random`, or a file.

    Raises:
        ModelError: For a network, weights or layer that do not exist.
        WeightsError: Where the weights cannot be fetched or read, or do not fit.
    """
    architecture, _, entry = name.partition(".")
    check_name(architecture, torchvision.models.list_models(module=torchvision.models), of="torchvision")
    chosen = _entry(architecture, entry or "DEFAULT")
    licence = chosen.meta.get("license", "BSD-3-Clause")
    if "SWAG" in licence:
        licence = f"CC-BY-NC-4.0 ({licence})"

    builder = torchvision.models.get_model_builder(architecture)
    body = construct(partial(builder, weights=None, **_options(architecture, chosen)), weights)
    check_layer(layer, ["pre_logits", "avgpool"] if isinstance(body, AVERAGED) else ["pre_logits"], of=name)
    last, dim = _classifier(body)
    converter = _convert_densenet if isinstance(body, torchvision.models.DenseNet) else None
    published = Published.at(chosen.url, licence=licence)
    loaded = load(body, weights, published, head=last, convert=converter)
    head = cut_head(body, last)
    if isinstance(body, torchvision.models.SqueezeNet):
        # Its classifier convolves first and averages last: only the average stays.
        body.classifier = nn.AdaptiveAvgPool2d(1)
    return Network(name, layer, body, head, dim, _transform(chosen), loaded)


def _entry(architecture: str, entry: str) -> WeightsEnum:
    entries = torchvision.models.get_model_weights(architecture)
    if entry not in entries.__members__:
        raise ModelError(
            f"model.name ({architecture}.{entry}): torchvision's weights of {architecture} are "
            f"{', '.join(entries.__members__)}"
        )
    return entries[entry]


def _classifier(network: nn.Module) -> tuple[str, int]:
    """The name of the last layer that has weights, and the number of its inputs."""
    if isinstance(network, torchvision.models.SqueezeNet):
        return "classifier.1", network.classifier[1].in_channels
    *_, (name, linear) = ((n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear))
    return name, linear.in_features


def _options(architecture: str, entry: WeightsEnum) -> dict[str, Any]:
    """The arguments with which torchvision builds the network for these weights."""
    if architecture in ("googlenet", "inception_v3"):
        return {"transform_input": True, "init_weights": False}
    if architecture.startswith("vit_"):
        return {"image_size": entry.meta["min_size"][0]}
    return {}


def _convert_densenet(state: StateDict) -> StateDict:
    return {DENSENET.sub(r"\1\2", key): tensor for key, tensor in state.items()}


def _transform(entry: WeightsEnum) -> Transform:
    preset = entry.transforms()
    return Transform(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        interpolation=preset.interpolation.value,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
