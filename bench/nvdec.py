"""Frames per second that are decoded by a GPU (NVDEC, with torchcodec) and by all CPU cores as a run does it.

    python bench/nvdec.py [--rounds 3] [--seconds 20] [--clips N] [--sizes 640x360 1280x720 1920x1080] [--folder DIR]

A clip of one scene is made in each codec and size, with a key frame every 4 s, and B-frames where the codec has them.
It is read `clips` times. `cores`: as many processes as there are cores, each with PyAV as in a run; frames are dropped.
`nvdec n`: n threads, each with a `VideoDecoder(path, device="cuda")`, whose frames stay on the GPU. The time is that of
opening files, and finding and decoding the sampled frames as RGB of native size. The two take turns. `off by` is the
mean and the largest difference of their frames in levels, since GPUs convert colours differently.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from fractions import Fraction
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path
from statistics import median

import numpy as np
import torch
from decoders import LIST, by_vfx, encoded

from vfx.benchmark import synthetic_videos
from vfx.system.cpu_count import cores
from vfx.text import table

CODECS = ("H.264", "HEVC")
SAMPLING = {"all": Fraction(synthetic_videos.RATE), "2 per second": Fraction(2)}  # frames per second
DECODERS = (1, 4, 8)  # at once


def read(path: str, indices: list[int]) -> int:
    return sum(1 for _ in by_vfx(path, indices))


def on_gpu(path: str, indices: list[int]) -> int:
    """Decode on the GPU and count the frames; raises RuntimeError if torchcodec fell back to the CPU."""
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, device="cuda", dimension_order="NHWC")
    if decoder.cpu_fallback:
        raise RuntimeError(str(decoder.cpu_fallback))
    count = 0
    for at in range(0, len(indices), LIST):
        count += len(decoder.get_frames_at(indices[at : at + LIST]).data)
    torch.cuda.synchronize()
    return count


def at_once(executor: ThreadPoolExecutor, path: str, indices: list[int], clips: int) -> list[int]:
    return list(executor.map(on_gpu, [path] * clips, [indices] * clips))


def timed(work: Callable[[], list[int]], frames: int) -> float:
    """Frames per second."""
    start = time.perf_counter()
    counts = work()
    taken = time.perf_counter() - start
    if sum(counts) != frames:
        raise RuntimeError(f"{sum(counts)} frames of {frames}")
    return frames / taken


def difference(path: str, indices: list[int]) -> str:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, device="cuda", dimension_order="NHWC")
    theirs = decoder.get_frames_at(indices).data.cpu().numpy().astype(int)
    off = np.abs(theirs - np.stack(list(by_vfx(path, indices))))
    return f"{off.mean():.2f}, {off.max()}"


def measure(pool: Pool, path: str, indices: list[int], *, clips: int, rounds: int) -> list[str]:
    ways: dict[str, Callable[[], list[int]]] = {
        "cores": lambda: pool.starmap(read, [(path, indices)] * clips, chunksize=1)
    }
    threads = {n: ThreadPoolExecutor(n) for n in DECODERS}
    for n, executor in threads.items():
        ways[f"nvdec {n}"] = partial(at_once, executor, path, indices, clips)
    rates: dict[str, list[float]] = {way: [] for way in ways}
    try:
        for turn in range(rounds):
            for way in list(ways)[:: -1 if turn % 2 else 1]:
                rates[way].append(timed(ways[way], clips * len(indices)))
        cells = [f"{median(found):.0f}" for found in rates.values()]
        return [*cells, difference(path, indices[:LIST])]
    finally:
        for executor in threads.values():
            executor.shutdown()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=int, default=20)
    options.add_argument(
        "--clips", type=int, default=2 * cores(), help="how often each is read (default: twice per core)"
    )
    options.add_argument("--sizes", nargs="+", default=["640x360", "1280x720", "1920x1080"])
    options.add_argument("--folder", help="where the clips are made, or were before (default: a temporary folder)")
    chosen = options.parse_args()
    frames = chosen.seconds * synthetic_videos.RATE
    rows = [("codec", "size", "frames taken", f"{cores()} cores", *(f"nvdec {n}" for n in DECODERS), "off by")]
    if chosen.clips < cores():
        options.error(f"--clips ({chosen.clips}) must be at least one a core, of which there are {cores()}")
    with ExitStack() as stack:
        folder = Path(chosen.folder or stack.enter_context(tempfile.TemporaryDirectory())) / f"{chosen.seconds}s"
        folder.mkdir(parents=True, exist_ok=True)
        pool = stack.enter_context(multiprocessing.get_context("spawn").Pool(cores(), torch.set_num_threads, (1,)))
        pool.map(abs, range(cores()))
        for size in chosen.sizes:
            width, height = map(int, size.split("x"))
            clips = {codec: folder / f"{codec}-{height}p.mp4" for codec in CODECS}
            if not all(path.is_file() for path in clips.values()):
                clips = encoded(folder, (width, height), frames, codecs=CODECS)
            for codec, path in clips.items():
                on_gpu(str(path), [0])  # the first use sets up things that are not to be timed
                pool.starmap(read, [(str(path), [0])] * cores(), chunksize=1)
                for rate in SAMPLING.values():
                    every = synthetic_videos.RATE / rate
                    indices = [int(every * n) for n in range(frames) if every * n < frames]
                    found = measure(pool, str(path), indices, clips=chosen.clips, rounds=chosen.rounds)
                    rows.append((codec, size, f"{len(indices)} of {frames}", *found))
                    print(*rows[-1], file=sys.stderr)
    print(f"frames/s, medians of {chosen.rounds}; {torch.cuda.get_device_name()}")
    print("\n".join(table(rows, align="<<<>")))


if __name__ == "__main__":
    main()
