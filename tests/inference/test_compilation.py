"""Compiled networks give the features of the network as it is, and are compiled once."""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from vfx.errors import UsageError
from vfx.inference.compilation import check_compiler, compile_with_openvino, compile_with_torch
from vfx.inference.encoder import Encoder
from vfx.models import efficientnet_lite


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    return tmp_path / "vfx"


def images(n: int) -> torch.Tensor:
    return torch.randint(0, 256, (n, 224, 224, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(n))


@pytest.mark.dear
def test_openvino_gives_the_same_features_and_converts_once(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("openvino")
    plain = Encoder(efficientnet_lite.build())
    with caplog.at_level("INFO", "vfx"):
        for _ in range(2):
            compiled = Encoder(efficientnet_lite.build(), compiler="openvino")
            compiled.optimize("cpu", precision="32-true", threads=1)
            with torch.inference_mode():
                for n in (4, 1, 3):
                    torch.testing.assert_close(compiled([images(n)]), plain([images(n)]), rtol=0, atol=2e-5)
    assert caplog.text.count("converting efficientnet_lite0 for OpenVINO") == 1
    assert sorted(p.suffix for p in (cache / "openvino").iterdir()) == [".bin", ".xml"]


@pytest.mark.dear
def test_openvino_keeps_nothing_of_weights_that_have_no_hash(cache: Path) -> None:
    pytest.importorskip("openvino")
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    run = compile_with_openvino(body, 16, name="a/b", key=None, precision="f32", threads=1)
    x = torch.randn(3, 3, 16, 16)
    torch.testing.assert_close(run(x), body(x), rtol=0, atol=1e-5)
    assert not cache.exists()


@pytest.mark.dear
def test_torch_compiles_for_one_size_to_a_cache_that_stays(cache: Path) -> None:
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    x = torch.randn(3, 3, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(compile_with_torch(body)(x), body(x), rtol=0, atol=1e-5)
    assert any((cache / "inductor").iterdir())


def test_smaller_batches_are_filled_up_to_the_compiled_size() -> None:
    sizes = []

    class Body(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)) * self.weight

    network = efficientnet_lite.build()
    network.body, network.dim = Body(), 3
    encoder = Encoder(network, compiler=True)
    encoder.optimize("cpu", precision="32-true", threads=1)
    compiled = encoder._run[0]
    encoder._run[0] = lambda x: (sizes.append(len(x)), compiled._orig_mod(x))[1]
    encoder.pad_batches(5)
    assert encoder([images(5)]).shape == (5, 3)
    torch.testing.assert_close(encoder([images(2)]), Encoder(network)([images(2)]))
    assert sizes == [5, 5]


@pytest.mark.parametrize(
    ("compiler", "device", "text"),
    [
        ("onnx", "cpu", r"model.compile \(onnx\) must be false, true or openvino"),
        ("openvino", "cuda", r"model.compile \(openvino\) is for processors, not for cuda"),
    ],
)
def test_compilers_that_there_are_not(compiler: str, device: str, text: str) -> None:
    with pytest.raises(UsageError, match=text):
        check_compiler(compiler, device)


def test_a_compiler_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UsageError, match=r"pip install 'vfx\[openvino\]'"):
        check_compiler("openvino", "cpu")
