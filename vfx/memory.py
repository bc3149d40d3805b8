"""The memory that networks take: on a processor in large pages, of which the system clears and maps 2 MiB at a time."""

from __future__ import annotations

import os


def take_large_pages() -> None:
    """Have torch ask the system for large pages, where it has them (Linux, transparent huge pages).

    The outputs of layers are mapped anew for each batch; of EfficientNet-Lite0's processor time that took a quarter.
    torch looks once, when it first takes memory: call it before torch is imported. What the user has set stands.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # of torch's c10/core/impl/alloc_cpu.cpp


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says by an error that a device, or the processor, had no memory left."""
    import torch  # late: see take_large_pages

    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error) or "allocate" in str(error)
