"""The four ResNeXt of WSL-Images, from checkpoints in the format of the published ones."""

from __future__ import annotations

import logging
import resource
from pathlib import Path

import pytest
import torch
from torchvision.models.resnet import Bottleneck, ResNet

from tests.models.conftest import draw
from vfx.errors import ModelError, WeightsError
from vfx.models.published_weights import Published
from vfx.models.resnext_wsl import NETWORKS, build
from vfx.models.transforms import Transform

MILLIONS = {8: 88.8, 16: 194.0, 32: 468.5, 48: 828.4}


def reference(width: int, path: Path) -> ResNet:
    """The network of hubconf.py with random weights, saved as the published files are."""
    network = draw(lambda: ResNet(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=width))
    torch.save(network.state_dict(), path, _use_new_zipfile_serialization=False)
    return network


@torch.inference_mode()
def pooled(network: ResNet, x: torch.Tensor) -> torch.Tensor:
    for layer in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4", "avgpool"):
        x = getattr(network, layer)(x)
    return x.flatten(1)


@pytest.mark.parametrize(("name", "width"), [(name, width) for name, (width, _) in NETWORKS.items()])
def test_the_networks_are_those_of_the_hub(name: str, width: int) -> None:
    with torch.device("meta"):
        body = ResNet(Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=width)
        assert body(torch.empty(1, 3, 64, 64)).shape == (1, 1000)
    assert f"_32x{width}d_" in name
    assert round(sum(p.numel() for p in body.parameters()) / 1e6, 1) == MILLIONS[width]


@pytest.mark.dear
@torch.inference_mode()
def test_features_are_those_of_torchvisions_resnet_and_the_licence_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "wsl.pth"
    expected_network = reference(8, path)
    # In place of the published file, which is not at hand, one of its format.
    monkeypatch.setattr(Published, "at", lambda url, licence: Published(url, licence, path, print))
    network = build(name="resnext101_32x8d_wsl")
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features, expected = network.body(x), pooled(expected_network, x)
    assert features.shape == (1, network.dim) == (1, 2048)
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    assert network.head is not None
    torch.testing.assert_close(network.head(features), expected_network(x), rtol=1e-5, atol=1e-4)
    assert network.transform == Transform(256, 224, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert (network.name, network.layer) == ("resnext101_32x8d_wsl", "avgpool")
    assert network.weights.licence == "CC-BY-NC-4.0 (non-commercial use only)"
    (said,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert said == (
        "weights: https://download.pytorch.org/models/ig_resnext101_32x8-c38310e5.pth "
        "(licence: CC-BY-NC-4.0 (non-commercial use only))"
    )


def test_names_that_would_be_untrue_are_refused() -> None:
    with pytest.raises(ModelError, match=r"\(resnext101_32x4d_wsl\) is not a network of WSL-Images; nearest: res"):
        build(name="resnext101_32x4d_wsl")
    with pytest.raises(ModelError, match=r"model\.layer \(fc\) is not where .* is cut; it must be avgpool"):
        build(name="resnext101_32x8d_wsl", layer="fc")


def test_a_damaged_download_is_refused(hub: Path) -> None:
    hub.mkdir(parents=True)
    (hub / "ig_resnext101_32x48-3e41cc8a.pth").write_bytes(b"cut short")
    said = r"is damaged or not what its name says: .* not 3e41cc8a\. It lies in .*\.refused"
    with pytest.raises(WeightsError, match=said):
        build(name="resnext101_32x48d_wsl")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_largest_loads_once_and_runs(tmp_path: Path) -> None:
    path = tmp_path / "wsl.pth"
    x = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    expected = pooled(reference(48, path), x)
    assert path.stat().st_size > 3.3e9
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    network = build(name="resnext101_32x48d_wsl", weights=str(path))
    with torch.inference_mode():
        features = network.body(x)
    # The peak so far was that of the reference: one network, and the copy that torch.save held.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss <= before + 2_000_000
    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
