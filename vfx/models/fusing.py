"""On a GPU: convolutions that add their bias and another input and take the ReLU in one kernel, where torch would go
through memory once more for each of these."""

from __future__ import annotations

import itertools
import logging
import operator
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.functional import relu

from vfx.models.folding import one_thread

log = logging.getLogger(__name__)
ADDITIONS = (operator.add, operator.iadd, torch.add)
RELUS = (relu, torch.relu, torch.relu_, "relu", "relu_")
MADE = "made"  # where a node's shape and dtype are noted


def fuse(body: nn.Module, side: int) -> nn.Module:
    """`body` with each convolution and the ReLU behind it made one, also where something of the same shape is added
    between them; what comes of a convolution must go nowhere else.

    `body`: in eval mode, with norms folded, (1,3,side,side) -> features; it is run to see the shapes, and its modules
    are the result's too. A network is left as it is whose course depends on what it is given: torch.fx cannot follow.
    """
    if not any(isinstance(module, nn.Conv2d) for module in body.modules()):
        return body
    some = next(body.parameters())
    image = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(some.device, some.dtype)
    try:
        made = fx.GraphModule(body, _Tracer().trace(body)).eval()
        with torch.inference_mode(), one_thread():
            torch.testing.assert_close(_Shapes(made).run(image), body(image))
    except Exception as error:  # noqa: BLE001  (of whatever kind, from the middle of a network's code)
        log.debug("not fused, for torch.fx cannot follow the network: %s", error)
        return body
    _skip_identities(made)
    fused = sum([_fuse_before(node, made) for node in list(made.graph.nodes) if _is_relu(node, made)])
    if not fused:
        return body
    made.graph.lint()
    made.recompile()
    made.delete_all_unused_submodules()
    return made


def multiply(body: nn.Module) -> int:
    """Replace, in place, convolutions of single pixels that have a bias, and are not fused, by matrix products, which
    add it as they go.

    For networks in channels_last memory, of which a product takes a view. Returns how many were replaced.
    """
    fused = {id(module.convolution) for module in body.modules() if isinstance(module, Fused)}
    there = [(name, m) for name, m in body.named_modules() if _is_of_pixels(m) and id(m) not in fused]
    for name, module in there:
        body.set_submodule(name, _Product(module))
    return len(there)


class Fused(nn.Module):
    """relu(convolution(x) + z), by cuDNN at once; step by step where that has no way to."""

    def __init__(self, convolution: nn.Module) -> None:
        super().__init__()
        self.convolution = convolution
        self.at_once = True

    def forward(self, x: Tensor, z: Tensor | None = None) -> Tensor:
        if self.at_once:
            try:
                return self._at_once(x, z)
            except RuntimeError as error:
                if isinstance(error, torch.OutOfMemoryError):
                    raise
                log.debug("not at once: %s: %s", self.convolution, error)
                self.at_once = False
        made = self.convolution(x)
        return relu(made if z is None else made + z)

    def _at_once(self, x: Tensor, z: Tensor | None) -> Tensor:
        own: Any = self.convolution
        x = x.to(own.weight.dtype)  # as autocast would have it
        shape = (own.stride, own.padding, own.dilation, own.groups)
        if z is None:
            return torch.cudnn_convolution_relu(x, own.weight, own.bias, *shape)
        return torch.cudnn_convolution_add_relu(x, own.weight, z.to(x.dtype), 1.0, own.bias, *shape)


class _Product(nn.Module):
    def __init__(self, convolution: Any) -> None:
        super().__init__()
        made = nn.Linear(convolution.in_channels, convolution.out_channels, device="meta")  # its weights are replaced
        made.weight = nn.Parameter(convolution.weight.detach().flatten(1), requires_grad=False)
        made.bias = convolution.bias
        self.linear = made

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _Shapes(fx.Interpreter):
    """Notes the shape and dtype of what each node makes."""

    def run_node(self, n: fx.Node) -> Any:
        made = super().run_node(n)
        n.meta[MADE] = (made.shape, made.dtype) if isinstance(made, Tensor) else None
        return made


class _Tracer(fx.Tracer):
    """Does not look into convolutions: those of timm measure what they are given."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        return isinstance(module, nn.Conv2d) or super().is_leaf_module(module, name)


def _skip_identities(made: fx.GraphModule) -> None:
    for node in made.graph.nodes:
        if isinstance(_module(node, made), (nn.Identity, nn.Dropout)):
            node.replace_all_uses_with(node.args[0])
            made.graph.erase_node(node)


def _fuse_before(end: fx.Node, made: fx.GraphModule) -> bool:
    """Make a ReLU and what leads to it one, where that can be."""
    (before,) = end.all_input_nodes
    if _is_free(before, made):
        convolution, given, gone = before, [before.args[0]], [end, before]
    elif addends := _addends(before, made):
        convolution, other = addends
        given, gone = [convolution.args[0], other], [end, before, convolution]
    else:
        return False
    name = f"{str(convolution.target).replace('.', '_')}_fused"
    made.add_submodule(name, Fused(made.get_submodule(str(convolution.target))))
    with made.graph.inserting_before(end):
        fused = made.graph.call_module(name, tuple(given))
    fused.meta[MADE] = end.meta[MADE]  # for those that come after
    end.replace_all_uses_with(fused)
    for node in gone:
        made.graph.erase_node(node)
    return True


def _addends(node: fx.Node, made: fx.GraphModule) -> tuple[fx.Node, fx.Node] | None:
    """A convolution, and what of the same shape is added to it, where a node is such an addition."""
    if node.op == "call_function" and node.target in ADDITIONS and len(node.users) == 1 and not node.kwargs:
        given = [value for value in node.args if isinstance(value, fx.Node)]
        for convolution, other in itertools.permutations(given[::-1], 2):
            if _is_free(convolution, made) and convolution.meta[MADE] == other.meta[MADE]:
                return convolution, other
    return None


def _is_free(node: fx.Node, made: fx.GraphModule) -> bool:
    """Whether it is a convolution with a bias, as torch has it, whose result is used once."""
    module = _module(node, made)
    return (
        type(module) is nn.Conv2d
        and module.bias is not None
        and module.padding_mode == "zeros"
        and not isinstance(module.padding, str)
        and len(node.users) == 1
        and sum(other.target == node.target for other in made.graph.nodes if other.op == "call_module") == 1
    )


def _is_relu(node: fx.Node, made: fx.GraphModule) -> bool:
    return isinstance(_module(node, made), nn.ReLU) or (
        node.op in ("call_function", "call_method") and node.target in RELUS
    )


def _module(node: fx.Node, made: fx.GraphModule) -> nn.Module | None:
    return made.get_submodule(str(node.target)) if node.op == "call_module" else None


def _is_of_pixels(module: nn.Module) -> bool:
    return (
        type(module) is nn.Conv2d
        and module.bias is not None
        and module.groups == 1
        and {*module.kernel_size, *module.stride} == {1}
        and not any(module.padding)
    )
