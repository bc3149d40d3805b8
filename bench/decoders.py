"""CPU time of each decoder by codec, size and sampling rate, and whether its frames are those asked for.

    python bench/decoders.py [--rounds 3] [--seconds 20] [--sizes 640x360 1280x720] [--decord2 DIR] [--folder DIR]

Clips of one scene are made in each codec first, with a key frame every 4 s, and B-frames where the codec has them. Each
library decodes in a process of its own, with one thread; the libraries take turns, and the minimum of the rounds
counts, which other programs disturb least. The time is that of opening a file, and finding and decoding the sampled
frames as RGB arrays of native size. `vfx` is what a run does (PyAV and the packets' times, everything checked); `pyav`
is the plain loop over all frames; the others use their own call for a list of frames, 16 at once. Frames are compared
with those of the plain loop: `n wrong` counts those that differ (in brackets: the largest difference, in levels).
decord2 has the import name of decord, so it needs a folder of its own:

    pip install --target DIR --no-deps decord2
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from multiprocessing.pool import Pool
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from vfx.benchmark import synthetic_videos
from vfx.text import table

KEY_SECONDS = 4
# Encoder, its options, bits as a share of those for H.264, container
CODECS: dict[str, tuple[str, dict[str, str], float, str]] = {
    "H.264": ("libx264", {"preset": "fast", "bf": "3", "threads": "2", "x264-params": "log-level=error"}, 1.0, "mp4"),
    "HEVC": ("libx265", {"preset": "fast", "x265-params": "log-level=error:pools=2"}, 0.7, "mp4"),
    "VP9": ("libvpx-vp9", {"deadline": "good", "cpu-used": "5", "threads": "2", "row-mt": "1"}, 0.7, "webm"),
    "AV1": ("libsvtav1", {"preset": "9", "svtav1-params": "lp=2"}, 0.6, "mp4"),
    "MPEG-4": ("mpeg4", {"bf": "2"}, 2.0, "mp4"),
}
BITS = 2.5  # per second and pixel, for H.264
SAMPLING = {
    "all": Fraction(synthetic_videos.RATE),
    "2 per second": Fraction(2),
    "1 in 10 s": Fraction(1, 10),
}  # frames per second
LIST = 16  # frames asked for at once
Frames = Iterator[NDArray[np.uint8]]


def encoded(
    folder: Path, size: tuple[int, int], frames: int, *, codecs: Sequence[str] = tuple(CODECS)
) -> dict[str, Path]:
    """A clip of the same scene in each codec, by its name."""
    width, height = size
    paths = {codec: folder / f"{codec}-{height}p.{CODECS[codec][3]}" for codec in codecs}
    containers = {codec: av.open(str(path), "w") for codec, path in paths.items()}
    streams: dict[str, Any] = {}
    for codec in codecs:
        encoder, options, share, _ = CODECS[codec]
        stream = streams[codec] = containers[codec].add_stream(encoder, rate=synthetic_videos.RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = int(share * BITS * width * height)
        stream.codec_context.gop_size = KEY_SECONDS * synthetic_videos.RATE
    for number, pixels in enumerate(synthetic_videos.scene(width, height, frames, seed=0)):
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p")
        frame.time_base = Fraction(1, synthetic_videos.RATE)
        for codec, stream in streams.items():
            frame.pts = number
            containers[codec].mux(stream.encode(frame))
    for codec, stream in streams.items():
        containers[codec].mux(stream.encode(None))
        containers[codec].close()
    if hasattr(os, "sched_setscheduler"):  # run by root, SVT-AV1 gives this process real-time priority
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return paths


def by_vfx(path: str, indices: list[int]) -> Frames:
    from vfx.decoding import VideoReader

    reader = VideoReader(path, lambda timeline: np.array(indices))
    for frame in reader:
        yield frame.pixels
    if reader.problem:
        raise RuntimeError(reader.problem)


def by_pyav(path: str, indices: list[int]) -> Frames:
    wanted = set(indices)
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        for index, frame in enumerate(container.decode(stream)):
            if index in wanted:
                yield frame.to_ndarray(format="rgb24")


def by_decord(path: str, indices: list[int]) -> Frames:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    reader = decord.VideoReader(path, num_threads=1)
    for at in range(0, len(indices), LIST):
        yield from reader.get_batch(indices[at : at + LIST]).asnumpy()


def by_torchcodec(path: str, indices: list[int]) -> Frames:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(path, num_ffmpeg_threads=1, dimension_order="NHWC")
    for at in range(0, len(indices), LIST):
        yield from decoder.get_frames_at(indices[at : at + LIST]).data.numpy()


READERS: dict[str, Callable[[str, list[int]], Frames]] = {
    "vfx": by_vfx, "pyav": by_pyav, "decord": by_decord, "decord2": by_decord, "torchcodec": by_torchcodec,
}  # fmt: skip


def timed(name: str, path: str, indices: list[int]) -> float | str:
    """CPU seconds of all threads, or the library's error."""
    start = time.process_time()
    try:
        for _ in READERS[name](path, indices):
            pass
    except Exception as error:  # noqa: BLE001 whatever a library raises is a finding
        return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return time.process_time() - start


def compared(name: str, path: str, indices: list[int]) -> tuple[int, int]:
    """How many frames differ from those of the plain loop or are missing, and the largest difference in levels."""
    wrong = most = got = 0
    for mine, true in zip(READERS[name](path, indices), by_pyav(path, indices), strict=False):
        got += 1
        if mine.shape != true.shape:
            wrong += 1
        elif not np.array_equal(mine, true):
            wrong += 1
            most = max(most, int(np.abs(mine.astype(int) - true).max()))
    return wrong + len(indices) - got, most


def cell(seconds: list[float | str], wrong: int, most: int) -> str:
    found = [s for s in seconds if isinstance(s, float)]
    if not found:
        return "fails"
    told = f"{1000 * min(found):.0f}"
    return f"{told}, {wrong} wrong ({most})" if wrong else told


def begin(name: str, folder: str | None) -> None:
    """Import a library before anything is timed."""
    import torch

    torch.set_num_threads(1)
    if name == "decord2" and folder is not None:
        sys.path.insert(0, folder)
        import decord

        if not str(decord.__file__).startswith(str(folder)):
            raise ImportError(f"decord of {decord.__file__} came before that of {folder}")


def measure(readers: dict[str, Pool], path: Path, indices: list[int], rounds: int) -> list[str]:
    taken: dict[str, list[float | str]] = {name: [] for name in readers}
    for turn in range(rounds):
        for name in list(readers)[:: -1 if turn % 2 else 1]:
            taken[name].append(readers[name].apply(timed, (name, str(path), indices)))
    cells = []
    for name, pool in readers.items():
        failed = not any(isinstance(s, float) for s in taken[name])
        cells.append(cell(taken[name], *((0, 0) if failed else pool.apply(compared, (name, str(path), indices)))))
    return cells


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--seconds", type=int, default=20)
    options.add_argument("--sizes", nargs="+", default=["640x360", "1280x720"])
    options.add_argument("--decord2", help="the folder that holds it")
    options.add_argument("--folder", help="where the clips are made (default: a temporary folder)")
    chosen = options.parse_args()
    names = [name for name in READERS if name != "decord2" or chosen.decord2]
    spawn = multiprocessing.get_context("spawn")
    readers = {name: spawn.Pool(1, partial(begin, name, chosen.decord2)) for name in names}
    rows = [("codec", "size", "frames taken", *names)]
    frames = chosen.seconds * synthetic_videos.RATE
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        for size in chosen.sizes:
            width, height = map(int, size.split("x"))
            print(f"making {len(CODECS)} clips of {size}", file=sys.stderr)
            clips = encoded(Path(folder), (width, height), frames)
            for codec, path in clips.items():
                for name, pool in readers.items():
                    pool.apply(timed, (name, str(path), [0]))  # the first use sets up things that are not to be timed
                for rate in SAMPLING.values():
                    every = synthetic_videos.RATE / rate
                    indices = [int(every * n) for n in range(frames) if every * n < frames]
                    taken = measure(readers, path, indices, chosen.rounds)
                    rows.append((codec, f"{width}x{height}", f"{len(indices)} of {frames}", *taken))
                    print(*rows[-1], file=sys.stderr)
    print("CPU milliseconds, minimum of", chosen.rounds)
    print("\n".join(table(rows, align="<<<>")))
    for pool in readers.values():
        pool.terminate()


if __name__ == "__main__":
    main()
