"""The benchmark's own collection: synthetic clips that decode about as fast as real videos of their size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from numpy.typing import NDArray

from vfx.system.files import make_folder, remove_abandoned, working_folder

RATE = 25  # frames a second
SECONDS = 20
SHOT_FRAMES = (60, 170)  # of a shot, [min, max)
GRAIN = 2.5  # standard deviation of the noise of a sensor in a lit room; without it clips decode faster
WORK = ".footage."


class Format(NamedTuple):
    """Clips of one size; `bit_rate`: bits per second on average."""

    name: str
    clips: int
    width: int
    height: int
    bit_rate: int


ONE = Format("one", 1, 64, 48, 100_000)
FORMATS = (Format("360p", 24, 640, 360, 600_000), Format("720p", 6, 1280, 720, 2_000_000))


def make_collection(
    folder: Path, *, formats: Sequence[Format] = FORMATS, frames: int = RATE * SECONDS, jobs: int = 1
) -> Path:
    """Make the collection `<folder>/footage` if it is not there yet.

    The clips are H.264 with three B-frames in a row and a key frame at least every 10 s; the same version of x264 makes
    the same bytes. The collection appears by rename when it is complete.

    Args:
        folder: is made with its parents.
        formats: of the clips.
        frames: of each clip.
        jobs: threads that make clips.

    Returns:
        The folder of the collection.

    Raises:
        OSError: the folder cannot be written.
    """
    root = folder / "footage"
    if root.is_dir():
        return root
    make_folder(folder)
    remove_abandoned(folder, WORK)
    with working_folder(folder, WORK) as work:
        videos = work / "footage" / "VideoData"
        videos.mkdir(parents=True)
        clips = [(videos / f"{form.name}_{n:02d}.mp4", form, n) for form in formats for n in range(form.clips)]
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda clip: _write(*clip, frames=frames), clips))
        videos.parent.rename(root)
    return root


def _write(path: Path, form: Format, seed: int, *, frames: int) -> None:
    # one thread: what x264 makes depends on their number
    options = {"preset": "medium", "bf": "3", "threads": "1", "x264-params": "log-level=error"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = form.width, form.height, "yuv420p", form.bit_rate
        stream.codec_context.gop_size = 10 * RATE
        for number, pixels in enumerate(scene(form.width, form.height, frames, seed)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode(None))


def scene(width: int, height: int, frames: int, seed: int) -> Iterator[NDArray[np.uint8]]:
    """Frames (height, width, 3) of shots: a disc moves before a backdrop over which the camera drifts."""
    rng = np.random.default_rng(seed)
    canvas = _clouds(2 * height, 2 * width, rng)
    grains = np.rint(rng.normal(0, GRAIN, (4, height, width, 1))).astype(np.int16)
    y, x = np.mgrid[:height, :width]
    cut = 0
    for number in range(frames):
        if number == cut:
            cut += int(rng.integers(*SHOT_FRAMES))
            near, far = (np.roll(canvas, rng.integers(0, 2 * width, 2), (0, 1)) for _ in range(2))
            speed, at = rng.uniform(-2, 2, (2, 2)), rng.uniform(0.3, 0.7, 2) * (height, width)
            begin = number
        drift, move = ((number - begin) * speed).astype(int)
        centre = at + move
        backdrop = _window(far, drift, height, width)
        inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < (0.3 * height) ** 2
        pixels = np.where(inside[..., None], _window(near, -move, height, width), backdrop)
        yield np.clip(pixels + grains[number % len(grains)], 0, 255).astype(np.uint8)


def _window(canvas: NDArray[np.uint8], offset: NDArray[np.int_], height: int, width: int) -> NDArray[np.uint8]:
    """A picture from a canvas of twice its size, `offset` (y, x) from the middle, clipped to the canvas."""
    spare = np.array([height, width])
    top, left = np.clip(spare // 2 + offset, 0, spare)
    return canvas[top : top + height, left : left + width]


def _clouds(height: int, width: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Noise (height, width, 3) whose amplitude falls with frequency as that of photographs does (Field 1987)."""
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    noise = np.fft.rfft2(rng.standard_normal((3, height, width)), axes=(1, 2)) / frequency
    picture = np.fft.irfft2(noise, (height, width), axes=(1, 2)).transpose(1, 2, 0)
    return np.clip(128 + 50 * picture / picture.std(), 0, 255).astype(np.uint8)
