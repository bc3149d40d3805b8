"""Makes small clips for tests whose every frame carries its own number and time, readable from its pixels.

The top of a frame is a board of 8 x 4 squares of 16 pixels, black or white: 12 bits of the frame's number and
20 bits of its time in milliseconds, both survive any codec. Below it runs a texture, so that codecs predict.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

os.environ.setdefault("SVT_LOG", "1")  # SVT-AV1 writes a page on standard error for each encoder

SQUARE = 16
COLUMNS, ROWS = 8, 4
NUMBER_BITS, MS_BITS = 12, 20


def paint(number: int, ms: int, *, width: int = 128, height: int = 96) -> NDArray[np.uint8]:
    """A frame (height, width, 3) that says `number` and `ms`."""
    rng = np.random.default_rng(7)
    texture = rng.integers(40, 216, (height // 4 + 1, width // 4 + 1, 3)).repeat(4, 0).repeat(4, 1)
    frame = np.roll(texture, 3 * number, axis=1)[:height, :width].astype(np.uint8)
    code = number << MS_BITS | ms & (1 << MS_BITS) - 1
    bits = [code >> i & 1 for i in range(NUMBER_BITS + MS_BITS)]
    board = np.array(bits, np.uint8).reshape(ROWS, COLUMNS).repeat(SQUARE, 0).repeat(SQUARE, 1) * 215 + 20
    frame[: board.shape[0], : board.shape[1]] = board[..., None]
    return np.ascontiguousarray(frame)


def read(pixels: NDArray[np.uint8]) -> tuple[int, int]:
    """(number, ms) that `paint` put in a frame."""
    board = pixels[: ROWS * SQUARE, : COLUMNS * SQUARE].mean(axis=2)
    squares = board.reshape(ROWS, SQUARE, COLUMNS, SQUARE)[:, 4:12, :, 4:12].mean(axis=(1, 3))
    code = sum(1 << i for i, white in enumerate((squares > 128).ravel()) if white)
    return code >> MS_BITS, code & ((1 << MS_BITS) - 1)


@dataclass(frozen=True)
class Clip:
    """How to make a clip: its file name, its codec and the options of its encoder.

    `vfr`: an uneven beat of frames. `b_frames`: how many in a row. `start`: seconds of the first frame.
    `rotation`: degrees counter-clockwise by which players are told to turn it.
    """

    name: str
    codec: str
    pix_fmt: str = "yuv420p"
    options: dict[str, str] = field(default_factory=dict)
    muxing: dict[str, str] = field(default_factory=dict)
    rate: int = 25
    num_frames: int = 40
    gop: int = 12
    b_frames: int = 0
    vfr: bool = False
    start: float = 0.0
    rotation: int = 0
    width: int = 128
    height: int = 96

    def times(self) -> list[Fraction]:
        """Seconds of each frame: exact multiples of the frame period, in the vfr case with uneven gaps."""
        steps = np.cumsum([0] + [(1, 3, 2, 5, 1)[i % 5] for i in range(self.num_frames - 1)])
        ticks = steps if self.vfr else np.arange(self.num_frames)
        return [Fraction(self.start) + Fraction(int(t), self.rate) for t in ticks]

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        with av.open(str(path), "w", options=self.muxing) as container:
            stream = container.add_stream(self.codec, rate=self.rate, options=self.options)
            stream.width, stream.height, stream.pix_fmt = self.width, self.height, self.pix_fmt
            context = stream.codec_context
            context.time_base = Fraction(1, self.rate)
            context.gop_size = self.gop
            context.max_b_frames = self.b_frames
            if self.codec == "libvpx":
                context.thread_count = 1  # its threads wait for each other by spinning: minutes on a busy machine
            if self.rotation:
                stream.set_display_rotation(self.rotation)
            for number, seconds in enumerate(self.times()):
                pixels = paint(number, round(seconds * 1000), width=self.width, height=self.height)
                frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
                frame.pts, frame.time_base = int(seconds * self.rate), Fraction(1, self.rate)
                container.mux(stream.encode(frame.reformat(format=self.pix_fmt)))
            container.mux(stream.encode(None))
        if hasattr(os, "sched_setscheduler"):  # run by root, SVT-AV1 has this process overrule all others from then on
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        return path


X264 = {"preset": "veryfast"}
OPEN_GOP = {"preset": "ultrafast", "x265-params": "log-level=none:open-gop=1"}
AV1 = {"preset": "10", "svtav1-params": "lossless=1"}  # its lossy encoder holds squares for longer than a frame
VPX = {"lag-in-frames": "16", "cpu-used": "8"}

CLIPS = {
    clip.name: clip
    for clip in [
        Clip("h264.mp4", "libx264", b_frames=3, options=X264),
        Clip("h264_fast.mp4", "libx264", b_frames=3, options=X264, muxing={"movflags": "faststart"}),
        Clip("h264_vfr.mp4", "libx264", b_frames=2, options=X264, vfr=True),
        Clip("h264_odd.mp4", "libx264", options=X264, pix_fmt="yuv444p", width=131, height=99),
        Clip("h264_10bit.mp4", "libx264", options=X264, pix_fmt="yuv420p10le"),
        Clip("h264_rotated.mp4", "libx264", b_frames=2, options=X264, rotation=90),
        Clip("h264_upside_down.mp4", "libx264", options=X264, rotation=180),
        Clip("h264.mov", "libx264", b_frames=2, options=X264),
        Clip("h264_vfr.mkv", "libx264", b_frames=2, options=X264, vfr=True),
        Clip("h264_late.mkv", "libx264", b_frames=2, options=X264, start=30000),
        Clip("h264.flv", "libx264", b_frames=2, options=X264),
        Clip("h264.avi", "libx264", options=X264),
        Clip("h264_b.avi", "libx264", b_frames=2, options=X264),
        Clip("h264.ts", "libx264", b_frames=2, options=X264),
        Clip("h264_late.ts", "libx264", b_frames=2, options=X264, start=30000),
        Clip("hevc.mp4", "libx265", b_frames=3, options=OPEN_GOP),
        Clip("hevc.ts", "libx265", b_frames=3, options=OPEN_GOP),
        Clip("mpeg4.avi", "mpeg4"),
        Clip("mpeg4_b.avi", "mpeg4", b_frames=2),
        Clip("mpeg4_b.mp4", "mpeg4", b_frames=2),
        Clip("mpeg1.mpg", "mpeg1video", b_frames=2),
        Clip("mpeg2.mpg", "mpeg2video", b_frames=2),
        Clip("mpeg2.ts", "mpeg2video", b_frames=2),
        Clip("vp8.webm", "libvpx", options=VPX),
        Clip("vp9.webm", "libvpx-vp9", options=VPX),
        Clip("vp9_vfr.webm", "libvpx-vp9", options=VPX, vfr=True),
        Clip("av1.mp4", "libsvtav1", options=AV1),
        Clip("av1.mkv", "libsvtav1", options=AV1),
        Clip("mjpeg.avi", "mjpeg", pix_fmt="yuvj420p"),
        Clip("gif.gif", "gif", pix_fmt="rgb8"),
        Clip("ffv1.mkv", "ffv1"),
        Clip("prores.mov", "prores_ks", pix_fmt="yuv422p10le"),
        Clip("wmv2.wmv", "wmv2"),
        Clip("flv1.flv", "flv1"),
    ]
}


def cut(source: Path, target: Path, *, seconds: float) -> Path:
    """A stream copy of `source` from `seconds` on, as `ffmpeg -ss seconds -c copy` makes: the packets from the
    key frame before it are kept with negative times, which an MP4 hides by an edit list."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        reader.seek(int(seconds / stream.time_base), stream=stream, backward=True)
        offset = round(seconds / stream.time_base)
        for packet in reader.demux(stream):
            if packet.dts is None:
                continue
            packet.pts -= offset
            packet.dts -= offset
            packet.stream = copy
            writer.mux(packet)
    return target


def truncate(source: Path, target: Path, *, keep: float) -> Path:
    """The first `keep` (0 to 1) of the bytes of `source`."""
    data = source.read_bytes()
    target.write_bytes(data[: int(len(data) * keep)])
    return target


def corrupt(source: Path, target: Path, *, packets: Sequence[int], at: float = 0.3) -> Path:
    """`source` with these packets overwritten by junk from `at` (0 to 1) on. Only for containers such as MP4 and AVI,
    which keep packets apart from their headers."""
    data = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        places = [(p.pos, p.size) for p in container.demux(container.streams.video[0]) if p.size]
    for i in packets:
        position, size = places[i]
        begin = position + int(size * at)
        junk = np.random.default_rng(i).integers(0, 256, position + size - begin, dtype=np.uint8)
        data[begin : begin + len(junk)] = junk.tobytes()
    target.write_bytes(data)
    return target


def remux(*sources: Path, target: Path, keep: Callable[[av.Packet], bool] = lambda _: True, **muxing: str) -> Path:
    """The packets of these files one after the other, in one stream, but for those that are not to be kept."""
    with av.open(str(target), "w", options=muxing) as writer:
        copy = None
        for source in sources:
            with av.open(str(source)) as reader:
                stream = reader.streams.video[0]
                copy = copy or writer.add_stream_from_template(stream)
                for packet in reader.demux(stream):
                    if packet.dts is not None and keep(packet):
                        packet.stream = copy
                        writer.mux(packet)
    return target


def without_first_group(source: Path, target: Path) -> Path:
    """A stream copy of `source` from its second key frame on: in HEVC, leading pictures come first, which have packets
    but cannot be decoded."""
    keys: list[bool] = []

    def follows(packet: av.Packet) -> bool:
        keys.append(packet.is_keyframe)
        return sum(keys) >= 2

    return remux(source, target=target, keep=follows)


def silence(target: Path) -> Path:
    """Half a second of sound, and no video."""
    with av.open(str(target), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        for i in range(8):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, i * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return target
