"""Replaces TensorFlow's "same" padding of depthwise convolutions by symmetric padding, which needs no copy."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from torch.nn.functional import pad

from vfx.inference.dry_run import dry_run


def replace_same_padding(body: nn.Module, side: int) -> int:
    """Replace, in place, timm's depthwise `Conv2dSame` by convolutions that give the same sums.

    "same" padding adds `max((ceil(n / stride) - 1) * stride + kernel - n, 0)` zeros to a side of n pixels, an odd one
    at the right and bottom. torch's convolutions pad both sides alike, so timm copies the input into a larger tensor.
    Here the kernel gets a row and a column of zeros at its top and left, which cancel the extra row and column of
    padding there. That is exact for any convolution, but faster for depthwise ones alone.

    Args:
        body: Network in eval mode, (B,3,side,side) -> features.
        side: Pixels of its input's side.

    Returns:
        The number of replaced convolutions.
    """
    found = {name: module for name, module in body.named_modules() if _is_depthwise_same(module)}
    if not found:
        return 0
    sides: dict[str, set[int]] = {name: set() for name in found}

    def record(name: str, module: nn.Module, inputs: Any) -> None:
        sides[name] |= set(inputs[0].shape[2:])

    hooks = [module.register_forward_pre_hook(partial(record, name)) for name, module in found.items()]
    dry_run(body, side, body)
    for hook in hooks:
        hook.remove()
    square = {name: seen for name, seen in sides.items() if len(seen) == 1}
    for name, (seen,) in square.items():
        body.set_submodule(name, _symmetric(found[name], seen))
    return len(square)


def _is_depthwise_same(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and type(module).__name__ == "Conv2dSame"  # by name, so that timm need not be imported
        and module.groups == module.in_channels > 1
        and len({*module.kernel_size}) == len({*module.stride}) == 1
        and {*module.dilation} == {1}
    )


def _symmetric(same: Any, side: int) -> nn.Conv2d:
    (kernel, _), (stride, _) = same.kernel_size, same.stride
    total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
    after = total - total // 2
    extra = total % 2
    made = nn.Conv2d(
        same.in_channels,
        same.out_channels,
        kernel + extra,
        stride,
        padding=after,
        groups=same.groups,
        device="meta",  # its weights are replaced
    )
    made.weight = nn.Parameter(pad(same.weight.detach(), (extra, 0, extra, 0)), requires_grad=False)
    made.bias = same.bias
    return made.eval()
