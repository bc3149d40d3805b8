"""What a large collection costs, in hours of cores and GPUs, disk and files, from the numbers of a bench.

    python bench/plan.py bench/results/2026-11-27-epyc-avx512-2-cores.json bench/results/2026-11-26-h100-*.json

The first file is from a bench on CPUs, the others are from benches on a GPU, one for each model. Decoding goes by the
hours of video, at the speed of one core in the stage `decode`. The network goes by the sampled frames, at the speed of
the stage `network`: core seconds in the first file, GPU seconds in the others. The size of a file is its rows and what
lies beside them. `cores a GPU`: how many decode as fast as one GPU takes frames. `--lists` measures instead what the
list of a million videos takes: memory, bytes sent to a rank, and CPU seconds to share it out among 64.
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
from vfx.extraction.work_sharing import share

RATE = 25  # source frames a second of video
SAMPLED = 2  # a second
BESIDE = 80  # bytes per row of ids, index and seconds


@dataclass(frozen=True)
class Plan:
    """A collection: its videos, their hours, and the sampled frames."""

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
    """The model of a bench, as in MODELS."""
    name, _, *rest = bench["asked"]["feature"].split(",")
    return str(name).removesuffix("_wsl") + (", ten crops" if "os" in rest else "")


def measure_lists(videos: int = 1_000_000, ranks: int = 64) -> None:
    """Print what a list of so many videos takes."""
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


HEAD = (
    "collection", "model", "videos", "frames", "decode, core h", "network, core h", "network, GPU h",
    "cores a GPU", "file", "float16",
)  # fmt: skip


@dataclass(frozen=True)
class Speed:
    """What benches measured.

    `decode`: source frames per second and core. `network`: core seconds per frame of the model `measured`. `gpu`:
    frames per second on a GPU, by model.
    """

    decode: float
    network: float
    measured: str
    gpu: dict[str, float]


def gpu_speed(bench: dict[str, Any], precision: str) -> float:
    """Frames per second of a bench's network on its GPU. Raises ValueError if it is not of the table."""
    walls = {stage["variant"]: stage["wall"] for stage in bench["stages"] if stage["stage"] == "network"}
    own = next((variant for variant in walls if variant.startswith(precision)), None)  # the run's is first
    if own is None or model_of(bench) not in MODELS:
        raise ValueError(f"{bench['asked']['feature']}: no network stage in {precision}, or no model of the table")
    return float(bench["asked"]["sampled"] / walls[own])


def row(plan: Plan, model: str, speed: Speed) -> tuple[str, ...]:
    """The costs of extracting a collection by a model."""
    decoding = plan.hours * 3600 * RATE / speed.decode
    on_gpu = plan.frames / speed.gpu[model] if model in speed.gpu else 0.0
    return (
        plan.name,
        model,
        f"{plan.videos:,}",
        f"{plan.frames:,}",
        hours(decoding),
        hours(plan.frames * speed.network) if model == speed.measured else "",
        hours(on_gpu) if on_gpu else "",
        f"{decoding / on_gpu:,.{1 if decoding < 10 * on_gpu else 0}f}" if on_gpu else "",
        *(f"{plan.frames * (size * MODELS[model] + BESIDE) / 1e9:,.0f} GB" for size in (4, 2)),
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--lists", action="store_true")
    options.add_argument("bench", type=Path, nargs="*", help="what python -m vfx.bench json=... wrote")
    options.add_argument("--precision", default="bf16-mixed", help="of the networks")
    chosen = options.parse_args()
    if chosen.lists:
        measure_lists()
        return
    if not chosen.bench:
        options.error("bench: the files of benches, or --lists")
    bench, *on_gpus = (json.loads(path.read_text()) for path in chosen.bench)
    try:
        gpu = {model_of(one): gpu_speed(one, chosen.precision) for one in on_gpus}
    except ValueError as error:
        options.error(str(error))
    for one in on_gpus:
        print(f"{model_of(one)}: {gpu[model_of(one)]:,.0f} frames a second on {one['machine']['device']}")
    taken = {f"{stage['stage']} {stage['variant']}": stage["processor"] for stage in bench["stages"]}
    decode = bench["asked"]["frames"] / taken["decode auto, 1 worker"]
    network = taken[f"network {chosen.precision}, channels_last"] / bench["asked"]["sampled"]
    speed = Speed(decode, network, model_of(bench), gpu)
    print(f"{bench['asked']['collection']}: a core decodes {decode:,.0f} frames a second;")
    print(f"{speed.measured} takes {1000 * network:.1f} ms of a core a frame in {chosen.precision}")
    print()
    align = ("---", "---", *("---:" for _ in HEAD[2:]))
    for cells in (HEAD, align, *(row(plan, model, speed) for plan in PLANS for model in MODELS)):
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
