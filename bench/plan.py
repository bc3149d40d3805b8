"""What a large collection costs, in hours of cores and GPUs, disk and files, from the numbers of a bench.

    python bench/plan.py bench/results/2026-11-24-epyc-2-cores.json [--precision bf16-mixed] [--share 0.4]

Per hour of video: source frames by what `decode` measured of a core. Per sampled frame: the core seconds that
`network` measured, for its model; or on a GPU, operations by `--share` of the peak of an H100 in bf16, which is an
assumption and no measurement. Bytes: the row, and what lies beside it. `cores a GPU`: how many decode as fast as one
GPU takes frames. `--lists` measures instead what the list of a million videos takes: memory, bytes told to a rank, and
processor seconds to share it out among 64.
"""

from __future__ import annotations

import argparse
import json
import pickle
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

from vfx.batches import share
from vfx.collection import Source

RATE = 25  # source frames a second of video
SAMPLED = 2  # a second
PEAK = 989e12  # operations a second of an H100 in bf16, dense, as NVIDIA states it
BESIDE = 80  # bytes a row of ids, index and seconds


@dataclass(frozen=True)
class Plan:
    """`hours` of video."""

    name: str
    videos: int
    hours: float
    frames: int


# IACC.3: the TRECVID AVS collection of 2016 to 2018. V3C: Rossetto et al. 2019. The last: five minutes a video.
PLANS = (
    Plan("IACC.3", 4_593, 3_850_000 / SAMPLED / 3600, 3_850_000),
    Plan("V3C", 28_450, 3_800, 3_800 * 3600 * SAMPLED),
    Plan("a billion frames", 1_666_667, 1e9 / SAMPLED / 3600, 1_000_000_000),
)
# Operations an image, crops a frame, and values a row
MODELS: dict[str, tuple[float | None, int, int]] = {
    "efficientnet_lite0": (None, 1, 1280),  # bounded by memory on a GPU, not by operations
    "resnet50": (8.2e9, 1, 2048),
    "resnext101_32x8d": (32.8e9, 1, 2048),
    "resnext101_32x48d, ten crops": (307e9, 10, 2048),
    "resnest269": (155e9, 1, 2048),
}


def hours(seconds: float) -> str:
    return f"{seconds / 3600:,.{2 if seconds < 3600 else 1 if seconds < 36_000 else 0}f}"


def lists(videos: int = 1_000_000, ranks: int = 64) -> None:
    tracemalloc.start()
    sources = [Source(f"video{n:07d}", f"/data/mine/VideoData/{n % 1000}/video{n:07d}.mp4", n) for n in range(videos)]
    held = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    told = len(pickle.dumps(sources))
    start = time.process_time()
    share(sources, 0, ranks)
    took = time.process_time() - start
    print(
        f"{videos:,} videos: {held / 2**20:.0f} MiB, {told / 1e6:.0f} MB to tell, {took:.1f} s to share out to {ranks}"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lists", action="store_true")
    options.add_argument("bench", type=Path, nargs="?", help="what python -m vfx.bench json=... wrote")
    options.add_argument("--precision", default="bf16-mixed", help="of the network on processors")
    options.add_argument("--share", type=float, default=0.4, help="of a GPU's peak that a network reaches")
    chosen = options.parse_args()
    if chosen.lists:
        lists()
        return
    if chosen.bench is None:
        options.error("bench: the file of a bench, or --lists")
    bench = json.loads(chosen.bench.read_text())
    took = {f"{stage['stage']} {stage['variant']}": stage["processor"] for stage in bench["stages"]}
    decode = bench["asked"]["frames"] / took["decode auto, 1 worker"]  # source frames a second and core
    network = took[f"network {chosen.precision}, channels_last"] / bench["asked"]["sampled"]
    measured = bench["asked"]["feature"].partition(",")[0]
    print(f"{bench['asked']['collection']}: a core decodes {decode:,.0f} frames a second;")
    print(f"{measured} takes {1000 * network:.1f} ms of a core a frame in {chosen.precision}")
    print()
    head = (
        "collection", "model", "videos", "frames", "decode, core h", "network, core h", "network, GPU h",
        "cores a GPU", "file", "float16",
    )  # fmt: skip
    rows = [head]
    for plan in PLANS:
        reading = plan.hours * 3600 * RATE / decode
        for model, (operations, crops, dims) in MODELS.items():
            on_gpu = plan.frames * crops * operations / (chosen.share * PEAK) if operations else 0.0
            sizes = [f"{plan.frames * (size * dims + BESIDE) / 1e9:,.0f} GB" for size in (4, 2)]
            rows.append(
                (
                    plan.name,
                    model,
                    f"{plan.videos:,}",
                    f"{plan.frames:,}",
                    hours(reading),
                    hours(plan.frames * network) if model == measured else "",
                    hours(on_gpu) if on_gpu else "",
                    f"{reading / on_gpu:,.{1 if reading < 10 * on_gpu else 0}f}" if on_gpu else "",
                    *sizes,
                )
            )
    rows.insert(1, ("---", "---", *("---:" for _ in head[2:])))
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


if __name__ == "__main__":
    main()
