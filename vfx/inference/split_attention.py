"""ResNeSt's split attention, faster: it adds the splits one by one, as torch is slow to sum over a middle axis."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class SplitAttention(nn.Module):
    """timm's SplitAttn, (B,C,h,w) -> (B,D,h,w): `radix` splits of D channels, summed with softmax weights.

    Formula: Zhang et al., ResNeSt: Split-Attention Networks, section 3.1 (arXiv 2004.08955).

    Args:
        original: timm's module, whose layers it takes over.
    """

    def __init__(self, original: Any) -> None:
        super().__init__()
        self.conv, self.bn0, self.drop, self.act0 = original.conv, original.bn0, original.drop, original.act0
        self.fc1, self.bn1, self.act1, self.fc2 = original.fc1, original.bn1, original.act1, original.fc2
        self.radix = int(original.radix)
        self.groups = int(original.rsoftmax.cardinality)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act0(self.drop(self.bn0(self.conv(x))))
        # The mean of the summed splits, as the sum of their means: (B,D,1,1).
        squeezed = x.mean((2, 3), keepdim=True).unflatten(1, (self.radix, -1)).sum(1)
        weights = self.fc2(self.act1(self.bn1(self.fc1(squeezed))))  # (B,groups*radix*d,1,1), where groups*d is D
        weights = weights.unflatten(1, (self.groups, self.radix, -1)).transpose(1, 2).softmax(1).flatten(1, 3)
        # Under autocast a GPU's softmax is float32, which would make all that follows float32.
        each = weights.to(x.dtype).chunk(self.radix, dim=1)
        splits = x.chunk(self.radix, dim=1)
        made = splits[0] * each[0]
        for i in range(1, self.radix):
            made = torch.addcmul(made, splits[i], each[i])
        return made


def replace_split_attention(body: nn.Module) -> int:
    """Replace, in place, timm's split attention of two splits or more. Features change by rounding alone.

    Returns:
        The number of replaced modules.
    """
    names = [name for name, module in body.named_modules() if _is_split_attention(module)]
    for name in names:
        body.set_submodule(name, SplitAttention(body.get_submodule(name)))
    return len(names)


def _is_split_attention(module: Any) -> bool:
    # By name, so that timm need not be imported.
    return type(module).__name__ == "SplitAttn" and type(module).__module__.startswith("timm.") and module.radix > 1
