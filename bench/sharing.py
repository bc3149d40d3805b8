"""How well two workers share one video of an hour and 200 of 10 s, with the long one whole and in chunks.

    python bench/sharing.py [--folder DIR] [--rounds 3] [--workers 2] [--minutes 60] [--short 200]

The videos are made first, in a few minutes, and kept in the folder. Both ways take turns. Frames are sampled, decoded
and resized as for a run, and dropped. `efficiency`: the time of an even share of the CPU seconds that reading whole
takes, by the time that it took. `together`: when a worker was done, on average, by when the last was, which other
programs disturb less. `waste`: how many more CPU seconds chunks take. `others`: CPU seconds of other programs
meanwhile (Linux).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path

from vfx.benchmark import synthetic_videos
from vfx.collection.collection import find_collection
from vfx.collection.source import VideoSource
from vfx.decoding.limits import Limits
from vfx.extraction import WORKER_PRELOAD
from vfx.extraction.batching import Batches
from vfx.extraction.clips import read_video
from vfx.extraction.datamodules import UNIT_BYTES
from vfx.extraction.parallel_reader import ParallelReader
from vfx.extraction.work_sharing import divide, share
from vfx.models.transforms import Preprocess, Transform
from vfx.outputs.counters import RunCounters
from vfx.sampling.samplers import half_second
from vfx.system import fork_server, process_usage

LIMITS = Limits(pixels=1e8, frames=1e7, hours=48, memory_gb=4, patience=60)
PREPROCESS = Preprocess(
    Transform(resize=256, crop=224, interpolation="bilinear", mean=(0, 0, 0), std=(1, 1, 1)), ten_crop=False
)
SIZE = (160, 120, 150_000)  # pixels, pixels, bits a second
LOOK_SECONDS = 0.1


def make_videos(folder: Path, *, minutes: int, short: int) -> list[VideoSource]:
    """One video of so many minutes, and so many of 10 s."""
    sources = []
    for name, clips, seconds in (("long", 1, 60 * minutes), ("short", short, 10)):
        at = folder / f"{name}_{clips}_{seconds}"
        synthetic_videos.make_collection(
            at,
            formats=[synthetic_videos.Format(name, clips, *SIZE)],
            frames=synthetic_videos.RATE * seconds,
            jobs=os.cpu_count() or 1,
        )
        sources += find_collection("footage", at).videos()
    return sources


class WorkerWatch:
    """Looks at the processes below this one when it is called, and records when each last took CPU time."""

    def __init__(self) -> None:
        self.start = self._looked = time.monotonic()
        self._before = dict(process_usage.tree(os.getpid()))
        self._seconds: dict[int, float] = {}
        self._ends: dict[int, float] = {}

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        for process, seconds in process_usage.tree(os.getpid()):
            taken = seconds - self._before.get(process, 0.0)
            if process != os.getpid() and taken > self._seconds.get(process, 0.0):
                self._seconds[process], self._ends[process] = taken, now - self.start

    def together(self, num_workers: int) -> float:
        """When the busiest workers were done, on average, by when the last one was."""
        busiest = sorted(self._seconds, key=self._seconds.__getitem__)[-num_workers:]
        ends = [self._ends[process] for process in busiest]
        return sum(ends) / num_workers / max(ends)


def read(sources: list[VideoSource], num_workers: int) -> tuple[int, float, process_usage.Usage, float]:
    """Read all.

    Returns:
        The number of frames, how nearly together workers ended, what it took, and the CPU seconds of other programs.
    """
    watch = WorkerWatch()
    reader = ParallelReader(
        sources,
        partial(read_video, sample=half_second, decoder="auto", preprocessors=[PREPROCESS], limits=LIMITS),
        num_workers=num_workers,
        limits=LIMITS,
        counters=RunCounters(),
        check=watch,
    )
    own, machine = process_usage.processor_seconds(), process_usage.machine_seconds()
    frames = sum(map(len, Batches(reader, batch_size=64)))
    wall = time.monotonic() - watch.start
    own, machine = process_usage.processor_seconds() - own, process_usage.machine_seconds() - machine
    return frames, watch.together(num_workers), process_usage.Usage(wall, own), machine - own


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "vfx-sharing")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--minutes", type=int, default=60)
    options.add_argument("--short", type=int, default=200)
    chosen = options.parse_args()
    whole = make_videos(chosen.folder, minutes=chosen.minutes, short=chosen.short)
    divided = divide(whole, chosen.workers, piece_cost=UNIT_BYTES)
    print(f"{len(whole)} videos, {sum(s.cost for s in whole) / 1e6:.1f} MB, the largest {whole[0].cost / 1e6:.1f} MB;")
    print(f"divided: {len(divided) - len(whole) + 1} chunks; {chosen.workers} workers")
    fork_server.warm_up(WORKER_PRELOAD)
    read(whole[1:9], chosen.workers)
    print(f"{'':8}{'wall s':>8}{'processor s':>13}{'efficiency':>12}{'together':>10}{'waste':>7}{'others s':>10}")
    for _ in range(chosen.rounds):
        wanted = None
        for name, sources in (("whole", whole), ("chunks", divided)):
            frames, together, taken, others = read(share(sources, 0, 1), chosen.workers)
            wanted = wanted or (frames, taken.processor)
            assert frames == wanted[0]
            efficiency, waste = wanted[1] / chosen.workers / taken.wall, taken.processor / wanted[1] - 1
            print(
                f"{name:8}{taken.wall:8.1f}{taken.processor:13.1f}{efficiency:12.2f}{together:10.2f}{waste:7.0%}"
                f"{others:10.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
