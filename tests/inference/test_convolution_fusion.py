"""Fusing leaves the features as they are, and touches only what it may; tests/test_gpu.py does it where it counts."""

import copy
import pickle
from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from tests.inference.test_batchnorm_folding import random_norms
from vfx.inference.batchnorm_folding import fold_batch_norms
from vfx.inference.convolution_fusion import fuse_activations, replace_convolutions
from vfx.inference.fused_convolutions import CudnnConv, FusedConv, MatmulConv, OneDnnConv, ZeroBuffer
from vfx.inference.split_attention import replace_split_attention


def images(n: int = 2) -> Tensor:
    return torch.randn(n, 3, 64, 64, generator=torch.Generator().manual_seed(1))


def fused(body: nn.Module) -> int:
    return sum(isinstance(module, FusedConv) for module in body.modules())


def adding(body: nn.Module) -> nn.Module:
    assert replace_split_attention(body)
    return body


@pytest.mark.parametrize(
    ("make", "relus", "products", "activations"),
    [
        (lambda: torchvision.models.resnet18(), 17, 0, 17),
        (lambda: torchvision.models.resnext50_32x4d(), 49, 4, 49),
        (lambda: timm.create_model("resnet26d"), 27, 4, 27),
        (lambda: timm.create_model("resnest14d"), 19, 8, 19),
        (lambda: adding(timm.create_model("resnest14d")), 19, 8, 19),
        (lambda: timm.create_model("regnetx_002"), 40, 4, 40),
        (lambda: torchvision.models.densenet121(), 59, 0, 59),  # half of its ReLUs follow norms
        (lambda: torchvision.models.mobilenet_v3_small(), 11, 29, 32),  # Hardswish
        (lambda: timm.create_model("efficientnet_lite0"), 0, 32, 33),  # ReLU6
        (lambda: timm.create_model("tf_efficientnet_lite0"), 0, 32, 28),  # and five padded by themselves
        (lambda: timm.create_model("efficientnet_b0"), 0, 64, 49),  # SiLU
        (lambda: timm.create_model("convnext_atto"), 0, 24, 0),
    ],
)
def test_features_stay(make: Callable[[], nn.Module], relus: int, products: int, activations: int) -> None:
    before = random_norms(make())
    fold_batch_norms(before, 64)
    wanted = before(images())
    gpu, exact, cpu = (copy.deepcopy(before) for _ in range(3))
    gpu = fuse_activations(gpu, 64, CudnnConv)
    assert (fused(gpu), replace_convolutions(gpu, MatmulConv)) == (relus, products)
    assert replace_convolutions(exact, MatmulConv) >= products
    exact = fuse_activations(exact, 64, CudnnConv)
    assert sum(isinstance(module, CudnnConv) for module in exact.modules()) <= relus
    cpu = fuse_activations(cpu, 64, OneDnnConv)
    assert fused(cpu) == activations
    there = sum(type(module) is nn.Conv2d for module in before.modules())
    assert replace_convolutions(cpu, OneDnnConv) == there - activations
    for body in (gpu, exact, cpu):
        assert not body.training
        torch.testing.assert_close(body(images()), wanted, rtol=0, atol=3e-6 * float(wanted.abs().max()))
    if torch.backends.mkldnn.is_available():
        assert all(module.use_kernel for module in cpu.modules() if isinstance(module, FusedConv))


class Net(nn.Module):
    def __init__(self, course: Callable[["Net", Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.plain = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.course = course
        self.eval().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.course(self, x)


def test_a_convolution_without_bias_is_for_a_cpu_alone() -> None:
    net = Net(lambda net, x: net.relu(net.plain(net.relu(net.a(x)))))
    assert [fused(fuse_activations(net, 64, by)) for by in (CudnnConv, OneDnnConv)] == [1, 2]


def later(net: Net, x: Tensor) -> Tensor:
    """What the convolution has read changes before the ReLU."""
    made = net.a(x)
    x.zero_()
    return net.relu(made)


@pytest.mark.parametrize(
    ("course", "count"),
    [
        (lambda net, x: net.relu(net.a(x)), 1),
        (lambda net, x: torch.relu(net.b(torch.relu_(net.a(x)))), 2),
        (lambda net, x: net.a(x).relu(), 1),
        (lambda net, x: net.relu(net.b(y := net.relu(net.a(x))) + y), 2),
        (lambda net, x: net.relu((y := net.a(x)) + y), 0),  # to itself
        (lambda net, x: net.relu(net.a(input=x)), 0),
        (lambda net, x: net.relu(net.a(x) + net.a(x + 1)), 0),  # one convolution, twice
        (lambda net, x: net.relu(y := net.a(x)) + y, 0),  # past the ReLU
        (lambda net, x: net.relu(z := net.b(net.a(x)) + 1) + z, 0),  # a number is added
        (lambda net, x: net.relu(net.b(y := net.a(x)) + y.mean(1, keepdim=True)), 0),  # of another shape
        (lambda net, x: net.relu(torch.add(net.b(y := net.a(x)), y, alpha=2)), 0),
        (lambda net, x: net.relu(net.b(y := net.a(x)) - y), 0),
        (lambda net, x: net.relu(net.b(y := net.a(x))) + y.add_(1), 1),
        (lambda net, x: later(net, x.clone()), 0),
        (lambda net, x: net.relu(net.a(x) if x.mean() > 0 else -net.a(x)), 0),  # torch.fx cannot follow
    ],
)
def test_what_may_not_be_fused_is_left(course: Callable[[Net, Tensor], Tensor], count: int) -> None:
    net = Net(course)
    wanted = net(images())
    for by in (CudnnConv, OneDnnConv):
        made = fuse_activations(net, 64, by)
        assert fused(made) == count
        assert (made is net) == (count == 0)
        torch.testing.assert_close(made(images()), wanted)


def preactivated(net: Net, x: Tensor) -> Tensor:
    """The shortcut is convolved from what a ReLU then changes in place."""
    y = net.a(x)
    short = net.b(y)
    out = net.b_(net.relu(y))
    out += short
    return net.relu(out)


def test_an_input_that_changes_before_the_relu_is_seen() -> None:
    net = Net(preactivated)
    net.b_ = nn.Conv2d(4, 4, 3, padding=1)
    wanted = net(images())
    torch.testing.assert_close(fuse_activations(net, 64, CudnnConv)(images()), wanted)


def test_names_that_look_alike_stay_apart() -> None:
    net = Net(lambda net, x: net.relu(net.layer_1.b(net.relu(net.layer["1_b"](x)))))
    net.layer, net.layer_1 = nn.ModuleDict({"1_b": net.a}), nn.ModuleDict({"b": net.b})
    net.layer_1.b = net.b
    del net.a, net.b
    net.eval().requires_grad_(False)
    wanted = net(images())
    made = fuse_activations(net, 64, OneDnnConv)
    assert fused(made) == 2
    torch.testing.assert_close(made(images()), wanted)


@pytest.mark.parametrize("name", ["edgenext_xx_small", "xcit_nano_12_p16_224", "davit_tiny"])
def test_networks_that_ask_a_convolution_what_it_is(name: str) -> None:
    """Timm's positions are encoded in the dtype of a layer's weight, or fitted to its kernel."""
    body = random_norms(timm.create_model(name))
    wanted = body(images(1).repeat(1, 1, 4, 4)[..., :224, :224])
    counts = []
    for by in (MatmulConv, OneDnnConv):
        made = copy.deepcopy(body)
        counts.append(replace_convolutions(made, by))
        found = made(images(1).repeat(1, 1, 4, 4)[..., :224, :224])
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))
    assert counts[1] > 0


def test_without_a_librarys_kernel_nothing_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(lambda net, x: net.relu(net.a(x)))
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert fuse_activations(net, 64, OneDnnConv) is net
    assert replace_convolutions(net, OneDnnConv) == 0


def test_a_fused_network_is_copied_and_pickled() -> None:
    net = torchvision.models.resnet18().eval().requires_grad_(False)
    fold_batch_norms(net, 64)
    wanted = net(images())
    made = fuse_activations(net, 64, OneDnnConv)
    replace_convolutions(made, OneDnnConv)
    for again in (copy.deepcopy(made), pickle.loads(pickle.dumps(made))):
        torch.testing.assert_close(again(images()), wanted)


def test_zeros_have_the_shape_of_what_a_convolution_makes() -> None:
    zeros = ZeroBuffer()
    for convolution in (
        nn.Conv2d(3, 8, (3, 5), stride=2, padding=1, dilation=2),
        nn.Conv2d(3, 4, 1),
        nn.Conv2d(3, 9, 7),
    ):
        for layout in (torch.channels_last, torch.contiguous_format):
            x = images().to(memory_format=layout)
            made, wanted = zeros.like(convolution, x), convolution(x)
            assert (made.shape, made.dtype, int(made.count_nonzero())) == (wanted.shape, wanted.dtype, 0)
            assert made.is_contiguous(memory_format=layout)


def test_a_network_that_counts_its_runs_is_left() -> None:
    """What torch.fx has written down once would count no more."""

    def course(net: Net, x: Tensor) -> Tensor:
        net.runs = getattr(net, "runs", 0) + 1
        return net.relu(net.a(x)) * net.runs

    net = Net(course)
    assert fuse_activations(net, 64, OneDnnConv) is net


def test_what_cudnn_cannot_do_goes_step_by_step() -> None:
    made = CudnnConv(nn.Conv2d(3, 4, 3), nn.ReLU())
    with torch.inference_mode():
        torch.testing.assert_close(made(images(), -torch.ones(1)), torch.relu(made.convolution(images()) - 1))
    assert not made.use_kernel


def test_no_memory_is_not_taken_for_that(monkeypatch: pytest.MonkeyPatch) -> None:
    made = CudnnConv(nn.Conv2d(3, 4, 3), nn.ReLU())

    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch, "cudnn_convolution_add_relu", fail)
    with pytest.raises(torch.OutOfMemoryError):
        made(images())
    assert made.use_kernel
