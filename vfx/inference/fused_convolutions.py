"""Convolutions that run a bias, an addition and an activation in the same kernel, by library."""

from __future__ import annotations

import logging
from typing import Any, ClassVar, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from vfx.system.memory import is_out_of_memory

log = logging.getLogger(__name__)


class FusedConv(nn.Module):
    """activation(convolution(x) + z) in one kernel, or step by step where the kernel refuses the input.

    `activations` are the ones that the kernel can apply; after an addition it applies ReLU alone.

    Args:
        convolution: The convolution that it replaces; its parameters are shared, not copied.
        activation: One of `activations`, or None.
    """

    activations: ClassVar[tuple[type[nn.Module], ...]] = ()

    def __init__(self, convolution: nn.Module, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.convolution: Any = convolution
        self.activation = activation
        self.use_kernel = True

    @classmethod
    def supports(cls, convolution: nn.Conv2d) -> bool:
        """Whether the kernel is worth using for a convolution for which `is_plain` holds."""
        return True

    @classmethod
    def is_available(cls) -> bool:
        """Whether this build of torch has the kernel."""
        return True

    def __getattr__(self, name: str) -> Any:
        # timm's networks ask their convolutions for attributes such as weight.dtype and stride.
        modules = self.__dict__.get("_modules", {})
        if name in modules or "convolution" not in modules:
            return super().__getattr__(name)
        return getattr(modules["convolution"], name)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        if not self.use_kernel:
            return self._step_by_step(x, z)
        try:
            lower = x.to(self.weight.dtype)  # as autocast would convert it
            return self._kernel(lower, None if z is None else z.to(lower.dtype))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            made = self._step_by_step(x, z)
            log.debug("not fused: %s: %s", self.convolution, error)
            # Set last: had memory run out under an error of another name, the steps would have failed too.
            self.use_kernel = False
            return made

    def _step_by_step(self, x: Tensor, z: Tensor | None) -> Tensor:
        made: Tensor = self.convolution(x)
        made = made if z is None else made + z
        return made if self.activation is None else self.activation(made)

    def _kernel(self, x: Tensor, z: Tensor | None) -> Tensor:
        raise NotImplementedError


class CudnnConv(FusedConv):
    """On a GPU by cuDNN, except depthwise convolutions, for which torch's own kernels are faster."""

    activations = (nn.ReLU,)

    def __init__(self, convolution: nn.Module, activation: nn.Module | None = None) -> None:
        super().__init__(convolution, activation)
        self.zeros = ZeroBuffer()

    @classmethod
    def supports(cls, convolution: nn.Conv2d) -> bool:
        return convolution.bias is not None and not convolution.groups == convolution.in_channels > 1

    def _kernel(self, x: Tensor, z: Tensor | None) -> Tensor:
        own = self.convolution
        # torch's call without an addition adds 0 times uninitialised memory, which may hold a NaN.
        added, scale = (self.zeros.like(own, x), 0.0) if z is None else (z, 1.0)
        geometry = (own.stride, own.padding, own.dilation, own.groups)
        return torch.cudnn_convolution_add_relu(x, own.weight, added, scale, own.bias, *geometry)


class ZeroBuffer:
    """Zeros of any shape, all in the same memory, which grows as needed."""

    def __init__(self) -> None:
        self._memory = torch.zeros(0)

    def like(self, convolution: nn.Conv2d, x: Tensor) -> Tensor:
        """Zeros in the shape of `convolution(x)`, (B,out_channels,h,w), in the memory layout of `x`."""
        count, _, *sides = x.shape
        own: Any = zip(
            sides, convolution.padding, convolution.dilation, convolution.kernel_size, convolution.stride, strict=True
        )
        height, width = ((side + 2 * p - d * (k - 1) - 1) // s + 1 for side, p, d, k, s in own)
        values = count * height * width * convolution.out_channels
        if self._memory.numel() < values or (self._memory.device, self._memory.dtype) != (x.device, x.dtype):
            self._memory = torch.zeros(0)  # free the old buffer first
            self._memory = torch.zeros(values, device=x.device, dtype=x.dtype)
        some = self._memory[:values]
        if x.is_contiguous(memory_format=torch.channels_last):
            return some.view(count, height, width, -1).permute(0, 3, 1, 2)
        return some.view(count, -1, height, width)


class OneDnnConv(FusedConv):
    """On a CPU by oneDNN.

    It is also faster without an activation: a thread limited to one core would otherwise get torch's native float32
    kernel for 1x1 convolutions (`use_mkldnn` in ATen's Convolution.cpp), the slower one.
    """

    activations = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish)
    NAMES: ClassVar[dict[type, tuple[str, list[float]]]] = {
        nn.ReLU: ("relu", []),
        nn.ReLU6: ("hardtanh", [0.0, 6.0]),
        nn.SiLU: ("swish", []),
        nn.Hardswish: ("hardswish", []),
        type(None): ("none", []),
    }

    @classmethod
    def is_available(cls) -> bool:
        return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")

    def _kernel(self, x: Tensor, z: Tensor | None) -> Tensor:
        own, kernel = self.convolution, torch.ops.mkldnn._convolution_pointwise
        given = (own.weight, own.bias, own.padding, own.stride, own.dilation, own.groups)
        after = (*self.NAMES[type(self.activation)], "")
        made: Tensor = kernel(x, *given, *after) if z is None else kernel.binary(x, z, *given, "add", 1.0, *after)
        return made


class MatmulConv(FusedConv):
    """A 1x1 convolution as a matrix product with bias. For channels_last memory, which needs no copy for it."""

    @classmethod
    def supports(cls, convolution: nn.Conv2d) -> bool:
        pointwise = {*convolution.kernel_size, *convolution.stride} == {1} and not any(map(int, convolution.padding))
        return pointwise and convolution.groups == 1 and convolution.bias is not None

    def _kernel(self, x: Tensor, z: Tensor | None) -> Tensor:
        return linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def is_plain(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether a module is torch's own Conv2d, padded by a number of zeros."""
    return type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)
