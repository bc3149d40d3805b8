"""What networks free on a processor is kept for what they take next, while they run."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, TOYDATA

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library decides by itself")
BYTES = 64 << 20  # glibc by itself keeps nothing of this size
WORK = f"""
import resource
import threading
from vfx.system import memory

def faults():
    def take():
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
        b"x" * {BYTES}
        taken.append(resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before)

    taken = []
    for _ in range(2):
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
    return taken[-1]

memory.use_one_heap()
before = faults()
with memory.keep_freed_memory():
    meanwhile = faults()
print(before, meanwhile, faults())
"""


def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_TUNABLES"))}


@pytest.mark.parametrize(
    ("environment", "stands"),
    [
        ({}, False),
        ({"MALLOC_TRIM_THRESHOLD_": "131072"}, True),
        ({"MALLOC_ARENA_MAX": "8"}, True),  # whose heaps do not grow to this size
        ({"GLIBC_TUNABLES": "glibc.malloc.mmap_max=65536"}, True),
    ],
)
def test_it_is_kept_unless_the_user_has_decided(environment: dict[str, str], stands: bool) -> None:
    printed = subprocess.check_output([sys.executable, "-c", WORK], env=clean() | environment, cwd=ROOT)
    before, meanwhile, after = (int(count) for count in printed.split())
    assert before > 16 < after  # of up to 4 MiB each
    assert meanwhile > before / 2 if stands else meanwhile < before / 4


def test_it_is_kept_from_the_networks_setup_to_their_end() -> None:
    code = f"""
import resource
from vfx.system import fast_imports, memory

def faults():
    b"x" * {BYTES}
    before = resource.getrusage(resource.RUSAGE_THREAD).ru_minflt
    b"x" * {BYTES}
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt - before

memory.use_one_heap()
fast_imports.load("pytorch_lightning")
from pytorch_lightning import Trainer
from vfx.inference.encoder import Encoder
from vfx.extraction.lightning_module import Extractor
from vfx.models import efficientnet_lite

extractor = Extractor([Encoder(efficientnet_lite.build())])
extractor.trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
before = faults()
extractor.setup("predict")
meanwhile = faults()
extractor.close()
print(before, meanwhile, faults())
"""
    printed = subprocess.check_output([sys.executable, "-c", code], env=clean(), cwd=ROOT, stderr=subprocess.DEVNULL)
    before, meanwhile, after = (int(count) for count in printed.split())
    assert before > 16 < after
    assert meanwhile < before / 4


def test_what_was_kept_is_given_back() -> None:
    code = f"""
from pathlib import Path
from vfx.system import memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

with memory.keep_freed_memory():
    blocks = [b"x" * {BYTES} for _ in range(4)]
    above = b"x" * 1000  # behind which nothing can be trimmed
    del blocks
    print(resident())
print(resident())
"""
    during, after = map(int, subprocess.check_output([sys.executable, "-c", code], env=clean(), cwd=ROOT).split())
    assert during > 4 * BYTES
    assert after < BYTES


def test_all_threads_of_an_extraction_have_one_heap(tmp_path: Path) -> None:
    report = tmp_path / "heaps.xml"
    code = f"""
import ctypes
from vfx import extract

extract.main("collection={TOYDATA}", "sampler=uniform", "sampler.num_frames=1", "output_dir={tmp_path}")
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(b"{report}", b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""
    subprocess.run([sys.executable, "-c", code], env=clean(), cwd=ROOT, check=True, capture_output=True)
    assert report.read_text().count("<heap nr=") == 1
