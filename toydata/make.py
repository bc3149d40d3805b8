"""Makes the toy collection: photographs that scikit-image carries, filmed by a virtual camera."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import skimage
from PIL import Image

COLLECTION = Path(__file__).resolve().parent
PHOTOGRAPHS = Path(skimage.__file__).parent / "data"

# Small but clean: `bf` asks for B-frames, whose decode order is not their display order.
H264 = {"crf": "25", "preset": "slow", "bf": "3", "g": "50"}

# Frames of these are also kept as JPEG, by the rule of video-cnn-feat: one has a whole-numbered rate, one not.
CUT_FROM = ("astronaut", "cat")


@dataclass(frozen=True)
class View:
    """What the camera sees of a photograph: centre and width, in the photograph's pixels."""

    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Shot:
    """One uninterrupted move of the camera over one photograph."""

    photograph: str
    start: View
    stop: View


@dataclass(frozen=True)
class Clip:
    """One video file.

    Args:
        path: below `VideoData`.
        codec: FFmpeg's name of the encoder.
        size: (width, height) as shown.
        time_base: seconds of a tick.
        ticks: presentation times, ascending.
        shots: of equal length.
        pix_fmt: FFmpeg's name of the pixel format.
        options: of the encoder.
        rotation: degrees counter-clockwise by which a player must turn the coded frame; it is coded turned the other
            way.
    """

    path: str
    codec: str
    size: tuple[int, int]
    time_base: Fraction
    ticks: tuple[int, ...]
    shots: tuple[Shot, ...]
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    rotation: int = 0

    @property
    def id(self) -> str:
        return Path(self.path).stem


def steady(rate: int | Fraction, frames: int) -> dict:
    """The times of `frames` frames at a constant `rate`."""
    return {"time_base": 1 / Fraction(rate), "ticks": tuple(range(frames))}


def uneven() -> dict:
    """Times as a phone makes them: 25 fps in good light, 8 fps in bad light, then about 30 fps."""
    gaps = [40] * 75 + [125] * 24 + [33, 33, 34] * 20
    return {"time_base": Fraction(1, 1000), "ticks": tuple(accumulate(gaps[:-1], initial=0))}


CLIPS = (
    Clip(
        path="cat.mp4",
        codec="libx264",
        options=H264,
        size=(320, 240),
        **steady(25, 126),
        shots=(Shot("chelsea.png", View(255, 152, 380), View(205, 135, 260)),),
    ),
    Clip(
        path="coffee.webm",
        codec="libvpx-vp9",
        options={"crf": "36", "b": "0", "cpu-used": "2", "row-mt": "0", "g": "60"},
        size=(480, 270),
        **steady(30, 120),
        shots=(Shot("coffee.png", View(275, 195, 520), View(330, 170, 440)),),
    ),
    Clip(
        path="launch.AVI",
        codec="mpeg4",
        options={"b": "500000", "g": "30"},
        size=(384, 216),
        **steady(Fraction(30000, 1001), 120),
        shots=(
            Shot("rocket.jpg", View(320, 230, 600), View(325, 275, 440)),
            Shot("hubble_deep_field.jpg", View(620, 470, 700), View(480, 400, 520)),
        ),
    ),
    Clip(
        path="people/astronaut.mp4",
        codec="libx264",
        options=H264,
        size=(240, 426),
        **steady(Fraction(24000, 1001), 72),
        shots=(Shot("astronaut.png", View(215, 255, 280), View(235, 205, 220)),),
    ),
    Clip(
        path="camera.mp4",
        codec="libx264",
        options=H264,
        size=(320, 240),
        **uneven(),
        shots=(Shot("camera.png", View(255, 250, 490), View(270, 190, 330)),),
    ),
    Clip(
        path="coffee_phone.mp4",
        codec="libx264",
        options=H264,
        size=(240, 320),
        **steady(30, 72),
        rotation=-90,  # a phone held upright stores a landscape frame and asks for a quarter turn clockwise
        shots=(Shot("coffee.png", View(285, 195, 280), View(300, 170, 220)),),
    ),
    Clip(
        path="shuttle.gif",
        codec="gif",
        pix_fmt="pal8",
        size=(180, 240),
        **steady(10, 20),
        shots=(Shot("astronaut.png", View(414, 135, 186), View(422, 150, 150)),),
    ),
    Clip(
        path="retina.mp4",
        codec="libx264",
        options=H264,
        size=(320, 240),
        **steady(25, 9),
        shots=(Shot("retina.jpg", View(700, 700, 1380), View(650, 700, 1240)),),
    ),
)


def region(clip: Clip, index: int) -> tuple[str, tuple[float, float, float, float]]:
    """The photograph that a frame shows, and which part of it: (left, top, right, bottom) in its pixels."""
    done = clip.ticks[index] / (clip.ticks[-1] + 1)
    number, done = divmod(done * len(clip.shots), 1)
    shot = clip.shots[int(number)]
    eased = done * done * (3 - 2 * done)
    x, y, width = (
        a + (b - a) * eased for a, b in ((getattr(shot.start, n), getattr(shot.stop, n)) for n in ("x", "y", "width"))
    )
    # A hand is never still; each clip trembles in its own way, so that no two frames are the same.
    phase = zlib.crc32(clip.id.encode()) % 628 / 100
    x += 0.004 * width * math.sin(9 * done + phase)
    y += 0.004 * width * math.sin(7 * done + 2 * phase)
    height = width * clip.size[1] / clip.size[0]
    return shot.photograph, (x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def picture(clip: Clip, index: int) -> Image.Image:
    """A frame as it is to be seen, antialiased, with the camera placed to a fraction of a pixel."""
    name, box = region(clip, index)
    return photograph(name).resize(clip.size, Image.Resampling.BICUBIC, box=box)


@cache
def photograph(name: str) -> Image.Image:
    return Image.open(PHOTOGRAPHS / name).convert("RGB")


def coded_frame(clip: Clip, index: int) -> av.VideoFrame:
    """A frame for the encoder."""
    if clip.pix_fmt == "pal8":
        frame = av.VideoFrame.from_ndarray(paletted(clip, index), format="pal8")
    else:
        pixels = np.ascontiguousarray(np.rot90(picture(clip, index), -clip.rotation // 90))
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format=clip.pix_fmt)
    frame.time_base = clip.time_base
    frame.pts = clip.ticks[index]
    return frame


def paletted(clip: Clip, index: int) -> tuple[np.ndarray, np.ndarray]:
    """A frame as (indices, ARGB palette), undithered, with one palette for the whole clip.

    GIF packs repeats and nothing else: few colours and no dither keep it small.
    """
    few_colours = picture(clip, 0).quantize(48, dither=Image.Dither.NONE)
    indices = np.asarray(picture(clip, index).quantize(palette=few_colours, dither=Image.Dither.NONE))
    rgb = np.array(few_colours.getpalette(), np.uint8).reshape(-1, 3)
    palette = np.zeros((256, 4), np.uint8)
    palette[:, 0] = 255
    palette[: len(rgb), 1:] = rgb
    return indices, palette


def encode(clip: Clip, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format=path.suffix[1:].lower()) as container:
        # Without the library's version in the file, two builds of it may write the same bytes.
        container.flags |= av.container.Flags.bitexact.value
        stream = container.add_stream(clip.codec, rate=1 / clip.time_base, options=dict(clip.options))
        width, height = clip.size if clip.rotation % 180 == 0 else clip.size[::-1]
        stream.width, stream.height, stream.pix_fmt = width, height, clip.pix_fmt
        stream.codec_context.time_base = clip.time_base
        stream.codec_context.thread_count = 1  # encoders share the work out by threads, and so their bits
        if clip.rotation:
            stream.set_display_rotation(clip.rotation)
        for index in range(len(clip.ticks)):
            container.mux(stream.encode(coded_frame(clip, index)))
        for packet in stream.encode():
            if packet.pts == clip.ticks[-1]:  # no later frame tells how long the last one lasts
                packet.duration = clip.ticks[-1] - clip.ticks[-2]
            container.mux(packet)


def lineage_indices(frames: int, rate: Fraction) -> list[int]:
    """The frames that video-cnn-feat keeps: two for each whole-numbered second of frames."""
    fps = int(rate)
    return [i for i in range(frames) if i % fps in (0, fps // 2)]


def cut_frames(clip: Clip, video: Path, root: Path) -> Iterator[str]:
    """Write the kept frames of a video, and yield a line of `id.imagepath.txt` for each."""
    kept = set(lineage_indices(len(clip.ticks), 1 / clip.time_base))
    with av.open(str(video)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index in kept:
                name = f"{clip.id}_{index}"
                path = Path("ImageData", clip.id, f"{name}.jpg")
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                frame.to_image().save(root / path, quality=95)
                yield f"{name} {path.as_posix()}\n"


def main(root: Path = COLLECTION, clips: tuple[Clip, ...] = CLIPS) -> Path:
    """Write `clips` and their cut frames below `root`, and return `root`."""
    lines: list[str] = []
    for clip in sorted(clips, key=lambda clip: clip.id):
        video = root / "VideoData" / clip.path
        encode(clip, video)
        if clip.id in CUT_FROM:
            lines += cut_frames(clip, video, root)
    (root / "id.imagepath.txt").write_text("".join(lines), encoding="utf-8", newline="\n")
    return root


if __name__ == "__main__":
    print(main())
