"""Pads inside depthwise convolutions what TensorFlow pads on one side more, without a copy of each input: the same
sums."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import nn
from torch.nn.functional import pad

from vfx.inference.dry_run import watch


def pad_inside(body: nn.Module, side: int) -> int:
    """Replace, in place, timm's depthwise convolutions of "same" padding by such as pad both sides alike.

    TensorFlow pads a side of n pixels by `max((ceil(n / stride) - 1) * stride + kernel - n, 0)`, of which the odd one
    goes right and below; torch's convolutions pad both sides alike, for which timm copies the input with a frame of
    zeros around it. Here the kernel begins with a row and a column of zeros instead, which meet the extra row and
    column above and left.

    `body`: in eval mode, (B,3,side,side) -> features; it is run to see the sizes. Returns how many were replaced.
    The features are the same; of a wider kernel that is not depthwise they would be too, but not sooner.
    """
    there = {name: module for name, module in body.named_modules() if _is_depthwise(module)}
    if not there:
        return 0
    sides: dict[str, set[int]] = {name: set() for name in there}

    def note(name: str, module: nn.Module, inputs: Any) -> None:
        sides[name] |= set(inputs[0].shape[2:])

    hooks = [module.register_forward_pre_hook(partial(note, name)) for name, module in there.items()]
    watch(body, side, body)
    for hook in hooks:
        hook.remove()
    square = {name: seen for name, seen in sides.items() if len(seen) == 1}
    for name, (seen,) in square.items():
        body.set_submodule(name, _padding_inside(there[name], seen))
    return len(square)


def _is_depthwise(module: nn.Module) -> bool:
    return (
        isinstance(module, nn.Conv2d)
        and type(module).__name__ == "Conv2dSame"  # timm's, which need not be imported to tell
        and module.groups == module.in_channels > 1
        and len({*module.kernel_size}) == len({*module.stride}) == 1
        and {*module.dilation} == {1}
    )


def _padding_inside(same: Any, side: int) -> nn.Conv2d:
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
        device="meta",  # for its weights are replaced
    )
    made.weight = nn.Parameter(pad(same.weight.detach(), (extra, 0, extra, 0)), requires_grad=False)
    made.bias = same.bias
    return made.eval()
