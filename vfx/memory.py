"""Large pages for what networks hold on a processor: the system clears and maps 2 MiB at a time, not 4 KiB."""

from __future__ import annotations

import os


def take_large_pages() -> None:
    """Have torch ask the system for large pages, where it has them (Linux, transparent huge pages).

    The outputs of layers are mapped anew for each batch; of EfficientNet-Lite0's processor time that took a quarter.
    torch looks once, when it first takes memory: call it before torch is imported. What the user has set stands.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # of torch's c10/core/impl/alloc_cpu.cpp
