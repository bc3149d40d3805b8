"""Split attention whose parts are added gives the same features, in the layout of what it is given."""

from collections.abc import Callable

import pytest
import timm
import torch
from timm.layers import SplitAttn
from torch import nn
from torch.nn.functional import cosine_similarity

from tests.inference.test_batchnorm_folding import random_norms
from vfx.inference.batchnorm_folding import fold_batch_norms
from vfx.inference.split_attention import SplitAttention, replace_split_attention

LAYOUTS = [torch.channels_last, torch.contiguous_format]


def count(body: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(module, kind) for module in body.modules())


@pytest.mark.parametrize("layout", LAYOUTS, ids=["channels_last", "contiguous"])
@pytest.mark.parametrize(
    ("architecture", "replaced"), [("resnest14d", 4), ("resnest50d_4s2x40d", 16)], ids=["2 parts", "4 parts, 2 groups"]
)
def test_features_stay(architecture: str, replaced: int, layout: torch.memory_format) -> None:
    body = random_norms(timm.create_model(architecture)).to(memory_format=layout)
    images = torch.randn(2, 3, 96, 96, generator=torch.Generator().manual_seed(1)).contiguous(memory_format=layout)
    fold_batch_norms(body, 96)
    with torch.inference_mode():
        wanted = body(images)
        with torch.autocast("cpu", torch.bfloat16):
            lower = body(images).float()
        assert count(body, SplitAttn) == replaced
        assert replace_split_attention(body) == replaced == count(body, SplitAttention)
        assert replace_split_attention(body) == count(body, SplitAttn) == 0
        torch.testing.assert_close(body(images), wanted, rtol=0, atol=2e-6 * float(wanted.abs().max()))
        with torch.autocast("cpu", torch.bfloat16):
            found = body(images).float()
    # no further from float32 than torch's own way
    assert (1 - cosine_similarity(found, wanted)).max() < 1.5 * (1 - cosine_similarity(lower, wanted)).max()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", LAYOUTS, ids=["channels_last", "contiguous"])
def test_what_comes_has_the_layout_and_dtype_of_what_goes_in(layout: torch.memory_format, dtype: torch.dtype) -> None:
    body = nn.Sequential(SplitAttn(64)).eval().to(dtype=dtype, memory_format=layout)
    replace_split_attention(body)
    with torch.inference_mode():
        made = body(torch.randn(2, 64, 14, 14, dtype=dtype).contiguous(memory_format=layout))
    assert made.is_contiguous(memory_format=layout)
    assert made.dtype is dtype


@pytest.mark.parametrize("make", [lambda: SplitAttn(64, radix=1), lambda: nn.Conv2d(3, 3, 1)], ids=["1 part", "none"])
def test_others_are_left_alone(make: Callable[[], nn.Module]) -> None:
    body = nn.Sequential(make())
    before = [*body.modules()]
    assert replace_split_attention(body) == 0
    assert [*body.modules()] == before
