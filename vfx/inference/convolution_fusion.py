"""Convolutions in one kernel with what follows them, a bias, an addition, an activation: torch would go through memory
once more for each."""

from __future__ import annotations

import itertools
import logging
import operator
from typing import Any, ClassVar, TypeGuard

import torch
from torch import Tensor, fx, nn
from torch.nn.functional import linear, relu

from vfx.inference.dry_run import one_thread, watch
from vfx.system.memory import is_out_of_memory

log = logging.getLogger(__name__)
ADDITIONS = (operator.add, operator.iadd, torch.add)
RELUS = (relu, torch.relu, torch.relu_, "relu", "relu_")
MADE = "made"  # where a node's shape and dtype are noted


class Fused(nn.Module):
    """activation(convolution(x) + z) by a library's own kernel; step by step where that has no way to.

    `activations`: those that the kernel knows; after an addition it is a ReLU.
    """

    activations: ClassVar[tuple[type[nn.Module], ...]] = ()

    def __init__(self, convolution: nn.Module, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.convolution: Any = convolution
        self.activation = activation
        self.at_once = True

    @classmethod
    def suits(cls, convolution: nn.Conv2d) -> bool:
        """Whether the kernel should have a convolution that is as torch has it, with zeros for padding."""
        return True

    @classmethod
    def is_there(cls) -> bool:
        """Whether this torch has the kernel."""
        return True

    def __getattr__(self, name: str) -> Any:
        """What else a convolution has, for networks that ask theirs for it, as timm's do for dtype and stride."""
        modules = self.__dict__.get("_modules", {})
        if name in modules or "convolution" not in modules:
            return super().__getattr__(name)
        return getattr(modules["convolution"], name)

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        if not self.at_once:
            return self._in_steps(x, z)
        try:
            lower = x.to(self.weight.dtype)  # as autocast would have it
            return self._at_once(lower, None if z is None else z.to(lower.dtype))
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            made = self._in_steps(x, z)
            log.debug("not at once: %s: %s", self.convolution, error)
            self.at_once = False  # now that there was memory, whose lack libraries do not always name
            return made

    def _in_steps(self, x: Tensor, z: Tensor | None) -> Tensor:
        made: Tensor = self.convolution(x)
        made = made if z is None else made + z
        return made if self.activation is None else self.activation(made)

    def _at_once(self, x: Tensor, z: Tensor | None) -> Tensor:
        raise NotImplementedError


class ByCudnn(Fused):
    """On a GPU, but for depthwise convolutions, for which torch has kernels of its own."""

    activations = (nn.ReLU,)

    def __init__(self, convolution: nn.Module, activation: nn.Module | None = None) -> None:
        super().__init__(convolution, activation)
        self.zeros = Zeros()

    @classmethod
    def suits(cls, convolution: nn.Conv2d) -> bool:
        return convolution.bias is not None and not convolution.groups == convolution.in_channels > 1

    def _at_once(self, x: Tensor, z: Tensor | None) -> Tensor:
        own = self.convolution
        # torch's own call without an addition adds nothing times memory as it finds it, where a NaN may lie.
        added, times = (self.zeros.like(own, x), 0.0) if z is None else (z, 1.0)
        shape = (own.stride, own.padding, own.dilation, own.groups)
        return torch.cudnn_convolution_add_relu(x, own.weight, added, times, own.bias, *shape)


class Zeros:
    """Zeros in the shape of what convolutions make, all in the same memory."""

    def __init__(self) -> None:
        self._memory = torch.zeros(0)

    def like(self, convolution: nn.Conv2d, x: Tensor) -> Tensor:
        """(B,out_channels,h,w), in the memory layout of `x`."""
        count, _, *sides = x.shape
        own: Any = zip(
            sides, convolution.padding, convolution.dilation, convolution.kernel_size, convolution.stride, strict=True
        )
        height, width = ((side + 2 * p - d * (k - 1) - 1) // s + 1 for side, p, d, k, s in own)
        values = count * height * width * convolution.out_channels
        if self._memory.numel() < values or (self._memory.device, self._memory.dtype) != (x.device, x.dtype):
            self._memory = torch.zeros(0)  # let go of first
            self._memory = torch.zeros(values, device=x.device, dtype=x.dtype)
        some = self._memory[:values]
        if x.is_contiguous(memory_format=torch.channels_last):
            return some.view(count, height, width, -1).permute(0, 3, 1, 2)
        return some.view(count, -1, height, width)


class OneDnnConv(Fused):
    """On a processor. In a thread of its own torch would compute convolutions of single pixels in float32 in another
    way, the slower one (`use_mkldnn` of its Convolution.cpp)."""

    activations = (nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish)
    NAMES: ClassVar[dict[type, tuple[str, list[float]]]] = {
        nn.ReLU: ("relu", []),
        nn.ReLU6: ("hardtanh", [0.0, 6.0]),
        nn.SiLU: ("swish", []),
        nn.Hardswish: ("hardswish", []),
        type(None): ("none", []),
    }

    @classmethod
    def is_there(cls) -> bool:
        return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_convolution_pointwise")

    def _at_once(self, x: Tensor, z: Tensor | None) -> Tensor:
        own, kernel = self.convolution, torch.ops.mkldnn._convolution_pointwise
        given = (own.weight, own.bias, own.padding, own.stride, own.dilation, own.groups)
        after = (*self.NAMES[type(self.activation)], "")
        made: Tensor = kernel(x, *given, *after) if z is None else kernel.binary(x, z, *given, "add", 1.0, *after)
        return made


class ByProduct(Fused):
    """A convolution of single pixels as a product of matrices, which adds the bias as it goes. For channels_last
    memory, of which it takes a view."""

    @classmethod
    def suits(cls, convolution: nn.Conv2d) -> bool:
        single = {*convolution.kernel_size, *convolution.stride} == {1} and not any(map(int, convolution.padding))
        return single and convolution.groups == 1 and convolution.bias is not None

    def _at_once(self, x: Tensor, z: Tensor | None) -> Tensor:
        return linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


def fuse(body: nn.Module, side: int, by: type[Fused]) -> nn.Module:
    """`body` with each convolution and the activation behind it made one `by` a library, also where something of the
    same shape is added between them; what comes of a convolution must go nowhere else.

    `body`: in eval mode, with norms folded, (B,3,side,side) -> features; it is run to see the shapes, and whether the
    features stay, and its modules are the result's too. A network is left as it is whose course depends on what it is
    given, which torch.fx cannot follow, or whose features would be others.
    """
    if not by.is_there() or not any(isinstance(module, nn.Conv2d) for module in body.modules()):
        return body
    some = next(body.parameters())
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(some.device, some.dtype)
    try:
        made = fx.GraphModule(body, _Tracer().trace(body)).eval()
        if not any(isinstance(_activation(node, made), by.activations) for node in made.graph.nodes):
            return body
        watch(body, side, _Shapes(made).run)
        if not _fuse_all(made, by):
            return body
        with torch.inference_mode(), one_thread(body):
            wanted, found = body(image), made(image)
    except Exception as error:  # noqa: BLE001  (of whatever kind, from the middle of a network's code)
        log.debug("not fused, for torch.fx cannot follow the network: %s", error)
        return body
    # Rounding is far below; what else may be wrong, as an input that changes before it is read, is far above.
    bound = 1e-4 if some.dtype is torch.float32 else 3e-2
    if not torch.allclose(found, wanted, rtol=0, atol=bound * float(wanted.abs().max())):
        log.debug("not fused, for its features would be others")
        return body
    fused = [module for module in made.modules() if isinstance(module, Fused)]
    zeros = Zeros()
    for module in fused:
        module.at_once = True  # which is not to be known here: the device and the precision may be others
        if isinstance(module, ByCudnn):
            module.zeros = zeros
    return made


def wrap(body: nn.Module, by: type[Fused]) -> int:
    """Have a library's kernel make convolutions that it suits and that are not fused, in place. Returns how many."""
    if not by.is_there():
        return 0
    fused = {id(module.convolution) for module in body.modules() if isinstance(module, Fused)}
    there = [(name, m) for name, m in body.named_modules() if _is_plain(m) and id(m) not in fused and by.suits(m)]
    for name, module in there:
        body.set_submodule(name, by(module))
    return len(there)


class _Shapes(fx.Interpreter):
    """Notes the shape and dtype of what each node makes."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.extra_traceback = False  # where a node fails; sympy would be imported for it

    def run_node(self, n: fx.Node) -> Any:
        made = super().run_node(n)
        n.meta[MADE] = (made.shape, made.dtype) if isinstance(made, Tensor) else None
        return made


class _Tracer(fx.Tracer):
    """Does not look into convolutions: those of timm measure what they are given, and ours may fall back."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, (nn.Conv2d, Fused)) or super().is_leaf_module(module, name)


def _fuse_all(made: fx.GraphModule, by: type[Fused]) -> int:
    for node in made.graph.nodes:
        if isinstance(_module(node, made), (nn.Identity, nn.Dropout)):
            node.replace_all_uses_with(node.all_input_nodes[0])
            made.graph.erase_node(node)
    fused = sum([_fuse_before(node, made, by) for node in list(made.graph.nodes)])
    made.graph.lint()
    made.recompile()
    return fused


def _fuse_before(end: fx.Node, made: fx.GraphModule, by: type[Fused]) -> bool:
    """Make an activation and what leads to it one, where it is one and that can be."""
    activation = _activation(end, made)
    if not isinstance(activation, by.activations):
        return False
    (before,) = end.all_input_nodes
    if _is_free(before, made, by):
        convolution, given, gone = before, before.args, [end, before]
    elif isinstance(activation, nn.ReLU) and (addends := _addends(before, made, by)):
        convolution, other = addends
        given, gone = (*convolution.args, other), [end, before, convolution]
    else:
        return False
    name = str(convolution.target)
    made.set_submodule(name, by(made.get_submodule(name), activation))
    with made.graph.inserting_before(end):
        fused = made.graph.call_module(name, given)
    fused.meta[MADE] = end.meta[MADE]  # for those that come after
    end.replace_all_uses_with(fused)
    for node in gone:
        made.graph.erase_node(node)
    return True


def _addends(node: fx.Node, made: fx.GraphModule, by: type[Fused]) -> tuple[fx.Node, fx.Node] | None:
    """A convolution, and what of the same shape is added to it, where a node is such an addition."""
    if node.op == "call_function" and node.target in ADDITIONS and len(node.users) == 1 and not node.kwargs:
        given = [value for value in node.args if isinstance(value, fx.Node)]
        for convolution, other in itertools.permutations(given[::-1], 2):
            same = convolution.meta[MADE] == other.meta[MADE]
            if same and convolution is not other and _is_free(convolution, made, by):
                return convolution, other
    return None


def _is_free(node: fx.Node, made: fx.GraphModule, by: type[Fused]) -> bool:
    """Whether it is a convolution that suits, whose result is used once."""
    module = _module(node, made)
    return (
        module is not None
        and _is_plain(module)
        and by.suits(module)
        and len(node.args) == len(node.users) == 1
        and not node.kwargs
        and sum(other.target == node.target for other in made.graph.nodes if other.op == "call_module") == 1
    )


def _activation(node: fx.Node, made: fx.GraphModule) -> nn.Module | None:
    """The module that a node is; for a function or a method that is a ReLU, one of that kind."""
    if node.op in ("call_function", "call_method") and node.target in RELUS:
        return nn.ReLU()
    return _module(node, made)


def _module(node: fx.Node, made: fx.GraphModule) -> nn.Module | None:
    return made.get_submodule(str(node.target)) if node.op == "call_module" else None


def _is_plain(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether it is a convolution as torch has it, whose padding is of zeros, by their number."""
    return type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)
