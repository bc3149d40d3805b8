"""How this process takes memory from the system and gives it back.

A layer of a network on the CPU can take the memory that the layer before it freed. Otherwise the system clears and maps
it anew each time, which took a quarter of EfficientNet-Lite0's CPU time. The constants are those of glibc's malloc.h,
see mallopt(3). With other C libraries, or if the user has set glibc's own variables, nothing is changed.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -3, -4, -8
NEVER = -1
# glibc's own, as they are once it has freed large blocks; before, it would have come to them step by step.
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = 64 << 20, 32 << 20, 1 << 16


def use_one_heap() -> None:
    """Let all threads take memory from one heap, so that each can use what another freed.

    Call it before a second thread takes memory, as libraries' threads do: glibc looks at the limit when it makes a
    further heap, and keeps those that it has. A further heap keeps nothing above 64 MiB.
    """
    if not _is_set_by_user("arena"):
        _call_glibc("mallopt", M_ARENA_MAX, 1)


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Keep the memory that this process frees inside; give it back at the end.

    Load networks before: the process has the most that it ever took until the end.
    """
    if _is_set_by_user("mmap", "trim"):
        yield
        return
    _call_glibc("mallopt", M_MMAP_MAX, 0)
    _call_glibc("mallopt", M_TRIM_THRESHOLD, NEVER)
    try:
        yield
    finally:
        _call_glibc("mallopt", M_MMAP_MAX, MMAP_MAX)
        _call_glibc("mallopt", M_MMAP_THRESHOLD, MMAP_THRESHOLD)
        _call_glibc("mallopt", M_TRIM_THRESHOLD, TRIM_THRESHOLD)
        _call_glibc("malloc_trim", 0)


def release_memory() -> None:
    """Collect garbage, and return free memory to the system and to CUDA devices.

    Lightning's objects refer to each other in cycles, which keep their tensors until the garbage collector runs.
    """
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    _call_glibc("malloc_trim", 0)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether an error of torch says that a device, or the CPU, had no memory left."""
    import torch  # late: see use_one_heap

    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error) or "allocate" in str(error)


def _is_set_by_user(*words: str) -> bool:
    """Whether a variable that glibc reads at the start sets a parameter with one of these words in its name."""
    variables = [name for name in os.environ if name.startswith("MALLOC_")] + [os.environ.get("GLIBC_TUNABLES", "")]
    return any(word in variable.lower() for word in words for variable in variables)


def _call_glibc(function: str, *arguments: int) -> None:
    with suppress(OSError, AttributeError):  # of another C library than GNU's
        getattr(ctypes.CDLL(None), function)(*arguments)
