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

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -3, -4, -8
NEVER = -1
# glibc's own, as they are once it has freed large blocks; before, it would have come to them step by step.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = 64 << 20, 32 << 20, 1 << 16


def take_one_heap() -> None:
    """Let all threads of a command take memory from one heap, so that none keeps for itself what others could use.

    Call it before another thread than this one takes memory, as libraries' threads do: glibc looks when it makes the
    first of further heaps, and leaves those that there are. Without it what is above 64 MiB is not kept.
    """
    if not _is_told("arena"):
        _mallopt(M_ARENA_MAX, 1)


@contextmanager
def kept() -> Iterator[None]:
    """Meanwhile, let this process keep the memory that it frees; then it gives that back.

    What it has had at most it has until then, so networks should have been loaded before.
    """
    if _is_told("mmap", "trim"):
        yield
        return
    _mallopt(M_MMAP_MAX, 0)
    _mallopt(M_TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        _mallopt(M_MMAP_MAX, MMAP_MAX)
        _mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD)
        _mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD)
        give_back()


def give_back() -> None:
    """Have malloc return to the system what is free."""
    with suppress(OSError, AttributeError):  # of another C library than GNU's
        ctypes.CDLL(None).malloc_trim(0)


def _is_told(*words: str) -> bool:
    """Whether a variable that glibc reads at the start has set a parameter with one of these words in its name."""
    variables = [name for name in os.environ if name.startswith("MALLOC_")] + [os.environ.get("GLIBC_TUNABLES", "")]
    return any(word in variable.lower() for word in words for variable in variables)


def _mallopt(parameter: int, value: int) -> None:
    with suppress(OSError, AttributeError):  # of another C library than GNU's
        ctypes.CDLL(None).mallopt(parameter, value)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch says by an error that a device, or the processor, had no memory left."""
    import torch  # late: see take_one_heap

    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error) or "allocate" in str(error)
