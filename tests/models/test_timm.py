"""Networks of timm give what timm's own head-less networks give, with timm's own preprocessing."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from tests.models.conftest import draw, saved
from vfx.errors import ModelError, WeightsError
from vfx.models.timm import build, transform
from vfx.models.transforms import Transform

IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def drawn(architecture: str, **options: object) -> torch.nn.Module:
    return draw(lambda: timm.create_model(architecture, **options))


@pytest.mark.parametrize(
    ("architecture", "layer", "has_head"),
    [
        ("resnest14d", "avgpool", True),
        ("resnet10t", "avgpool", True),
        ("convnext_atto", "pre_logits", True),
        ("vit_tiny_patch16_224", "pre_logits", True),
        ("mobilenetv3_small_050", "pre_logits", True),
        ("deit_tiny_distilled_patch16_224", "pre_logits", False),  # two classifiers
        ("regnetx_002", "pre_logits", True),
    ],
)
@torch.inference_mode()
def test_features_are_those_of_timms_network_without_classifier(
    tmp_path: Path, architecture: str, layer: str, has_head: bool
) -> None:
    whole = drawn(architecture)
    save_file(whole.state_dict(), tmp_path / "w.safetensors")
    network = build(name=architecture, layer=layer, weights=str(tmp_path / "w.safetensors"))
    bare = drawn(architecture, num_classes=0)
    bare.load_state_dict(whole.state_dict(), strict=False)
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    features, expected = network.body(x), bare(x)
    assert features.shape == (1, network.dim)
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert (network.head is not None) is has_head
    if network.head:
        torch.testing.assert_close(network.head(features), whole(x), rtol=1e-4, atol=1e-4)


def test_checkpoints_of_other_formats_are_converted_by_timm(tmp_path: Path) -> None:
    """ConvNeXt's authors publish other names than timm's; the file here is written in theirs."""
    whole = drawn("convnext_atto")
    theirs = {}
    for key, tensor in whole.state_dict().items():
        for ours, other in (
            ("stem.", "downsample_layers.0."),
            (".conv_dw.", ".dwconv."),
            (".mlp.fc1.", ".pwconv1."),
            (".mlp.fc2.", ".pwconv2."),
            ("head.norm.", "norm."),
            ("head.fc.", "head."),
        ):
            key = key.replace(ours, other)
        for stage in range(4):
            key = key.replace(f"stages.{stage}.downsample.", f"downsample_layers.{stage}.")
            key = key.replace(f"stages.{stage}.blocks.", f"stages.{stage}.")
        theirs[key] = tensor
    assert "stages.0.0.dwconv.weight" in theirs
    network = build(name="convnext_atto", weights=saved({"model": theirs}, tmp_path / "fb.pth"))
    assert torch.equal(network.body.network.stages[0].blocks[0].conv_dw.weight, theirs["stages.0.0.dwconv.weight"])
    assert network.head is not None and torch.equal(network.head.weight, theirs["head.weight"])


def test_where_timm_is_lenient_what_is_spare_goes_and_what_is_missing_does_not(tmp_path: Path) -> None:
    state = drawn("inception_v3").state_dict()
    spare = saved(state | {"AuxLogits.fc.weight": torch.zeros(1)}, tmp_path / "aux.pth")
    assert build(name="inception_v3", weights=spare).dim == 2048
    del state["Conv2d_1a_3x3.conv.weight"]
    with pytest.raises(WeightsError, match=r"short\.pth does not fit the network: missing Conv2d_1a_3x3\.conv"):
        build(name="inception_v3", weights=saved(state, tmp_path / "short.pth"))


def test_a_classifier_of_ones_own_is_left_out(tmp_path: Path) -> None:
    mine = saved(drawn("resnet10t", num_classes=7).state_dict(), tmp_path / "mine.pth")
    network = build(name="resnet10t", weights=mine)
    assert network.head is None and network.dim == 512


@pytest.mark.parametrize("architecture", ["convnext_atto", "vit_tiny_patch16_224", "regnetx_002", "resnet10t"])
def test_weights_of_another_network_are_refused(tmp_path: Path, architecture: str) -> None:
    with pytest.raises(WeightsError, match=r"other\.pth does not fit the network: missing \S+; .* more"):
        build(name=architecture, weights=saved({"features.0.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "other.pth"))


@pytest.mark.parametrize(
    ("architecture", "expected"),
    [
        ("resnest50d", Transform(256, 224, "bilinear", **IMAGENET)),
        ("resnest101e", Transform(292, 256, "bilinear", **IMAGENET)),
        ("resnest200e", Transform(352, 320, "bicubic", **IMAGENET)),
        ("resnest269e", Transform(448, 416, "bicubic", **IMAGENET)),
        ("coat_lite_medium_384.in1k", Transform((384, 384), 384, "bicubic", **IMAGENET)),
    ],
)
def test_the_transform_is_timms(architecture: str, expected: Transform) -> None:
    assert transform(architecture) == expected
    preset = timm.data.create_transform(
        **timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(architecture).to_dict())
    )
    resize, crop = preset.transforms[:2]
    size = resize.size if isinstance(expected.resize, int) else tuple(resize.size)
    assert (size, resize.interpolation.value, crop.size) == (
        expected.resize, expected.interpolation, (expected.crop, expected.crop)
    )  # fmt: skip


@pytest.mark.parametrize("architecture", ["volo_d4_448.sail_in1k", "vit_base_patch16_sapiens2.fb"])
def test_crops_that_vfx_does_not_take_are_refused(architecture: str) -> None:
    if architecture in timm.list_pretrained():
        with pytest.raises(ModelError, match=rf"{architecture} is evaluated on \d+x\d+ pixels with a `"):
            transform(architecture)


def test_encoders_that_do_not_pool_are_refused() -> None:
    if timm.is_model("mobilenetv5_300m_enc"):
        with pytest.raises(ModelError, match="mobilenetv5_300m_enc is an encoder for other uses: it has no pooled"):
            build(name="mobilenetv5_300m_enc")


def test_names_that_timm_does_not_have_get_the_nearest() -> None:
    with pytest.raises(
        ModelError, match=r"\(convnext_bas\.fb_in22k\) is not a network of timm; nearest: convnext_base\.fb_in22k, "
    ):
        build(name="convnext_bas.fb_in22k")


def test_names_that_are_no_folder_names_are_refused() -> None:
    with pytest.raises(ModelError, match=r"model\.name \(hf-hub:timm/resnet50\) may not hold `/ , \+ :`"):
        build(name="hf-hub:timm/resnet50")


def test_a_layer_that_would_be_untrue_is_refused() -> None:
    with pytest.raises(ModelError, match=r"model\.layer \(avgpool\) is not where convnext_atto is cut; it must be pre"):
        build(name="convnext_atto", layer="avgpool", weights="random")


def test_without_a_network_the_error_says_what_to_fetch_and_where_to_put_it(
    hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    with pytest.raises(WeightsError) as error:
        build(name="resnet10t")
    url = "https://huggingface.co/timm/resnet10t.c3_in1k/resolve/main/model.safetensors"
    assert str(error.value).startswith(f"cannot fetch {url} (")
    assert f"put it at {hub}/timm--resnet10t.c3_in1k.safetensors, or give the file" in str(error.value)
    assert not hub.exists()


def test_the_file_put_there_is_used(hub: Path) -> None:
    hub.mkdir(parents=True)
    save_file(drawn("resnet10t").state_dict(), hub / "timm--resnet10t.c3_in1k.safetensors")
    network = build(name="resnet10t")
    assert network.weights.source.endswith("/timm/resnet10t.c3_in1k/resolve/main/model.safetensors")
    assert network.weights.licence == "apache-2.0"


def test_a_network_of_which_timm_has_no_weights_asks_for_a_file() -> None:
    with pytest.raises(WeightsError, match="no pretrained weights of this network are published; give a file"):
        build(name="resnest14d" if not timm.is_model_pretrained("resnest14d") else "resnet200")
