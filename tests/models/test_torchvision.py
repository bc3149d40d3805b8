"""Networks of torchvision give the input of their last linear layer, with torchvision's own preprocessing."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from tests.models.conftest import draw, saved
from vfx.errors import ModelError, WeightsError
from vfx.models.torchvision import build
from vfx.models.transforms import Transform


def drawn(architecture: str, **options: object) -> nn.Module:
    return draw(lambda: torchvision.models.get_model(architecture, weights=None, **options))


@pytest.mark.dear
@pytest.mark.parametrize(
    ("architecture", "node", "layer"),
    [
        ("resnet50", "flatten", "avgpool"),
        ("densenet121", "flatten", "avgpool"),
        ("efficientnet_b0", "flatten", "avgpool"),
        ("mobilenet_v2", "flatten", "avgpool"),
        ("mnasnet0_5", "mean", "avgpool"),
        ("shufflenet_v2_x0_5", "mean", "avgpool"),
        ("regnet_y_400mf", "flatten", "avgpool"),
        ("swin_t", "flatten", "avgpool"),
        ("mobilenet_v3_small", "classifier.1", "pre_logits"),
        ("convnext_tiny", "classifier.1", "pre_logits"),
        ("alexnet", "classifier.5", "pre_logits"),
        ("vit_b_32", "getitem_5", "pre_logits"),
    ],
)
@torch.inference_mode()
def test_features_are_what_torchvisions_classifier_reads(
    tmp_path: Path, architecture: str, node: str, layer: str
) -> None:
    whole = drawn(architecture)
    network = build(name=architecture, layer=layer, weights=saved(whole.state_dict(), tmp_path / "w.pth"))
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = create_feature_extractor(whole, [node])(x)[node]
    features = network.body(x)
    assert features.shape == (1, network.dim)
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert network.head is not None
    torch.testing.assert_close(network.head(features), whole(x), rtol=1e-4, atol=1e-4)


@pytest.mark.dear
@pytest.mark.parametrize("architecture", ["googlenet", "inception_v3"])
@torch.inference_mode()
def test_networks_that_transform_their_input_do_so_as_with_torchvisions_weights(
    tmp_path: Path, architecture: str
) -> None:
    whole = drawn(architecture, transform_input=True, init_weights=False)
    network = build(name=architecture, weights=saved(whole.state_dict(), tmp_path / "w.pth"))
    x = torch.randn(1, 3, 299, 299, generator=torch.Generator().manual_seed(0))
    assert network.head is not None
    torch.testing.assert_close(network.head(network.body(x)), whole(x), rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_squeezenet_gives_the_average_of_its_last_map(tmp_path: Path) -> None:
    whole = drawn("squeezenet1_1")
    network = build(name="squeezenet1_1", layer="avgpool", weights=saved(whole.state_dict(), tmp_path / "w.pth"))
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network.body(x), whole.features(x).mean((2, 3)))
    assert network.dim == 512 and network.head is None


def test_densenets_published_names_are_converted(tmp_path: Path) -> None:
    state = drawn("densenet121").state_dict()
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.") if "denselayer" in key else key: tensor
        for key, tensor in state.items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    network = build(name="densenet121", weights=saved(old, tmp_path / "old.pth"))
    assert torch.equal(
        network.body.features.denseblock1.denselayer1.norm1.weight,
        state["features.denseblock1.denselayer1.norm1.weight"],
    )


def test_the_transform_is_that_of_the_chosen_weights() -> None:
    imagenet = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    second = build(name="resnet50", weights="random").transform
    first = build(name="resnet50.IMAGENET1K_V1", weights="random").transform
    assert second == Transform(232, 224, "bilinear", **imagenet)
    assert first == Transform(256, 224, "bilinear", **imagenet)


def test_a_misfit_classifier_is_left_out_and_no_other_layer_is_cut(tmp_path: Path) -> None:
    state = drawn("alexnet").state_dict()
    del state["classifier.6.weight"], state["classifier.6.bias"]
    network = build(name="alexnet", weights=saved(state, tmp_path / "w.pth"))
    assert network.head is None and network.dim == 4096
    assert torch.equal(network.body.classifier[4].weight, state["classifier.4.weight"])


def test_names_that_torchvision_does_not_have_get_the_nearest() -> None:
    with pytest.raises(ModelError, match=r"\(resnet51\) is not a network of torchvision; nearest: resnet50, "):
        build(name="resnet51")
    with pytest.raises(ModelError, match=r"weights of resnet50 are IMAGENET1K_V1, IMAGENET1K_V2"):
        build(name="resnet50.V9")


def test_a_layer_that_would_be_untrue_is_refused() -> None:
    with pytest.raises(ModelError, match=r"model\.layer \(avgpool\) is not where vgg11 is cut; it must be pre_logits"):
        build(name="vgg11", layer="avgpool", weights="random")


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"r18\.pth does not fit the network: missing layer1\.0\.conv3\.weight; "):
        build(name="resnet50", weights=saved(drawn("resnet18").state_dict(), tmp_path / "r18.pth"))


def test_non_commercial_weights_say_so(hub: Path) -> None:
    hub.mkdir(parents=True)
    (hub / "vit_b_16_swag-9ac1b537.pth").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"vit_b_16_swag-9ac1b537\.pth is damaged"):
        build(name="vit_b_16.IMAGENET1K_SWAG_E2E_V1")
