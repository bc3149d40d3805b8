"""Time and memory of extractions of more and more short videos, to see what grows and how.

    python bench/growth.py [--videos 1 100 1000 10000] [--folder DIR]

Each run is the real `vfx.extract` in a process of its own, on clips of half a second, 64x48, of which 50 are distinct
and the others links to them, with a network of timm that is made for tests and takes next to nothing: what is left is
what vfx itself costs a video. A run of one video shows the start-up; what is said per video is beyond that. Seconds:
`wall` from the start of the process to its end; `processor` of all its processes, on which other programs have little
influence; `assembly` from the last part to `features.h5`; `exit` from there on. Memory: the system's high-water marks
of the main process, and of the largest of the others, which read (Linux).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from vfx import FeatureFile
from vfx.benchmark import synthetic_videos
from vfx.system import process_usage

DISTINCT = 50
TINY = synthetic_videos.Format("tiny", DISTINCT, 64, 48, 100_000)
FRAMES = 12  # half a second
NETWORK = ["model=timm", "model.name=test_resnet", "model.weights=random"]
TICK = 0.02  # s between two looks


@dataclass
class Run:
    """What was seen of a run: seconds since its start, and bytes by process."""

    videos: int
    wall: float = 0.0
    last_part: float = 0.0
    whole: float = 0.0
    processor: float = 0.0
    main: int = 0
    others: dict[int, int] = field(default_factory=dict)


def link(source: Path, collection: Path, videos: int) -> None:
    """A collection of so many names for the clips of another."""
    clips = sorted(source.glob("VideoData/*.mp4"))
    (collection / "VideoData").mkdir(parents=True)
    for n in range(videos):
        (collection / "VideoData" / f"v{n:06d}.mp4").hardlink_to(clips[n % len(clips)])


def run(collection: Path, out: Path, videos: int) -> Run:
    command = ["vfx.extract", f"collection={collection}", f"output_dir={out}", "trainer=cpu", *NETWORK]
    seen = Run(videos)
    start = time.monotonic()
    parts: set[str] = set()
    with subprocess.Popen([sys.executable, "-m", *command], stderr=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        while process.poll() is None:
            now = time.monotonic() - start
            found = {path.name for path in out.glob("*/*/parts/part-*.h5")}
            if found - parts:
                parts, seen.last_part = found, now
            if not seen.whole and any(out.glob("*/*/features.h5")):
                seen.whole = now
            taken = dict(process_usage.tree(process.pid))
            seen.processor = max(seen.processor, sum(taken.values()))
            for pid in taken:
                if pid == process.pid:
                    seen.main = max(seen.main, process_usage.peak_bytes(pid))
                else:
                    seen.others[pid] = max(seen.others.get(pid, 0), process_usage.peak_bytes(pid))
            time.sleep(TICK)
        seen.wall = time.monotonic() - start
        assert process.stderr is not None
        if process.returncode:
            raise SystemExit(process.stderr.read().decode())
    (made,) = out.glob("*/*/features.h5")
    with FeatureFile(made) as file:
        assert len(file) == videos and not file.failures, (
            f"{len(file)} of {videos} videos, {len(file.failures)} failures"
        )
    return seen


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--videos", type=int, nargs="+", default=[1, 100, 1000, 10_000])
    options.add_argument("--folder", help="where to work (default: a temporary folder)")
    chosen = options.parse_args()
    head = (
        "videos", "wall s", "ms/video", "processor s", "ms/video", "assembly s", "share", "exit s",
        "main MiB", "others MiB",
    )  # fmt: skip
    print("".join(f"{name:>12}" for name in head))
    if chosen.folder:
        Path(chosen.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as work:
        clips = synthetic_videos.make_collection(Path(work), formats=[TINY], frames=FRAMES)
        one = None
        for videos in chosen.videos:
            link(clips, Path(work) / f"n{videos}", videos)
            seen = run(Path(work) / f"n{videos}", Path(work) / f"out{videos}", videos)
            one = one or seen
            assembly = seen.whole - seen.last_part
            cells = (
                f"{videos}",
                f"{seen.wall:.1f}",
                f"{1000 * (seen.wall - one.wall) / videos:.2f}",
                f"{seen.processor:.1f}",
                f"{1000 * (seen.processor - one.processor) / videos:.2f}",
                f"{assembly:.2f}",
                f"{100 * assembly / seen.wall:.1f} %",
                f"{seen.wall - seen.whole:.2f}",
                f"{seen.main / 2**20:.0f}",
                f"{max(seen.others.values(), default=0) / 2**20:.0f}",
            )
            print("".join(f"{cell:>12}" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
