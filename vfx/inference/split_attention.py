"""Split attention, as ResNeSt has it, its parts added to each other: to sum over an axis amid others takes torch many
times as long."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class SplitAttention(nn.Module):
    """timm's SplitAttn: (B,C,h,w) -> (B,D,h,w), of `radix` groups of D channels each a part, weighted by the softmax
    over the parts. Formula: Zhang et al., ResNeSt: Split-Attention Networks, section 3.1 (arXiv 2004.08955).

    `own`: timm's, whose layers it takes over.
    """

    def __init__(self, own: Any) -> None:
        super().__init__()
        self.conv, self.bn0, self.drop, self.act0 = own.conv, own.bn0, own.drop, own.act0
        self.fc1, self.bn1, self.act1, self.fc2 = own.fc1, own.bn1, own.act1, own.fc2
        self.radix = int(own.radix)
        self.groups = int(own.rsoftmax.cardinality)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act0(self.drop(self.bn0(self.conv(x))))
        # The mean of the sum of the parts, as the sum of their means: (B,D,1,1).
        squeezed = x.mean((2, 3), keepdim=True).unflatten(1, (self.radix, -1)).sum(1)
        weights = self.fc2(self.act1(self.bn1(self.fc1(squeezed))))  # (B,groups*radix*d,1,1), where groups*d is D
        weights = weights.unflatten(1, (self.groups, self.radix, -1)).transpose(1, 2).softmax(1).flatten(1, 3)
        # In what the parts are in: with autocast a GPU makes a softmax in float32, by which all that follows would be.
        each = weights.to(x.dtype).chunk(self.radix, dim=1)
        parts = x.chunk(self.radix, dim=1)
        made = parts[0] * each[0]
        for i in range(1, self.radix):
            made = torch.addcmul(made, parts[i], each[i])
        return made


def add_parts(body: nn.Module) -> int:
    """Replace, in place, timm's split attention of two parts or more. Returns how many were; the features are the same
    but for rounding."""
    there = [name for name, module in body.named_modules() if _is_split(module)]
    for name in there:
        body.set_submodule(name, SplitAttention(body.get_submodule(name)))
    return len(there)


def _is_split(module: Any) -> bool:
    # timm's, which need not be imported to tell
    return type(module).__name__ == "SplitAttn" and type(module).__module__.startswith("timm.") and module.radix > 1
