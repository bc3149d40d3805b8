"""What a large collection costs, in hours of cores and GPUs, disk and files, from the numbers of a bench.

    python bench/plan.py bench/results/2026-11-27-epyc-avx512-2-cores.json bench/results/2026-11-26-h100-*.json

The first file is of a bench on processors, the others are of benches on a GPU, a model each. Per hour of video: source
frames by what `decode` measured of a core. Per sampled frame: what `network` measured for its model, core seconds in
the first, GPU seconds in the others. Bytes: the row, and what lies beside it. `cores a GPU`: how many decode as fast as
one GPU takes frames. `--lists` measures instead what the list of a million videos takes: memory, bytes told to a rank,
and processor seconds to share it out among 64.
"""

from __future__ import annotations

import argparse
import json
import pickle
import time
import tracemalloc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vfx.collection.source import VideoSource
from vfx.extraction.parallel_reader import share

RATE = 25  # source frames a second of video
SAMPLED = 2  # a second
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
# Features, each with the values of a row
MODELS = {
    "efficientnet_lite0": 1280,
    "resnet50": 2048,
    "resnext101_32x8d": 2048,
    "resnext101_32x48d, ten crops": 2048,
    "resnest269": 2048,
}


def hours(seconds: float) -> str:
    return f"{seconds / 3600:,.{2 if seconds < 3600 else 1 if seconds < 36_000 else 0}f}"


def model_of(bench: dict[str, Any]) -> str:
    """One of MODELS."""
    name, _, *rest = bench["asked"]["feature"].split(",")
    return str(name).removesuffix("_wsl") + (", ten crops" if "os" in rest else "")


def lists(videos: int = 1_000_000, ranks: int = 64) -> None:
    tracemalloc.start()
    sources = [
        VideoSource(f"video{n:07d}", f"/data/mine/VideoData/{n % 1000}/video{n:07d}.mp4", n) for n in range(videos)
    ]
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
    options.add_argument("bench", type=Path, nargs="*", help="what python -m vfx.bench json=... wrote")
    options.add_argument("--precision", default="bf16-mixed", help="of the networks")
    chosen = options.parse_args()
    if chosen.lists:
        lists()
        return
    if not chosen.bench:
        options.error("bench: the files of benches, or --lists")
    bench, *on_gpus = (json.loads(path.read_text()) for path in chosen.bench)
    took = {f"{stage['stage']} {stage['variant']}": stage["processor"] for stage in bench["stages"]}
    decode = bench["asked"]["frames"] / took["decode auto, 1 worker"]  # source frames a second and core
    network = took[f"network {chosen.precision}, channels_last"] / bench["asked"]["sampled"]
    measured = model_of(bench)
    rates = {}  # frames a second on a GPU
    for one in on_gpus:
        walls = {stage["variant"]: stage["wall"] for stage in one["stages"] if stage["stage"] == "network"}
        own = next((variant for variant in walls if variant.startswith(chosen.precision)), None)  # the run's is first
        if own is None or model_of(one) not in MODELS:
            options.error(
                f"{one['asked']['feature']}: no network stage in {chosen.precision}, or no model of the table"
            )
        rates[model_of(one)] = rate = one["asked"]["sampled"] / walls[own]
        print(f"{model_of(one)}: {rate:,.0f} frames a second on {one['machine']['device']}")
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
        for model, dims in MODELS.items():
            on_gpu = plan.frames / rates[model] if model in rates else 0.0
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
