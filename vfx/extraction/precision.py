"""In which precision a device computes: what it can do, and float32 by TensorFloat-32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from vfx.errors import UsageError


@contextmanager
def float32_by_tf32(allowed: bool) -> Iterator[None]:
    """Whether a GPU may compute float32 by TensorFloat-32 meanwhile.

    Raises UsageError where this process has set torch's `fp32_precision`, which torch mixes with nothing else.
    """
    cudnn: Any = torch.backends.cudnn
    try:
        convolutions, products = cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError as error:
        raise UsageError(
            "fp32_precision of torch.backends has been set in this process, beside which torch takes no other setting;"
            " leave it to vfx (tf32=true or false), or run it in a process of its own"
        ) from error
    # Not by `fp32_precision`, beside which torch's compiler fails.
    cudnn.allow_tf32 = allowed
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


def check_precision(precision: str, device: str, *, tf32: bool = False) -> None:
    """Raise UsageError where a processor has no instructions for a precision: it would take many times as long; and
    for `tf32` of what is no float32 on a GPU."""
    if tf32 and (device != "cuda" or precision != "32-true"):
        raise UsageError(
            f"tf32 (true) is for trainer.precision=32-true on a GPU by CUDA, not for {precision} on {device}"
        )
    lower = {"bf": "bf16", "16": "fp16"}.get(precision[:2])
    if device != "cpu" or lower is None:
        return
    able = [name for name, there in torch.cpu.get_capabilities().items() if lower in name and there]
    if not able:
        raise UsageError(
            f"trainer.precision ({precision}) would crawl: this processor has no instructions for {lower}"
            " (as AVX512-BF16 or AMX); take trainer.precision=32-true"
        )
