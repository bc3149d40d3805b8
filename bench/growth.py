"""Time and memory of extractions of more and more short videos: what vfx itself costs per video.

    python bench/growth.py [--videos 1 100 1000 10000] [--folder DIR]

Each run is the real `vfx.extract` in a process of its own. The clips take half a second, at 64x48; 50 are distinct, the
others are links to them. The network is a tiny one that timm has for tests. A run of one video shows the start-up; the
numbers per video are beyond that. Seconds: `wall` from the start of the process to its end; `processor` of all its
processes; `assembly` from the last part to `features.h5`; `exit` from there on. Memory: the system's high-water marks
of the main process, and of the largest of the others, which read (Linux).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
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
HEAD = (
    "videos", "wall s", "ms/video", "processor s", "ms/video", "assembly s", "share", "exit s",
    "main MiB", "others MiB",
)  # fmt: skip


def peak_bytes(process: int) -> int:
    """The most memory that a process has had so far, shared memory included; 0 if it is gone.

    psutil has the present memory alone on Linux.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0


@dataclass
class Run:
    """A run as seen from outside: seconds since its start, CPU seconds, and the most bytes of each process."""

    videos: int
    wall: float = 0.0
    last_part: float = 0.0
    complete: float = 0.0
    processor: float = 0.0
    main: int = 0
    others: dict[int, int] = field(default_factory=dict)

    def look(self, process: int) -> None:
        """Look at the time and memory of its processes."""
        taken = dict(process_usage.tree(process))
        self.processor = max(self.processor, sum(taken.values()))
        for pid in taken:
            peak = peak_bytes(pid)
            if pid == process:
                self.main = max(self.main, peak)
            else:
                self.others[pid] = max(self.others.get(pid, 0), peak)

    def row(self, first: Run) -> tuple[str, ...]:
        """The cells of its line; `first` is the run whose start-up is left out per video."""
        assembly = self.complete - self.last_part
        return (
            f"{self.videos}",
            f"{self.wall:.1f}",
            f"{1000 * (self.wall - first.wall) / self.videos:.2f}",
            f"{self.processor:.1f}",
            f"{1000 * (self.processor - first.processor) / self.videos:.2f}",
            f"{assembly:.2f}",
            f"{100 * assembly / self.wall:.1f} %",
            f"{self.wall - self.complete:.2f}",
            f"{self.main / 2**20:.0f}",
            f"{max(self.others.values(), default=0) / 2**20:.0f}",
        )


def link(source: Path, collection: Path, videos: int) -> None:
    """Make a collection of so many links to the clips of another."""
    clips = sorted(source.glob("VideoData/*.mp4"))
    (collection / "VideoData").mkdir(parents=True)
    for n in range(videos):
        (collection / "VideoData" / f"v{n:06d}.mp4").hardlink_to(clips[n % len(clips)])


def run(collection: Path, out: Path, videos: int) -> Run:
    """Extract a collection in a process of its own and look at it until it ends."""
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
            if not seen.complete and any(out.glob("*/*/features.h5")):
                seen.complete = now
            seen.look(process.pid)
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
    print("".join(f"{name:>12}" for name in HEAD))
    if chosen.folder:
        Path(chosen.folder).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=chosen.folder) as work:
        clips = synthetic_videos.make_collection(Path(work), formats=[TINY], frames=FRAMES)
        first = None
        for videos in chosen.videos:
            link(clips, Path(work) / f"n{videos}", videos)
            seen = run(Path(work) / f"n{videos}", Path(work) / f"out{videos}", videos)
            first = first or seen
            print("".join(f"{cell:>12}" for cell in seen.row(first)), flush=True)


if __name__ == "__main__":
    main()
