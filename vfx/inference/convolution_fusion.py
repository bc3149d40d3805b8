"""Replaces convolutions, with the addition and activation behind them, by ones that run in one kernel.

torch would read and write memory once more for each step. On one core this saves 9 % of a batch.
"""

from __future__ import annotations

import itertools
import logging
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.functional import relu

from vfx.inference.dry_run import dry_run, one_thread
from vfx.inference.fused_convolutions import CudnnConv, FusedConv, ZeroBuffer, is_plain

log = logging.getLogger(__name__)
ADDITIONS = (operator.add, operator.iadd, torch.add)
RELUS = (relu, torch.relu, torch.relu_, "relu", "relu_")
OUTPUT = "output"  # the key in a node's meta of its output's shape and dtype


def fuse_activations(body: nn.Module, side: int, kernel: type[FusedConv]) -> nn.Module:
    """Replace each convolution and the activation behind it by one module, also where a tensor is added between.

    A convolution whose output is used elsewhere too is left. So is the whole network where torch.fx cannot trace it
    (its control flow depends on its input), or where its features would change by more than rounding.

    Args:
        body: Network in eval mode with its norms folded, (B,3,side,side) -> features.
        side: Pixels of its input's side.
        kernel: What to fuse with.

    Returns:
        A torch.fx graph over the modules of `body`, or `body` itself.
    """
    if not kernel.is_available() or not any(isinstance(module, nn.Conv2d) for module in body.modules()):
        return body
    try:
        fused = _traced_and_fused(body, side, kernel)
        if fused is None or not _gives_same_features(fused, body, side):
            return body
    except Exception as error:  # noqa: BLE001  (any kind, raised inside the network's own code)
        log.debug("not fused, for torch.fx cannot follow the network: %s", error)
        return body
    zeros = ZeroBuffer()
    for module in fused.modules():
        if isinstance(module, FusedConv):
            module.use_kernel = True  # the comparison says nothing of it: device and precision may be others
        if isinstance(module, CudnnConv):
            module.zeros = zeros
    return fused


def replace_convolutions(body: nn.Module, kernel: type[FusedConv]) -> int:
    """Replace, in place, the convolutions that `kernel` supports and that are not fused yet. Returns their number."""
    if not kernel.is_available():
        return 0
    fused = {id(module.convolution) for module in body.modules() if isinstance(module, FusedConv)}
    found = [(name, m) for name, m in body.named_modules() if is_plain(m) and id(m) not in fused and kernel.supports(m)]
    for name, module in found:
        body.set_submodule(name, kernel(module))
    return len(found)


def _traced_and_fused(body: nn.Module, side: int, kernel: type[FusedConv]) -> fx.GraphModule | None:
    """The traced network after fusion; None where there is nothing to fuse."""
    traced = fx.GraphModule(body, _Tracer().trace(body)).eval()
    if not any(isinstance(_activation(node, traced), kernel.activations) for node in traced.graph.nodes):
        return None
    dry_run(body, side, _ShapeRecorder(traced).run)
    for node in traced.graph.nodes:
        if isinstance(_module(node, traced), (nn.Identity, nn.Dropout)):
            node.replace_all_uses_with(node.all_input_nodes[0])
            traced.graph.erase_node(node)
    fused = sum([_fuse_before(node, traced, kernel) for node in list(traced.graph.nodes)])
    traced.graph.lint()
    traced.recompile()
    return traced if fused else None


def _gives_same_features(fused: nn.Module, body: nn.Module, side: int) -> bool:
    some = next(body.parameters())
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(some.device, some.dtype)
    with torch.inference_mode(), one_thread(body):
        wanted, found = body(image), fused(image)
    # Rounding stays far below the bound; real faults, such as an input that changes before it is read, lie far above.
    bound = 1e-4 if some.dtype is torch.float32 else 3e-2
    same = torch.allclose(found, wanted, rtol=0, atol=bound * float(wanted.abs().max()))
    if not same:
        log.debug("not fused, for its features would be others")
    return same


class _ShapeRecorder(fx.Interpreter):
    """Records the shape and dtype of each node's output."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.extra_traceback = False  # on a failing node it would import sympy

    def run_node(self, n: fx.Node) -> Any:
        made = super().run_node(n)
        n.meta[OUTPUT] = (made.shape, made.dtype) if isinstance(made, Tensor) else None
        return made


class _Tracer(fx.Tracer):
    """Does not trace into convolutions: timm's look at the size of their input, and ours may fall back."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, (nn.Conv2d, FusedConv)) or super().is_leaf_module(module, name)


def _fuse_before(end: fx.Node, traced: fx.GraphModule, kernel: type[FusedConv]) -> bool:
    """Fuse an activation with what leads to it; False where `end` is none, or that is impossible."""
    activation = _activation(end, traced)
    if not isinstance(activation, kernel.activations):
        return False
    (before,) = end.all_input_nodes
    if _is_fusible(before, traced, kernel):
        convolution, given, gone = before, before.args, [end, before]
    elif isinstance(activation, nn.ReLU) and (addends := _addends(before, traced, kernel)):
        convolution, other = addends
        given, gone = (*convolution.args, other), [end, before, convolution]
    else:
        return False
    name = str(convolution.target)
    traced.set_submodule(name, kernel(traced.get_submodule(name), activation))
    with traced.graph.inserting_before(end):
        fused = traced.graph.call_module(name, given)
    fused.meta[OUTPUT] = end.meta[OUTPUT]  # for the nodes that come after
    end.replace_all_uses_with(fused)
    for node in gone:
        traced.graph.erase_node(node)
    return True


def _addends(node: fx.Node, traced: fx.GraphModule, kernel: type[FusedConv]) -> tuple[fx.Node, fx.Node] | None:
    """A fusible convolution and the tensor of the same shape that `node` adds to it; None for other nodes."""
    if node.op == "call_function" and node.target in ADDITIONS and len(node.users) == 1 and not node.kwargs:
        given = [value for value in node.args if isinstance(value, fx.Node)]
        for convolution, other in itertools.permutations(given[::-1], 2):
            same = convolution.meta[OUTPUT] == other.meta[OUTPUT]
            if same and convolution is not other and _is_fusible(convolution, traced, kernel):
                return convolution, other
    return None


def _is_fusible(node: fx.Node, traced: fx.GraphModule, kernel: type[FusedConv]) -> bool:
    """Whether a node is a supported convolution that is called once and whose output is used once."""
    module = _module(node, traced)
    return (
        module is not None
        and is_plain(module)
        and kernel.supports(module)
        and len(node.args) == len(node.users) == 1
        and not node.kwargs
        and sum(other.target == node.target for other in traced.graph.nodes if other.op == "call_module") == 1
    )


def _activation(node: fx.Node, traced: fx.GraphModule) -> nn.Module | None:
    """The module of a node; an nn.ReLU for a function or method that computes one."""
    if node.op in ("call_function", "call_method") and node.target in RELUS:
        return nn.ReLU()
    return _module(node, traced)


def _module(node: fx.Node, traced: fx.GraphModule) -> nn.Module | None:
    return traced.get_submodule(str(node.target)) if node.op == "call_module" else None
