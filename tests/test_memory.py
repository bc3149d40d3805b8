"""What networks hold on a processor lies in large pages."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")
WORK = """
import resource
from vfx import memory

memory.take_large_pages()
import torch

torch.ones(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
torch.ones(64 << 20, dtype=torch.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.dear
@pytest.mark.skipif(not ENABLED.is_file() or "[never]" in ENABLED.read_text(), reason="this system has no large pages")
def test_torch_touches_few_pages() -> None:
    def faults(**environment: str) -> int:
        clean = {name: value for name, value in os.environ.items() if name != "THP_MEM_ALLOC_ENABLE"}
        return int(subprocess.check_output([sys.executable, "-c", WORK], env=clean | environment))

    pages = (64 << 20) // 4096
    if "[always]" not in ENABLED.read_text():
        assert faults(THP_MEM_ALLOC_ENABLE="0") >= pages  # the user's word stands
    assert faults() < pages / 4
