"""Times pool, concat and export on synthetic rows beside a plain read of the same file, and shows their memory.

    python bench/derived.py [--rows 200000] [--dims 2048] [--folder DIR]

Each step runs in a process of its own; its memory is the kernel's high-water mark (Linux). Rates are of source rows,
start-up and fsync included; the plain read comes first and last, since the first one may come from the disk.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from vfx.features.rows import Rows
from vfx.features.writer import FeatureFileWriter

FRAMES = 20  # a video
READ = """
from vfx import FeatureFile
with FeatureFile('{folder}/bench/A') as file:
    for block in file.block_reader().blocks(0, len(file.ids)): block.sum()
"""
APP = "import vfx.{app} as app; app.main('collection={folder}/bench', 'output_dir={folder}', *{overrides!r})"
TAIL = "\nprint(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmHWM')))"
STEPS: list[tuple[str, str, list[str]]] = [
    ("plain read", "", []),
    ("pool mean", "pool", ["feature=A"]),
    ("pool gauss", "pool", ["feature=A", "pooling=gauss"]),
    ("concat A+B", "concat", ["features=A+B"]),
    ("export bigfile", "export", ["feature=A", "format=bigfile"]),
    ("plain read", "", []),
]


def make(path: Path, name: str, rows: int, dims: int, seed: int) -> None:
    attributes = {"feature": name, "collection": "bench", "config": "", "provenance": '{"recipe": {}}'}
    random = np.random.default_rng(seed)
    path.mkdir(parents=True)
    index = np.arange(FRAMES)
    with FeatureFileWriter(path / "features.h5", level="frame", shape=(dims,), attributes=attributes) as writer:
        for v in range(rows // FRAMES):
            block = random.random((FRAMES, dims), np.float32)
            writer.add_video(f"v{v:07d}", iter([Rows(block, index, index / 2)]))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=200_000)
    options.add_argument("--dims", type=int, default=2048)
    options.add_argument("--folder", help="where to work (default: a temporary folder); takes 5 times the matrix")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as work:
        for seed, name in enumerate("AB"):
            make(Path(work) / "bench" / name, name, chosen.rows, chosen.dims, seed)
        print(f"{chosen.rows} rows of {chosen.dims} float32")
        print(f"{'step':16}{'seconds':>9}{'rows/s':>10}{'MiB':>7}")
        for name, app, overrides in STEPS:
            code = APP.format(app=app, folder=work, overrides=overrides) if app else READ.format(folder=work)
            clock = "import time; t = time.perf_counter()\n"
            done = subprocess.run(
                [sys.executable, "-c", clock + code + "\nprint(time.perf_counter() - t)" + TAIL],
                capture_output=True, text=True, check=True,
            )  # fmt: skip
            seconds, kib = float(done.stdout.split()[-2]), int(done.stdout.split()[-1])
            print(f"{name:16}{seconds:9.1f}{chosen.rows / seconds:10.0f}{kib / 1024:7.0f}", flush=True)


if __name__ == "__main__":
    main()
