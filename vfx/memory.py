"""The memory that networks take on a processor: what a layer frees is kept for the next one.

The system clears and maps anew what was given back to it; of EfficientNet-Lite0's processor time that took a quarter.
The numbers below are those of glibc's malloc.h, see mallopt(3); with other C libraries, and where the user has set
glibc's own variables, nothing is changed.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
NEVER = 2**31 - 1
# What glibc has of itself; the first once it has seen large blocks.
TRIM_THRESHOLD, MMAP_MAX = 64 << 20, 1 << 16


def take_one_heap() -> None:
    """Let all threads of this process take memory from one heap, so that none keeps for itself what others could use.

    glibc looks when it makes a thread's heap for the first time: call it before torch is imported, which has threads.
    """
    if not _is_told("arena"):
        _set(M_ARENA_MAX, 1)


@contextmanager
def kept() -> Iterator[None]:
    """Meanwhile, let this process keep the memory that it frees.

    The most that it has had at one time it has to the end, so networks should have been loaded before.
    """
    if _is_told("mmap", "trim"):
        yield
        return
    _set(M_MMAP_MAX, 0)
    _set(M_TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        _set(M_MMAP_MAX, MMAP_MAX)
        _set(M_TRIM_THRESHOLD, TRIM_THRESHOLD)


def _is_told(*words: str) -> bool:
    """Whether a variable that glibc reads at the start has set a parameter with one of these words in its name."""
    variables = [name for name in os.environ if name.startswith("MALLOC_")] + [os.environ.get("GLIBC_TUNABLES", "")]
    return any(word in variable.lower() for word in words for variable in variables)


def _set(parameter: int, value: int) -> None:
    with suppress(OSError, AttributeError):  # of another C library than GNU's
        ctypes.CDLL(None).mallopt(parameter, value)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says by an error that a device, or the processor, had no memory left."""
    import torch  # late: see take_one_heap

    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error) or "allocate" in str(error)
