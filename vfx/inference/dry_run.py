"""Runs a network before its time: to see what it does with what, and to which size, over no images where it can."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

LARGE = 100_000_000  # parameters
T = TypeVar("T")


def watch(body: nn.Module, side: int, run: Callable[[Tensor], T]) -> T:
    """What `run` of images (B,3,side,side) returns, which should run `body` and take notes of it.

    B is 0, which takes next to no time: each layer makes nothing of nothing, but of the right size. A network that
    cannot do that is run over two images, after `run` may have taken notes of a part of it; over one, what it makes of
    its images could not be told from what it has of its own.
    """
    some = next(body.parameters())
    none = torch.zeros(0, 3, side, side, dtype=some.dtype, device=some.device)
    with torch.inference_mode(), one_thread(body):
        try:
            return run(none)
        except Exception:  # noqa: BLE001  (of whatever kind; if it is not for that, it is raised again)
            return run(none.new_zeros(2, *none.shape[1:]))


@contextmanager
def one_thread(body: nn.Module) -> Iterator[None]:
    """Run few images through a network in one thread, but for a very large one: threads that share so little work
    wait for each other, on a busy machine for seconds."""
    count = torch.get_num_threads()
    if sum(parameter.numel() for parameter in body.parameters()) < LARGE:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(count)
