"""Runs a network once before a run, to record its calls and shapes; over an empty batch where it can."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

from vfx.inference.executors import one_torch_thread

LARGE = 100_000_000  # parameters
T = TypeVar("T")


def dry_run(body: nn.Module, side: int, run: Callable[[Tensor], T]) -> T:
    """Call `run`, which runs `body` and records what it needs, with an empty batch of images.

    An empty batch costs next to nothing, and each layer's output still has the right size. A network that fails on it
    gets two images, after `run` may have recorded a part of it. One image would not do: tensors that depend on the
    batch could not be told from those that do not.

    Args:
        body: The network, whose first parameter says the dtype and device of the images.
        side: Pixels of the images' side.
        run: From images (B,3,side,side), B of 0 or 2, to anything.

    Returns:
        What `run` returned.
    """
    some = next(body.parameters())
    none = torch.zeros(0, 3, side, side, dtype=some.dtype, device=some.device)
    with torch.inference_mode(), one_thread(body):
        try:
            return run(none)
        except Exception:  # noqa: BLE001  (any kind; if the empty batch is not its cause, it is raised again)
            return run(none.new_zeros(2, *none.shape[1:]))


def one_thread(body: nn.Module) -> AbstractContextManager[None]:
    """Limit torch to one thread meanwhile, unless `body` is very large.

    Threads that share so little work wait for each other, for seconds on a busy machine.
    """
    small = sum(parameter.numel() for parameter in body.parameters()) < LARGE
    return one_torch_thread() if small else nullcontext()
