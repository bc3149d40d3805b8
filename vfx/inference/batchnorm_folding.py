"""Folds batch norms into the convolutions before them: the same features with a fifth less to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import batch_norm, conv2d
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.overrides import TorchFunctionMode

from vfx.inference.dry_run import watch


def fold(body: nn.Module, side: int) -> int:
    """Fold, in place, each batch norm whose input is the output of a convolution and goes nowhere else.

    `body`: in eval mode, (B,3,side,side) -> features; it is run to see what leads where. Returns how many were folded.
    Features change by the rounding of float32 alone.
    """
    norms = {id(m.running_mean): name for name, m in body.named_modules() if isinstance(m, nn.BatchNorm2d)}
    if not norms:
        return 0
    convolutions = {id(m.weight): name for name, m in body.named_modules() if isinstance(m, nn.Conv2d)}

    def traced(images: torch.Tensor) -> _Trace:
        with _Trace() as trace:
            body(images)
        return trace

    folded = 0
    for norm_name, convolution_name in watch(body, side, traced).pairs(norms, convolutions):
        norm, convolution = body.get_submodule(norm_name), body.get_submodule(convolution_name)
        assert isinstance(norm, nn.BatchNorm2d)
        assert isinstance(convolution, nn.Conv2d)
        if (rest := _without_norm(norm)) is not None:
            body.set_submodule(convolution_name, fuse_conv_bn_eval(convolution, norm))
            body.set_submodule(norm_name, rest)
            folded += 1
    return folded


def _without_norm(norm: Any) -> nn.Module | None:
    """What a batch norm does besides; None where that is not known."""
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    if type(norm).__name__ == "BatchNormAct2d":  # timm's: the activation that follows is inside
        return nn.Sequential(norm.drop, norm.act)
    return None


class _Trace(TorchFunctionMode):
    """Notes which tensors come out of convolutions, and where tensors go."""

    def __init__(self) -> None:
        super().__init__()
        self._uses: Counter[int] = Counter()
        self._weights: Counter[int] = Counter()
        self._convolved: dict[int, tuple[torch.Tensor, int]] = {}  # the tensor is kept, and so is its id
        self._normed: list[tuple[int, int, int]] = []  # what goes into a norm, the weight that made it, the norm's mean

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            given = [*args, *(kwargs or {}).values()]
            for value in given:
                self._uses.update(id(v) for v in (value if isinstance(value, (list, tuple)) else [value]))
            if not any(out is value for value in given):
                self._uses[id(out)] = 0  # counted for another tensor, if at all, which is gone
            if function is conv2d:
                self._weights[id(given[1])] += 1
                self._convolved[id(out)] = (out, id(given[1]))
            elif function is batch_norm:
                _, weight = self._convolved.get(id(given[0]), (None, 0))
                self._normed.append((id(given[0]), weight, id(given[1])))
        return out

    def pairs(self, norms: dict[int, str], convolutions: dict[int, str]) -> list[tuple[str, str]]:
        """The names of norms and of the convolutions that feed them alone; each of both is used once."""
        times = Counter(mean for _, _, mean in self._normed)
        return [
            (norms[mean], convolutions[weight])
            for source, weight, mean in self._normed
            if mean in norms
            and weight in convolutions
            and (self._uses[source], times[mean], self._weights[weight]) == (1, 1, 1)
        ]
