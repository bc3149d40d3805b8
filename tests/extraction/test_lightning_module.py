"""The module that runs the networks: its precisions, its float32, its batch size."""

import subprocess
import sys

import pytest
import torch

from tests.conftest import ROOT
from vfx.errors import UsageError
from vfx.extraction.lightning_module import Extractor
from vfx.extraction.precision import check_precision, float32_by_tf32
from vfx.inference.encoder import Encoder
from vfx.models import efficientnet_lite

CAPABLE = any("bf16" in name and there for name, there in torch.cpu.get_capabilities().items())


@pytest.mark.skipif(CAPABLE, reason="this processor has bf16")
def test_bf16_is_refused_where_it_would_crawl() -> None:
    with pytest.raises(UsageError, match=r"trainer.precision \(bf16-mixed\) would crawl: this processor has no"):
        check_precision("bf16-mixed", "cpu")


def test_precisions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": False, "avx2": True, "l2": 1024})
    for precision in ("bf16-mixed", "bf16-true", "16-mixed"):
        with pytest.raises(UsageError, match="would crawl"):
            check_precision(precision, "cpu")
        check_precision(precision, "cuda")
    for precision in ("32-true", "64-true", "transformer-engine"):
        check_precision(precision, "cpu")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    check_precision("bf16-mixed", "cpu")
    check_precision("32-true", "cuda", tf32=True)
    for precision, device in (("32-true", "cpu"), ("bf16-mixed", "cuda")):
        with pytest.raises(UsageError, match=rf"tf32 \(true\) is for .*, not for {precision} on {device}"):
            check_precision(precision, device, tf32=True)


@pytest.mark.parametrize("convolutions", [True, False])
@pytest.mark.parametrize("products", ["highest", "high", "medium"])
def test_float32_is_computed_as_asked_and_then_as_before(convolutions: bool, products: str) -> None:
    as_it_was = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()

    def state() -> tuple[bool, str]:
        return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()

    try:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)
        for allowed, wanted in ((False, "highest"), (True, "high")):
            with float32_by_tf32(allowed):
                assert state() == (allowed, wanted)
            assert state() == (convolutions, products)
    finally:
        torch.backends.cudnn.allow_tf32 = as_it_was[0]
        torch.set_float32_matmul_precision(as_it_was[1])


@pytest.mark.dear
def test_another_setting_of_float32_is_named() -> None:
    """In a process of its own: torch has no way back."""
    code = """
import torch
from vfx.errors import UsageError
from vfx.extraction.precision import float32_by_tf32
torch.backends.cudnn.conv.fp32_precision = "ieee"
try:
    with float32_by_tf32(False): pass
except UsageError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=100)
    assert done.stdout.startswith("fp32_precision of torch.backends has been set in this process"), done.stderr


def test_threads_are_at_least_one() -> None:
    with pytest.raises(UsageError, match=r"num_threads \(0\) must be a whole number of at least 1"):
        Extractor([], num_threads=0)


class Timed(Extractor):
    """Of a device that takes 10 ms for a batch and 1 ms for each frame, up to 64 at once."""

    def _seconds(self, views: object) -> float:
        frames = len(views[0][0])
        return 0.01 + frames * 1e-3 + max(0, frames - 64) * 1e-3


@pytest.mark.parametrize(("oversample", "frames"), [(False, 64), (True, 25)])
def test_the_batch_size_is_the_least_that_is_as_fast_as_any(oversample: bool, frames: int) -> None:
    network = efficientnet_lite.build()
    assert Timed([Encoder(network, oversample=oversample)]).find_batch_size() == frames


@pytest.mark.dear
def test_batches_are_really_timed() -> None:
    extractor = Extractor([Encoder(efficientnet_lite.build())])
    one, many = (extractor._seconds(extractor._blank(n)) for n in (1, 24))
    assert 0 < one < many
