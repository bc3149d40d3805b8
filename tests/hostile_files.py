"""Makes files that are called videos and are none, and videos that ask for more memory than there is."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from random import Random

import av
from PIL import Image

from tests.clips import CLIPS, silence

HUGE = 20_000  # pixels, each way: more than FFmpeg can hold
LARGE = 16_000  # what it can, and limits.pixels does not allow
Item = tuple[Path | None, str, bytes, str]  # source, file name, content, note


def a_picture() -> bytes:
    """A JPEG."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(buffer, "JPEG")
    return buffer.getvalue()


def impostors(folder: Path) -> Iterator[Item]:
    """Files that are called videos and are none. `folder`: where to work."""
    rng = Random(0)
    ftyp = b"\x00\x00\x00\x1cftypisom\x00\x00\x02\x00isomiso2mp41"
    audio = silence(folder / "sound.mp4")  # a muxer wants a file
    contents = {
        "empty.mp4": (b"", "nothing in it"),
        "zeros.mp4": (bytes(100_000), "zeros"),
        "text.mp4": (b"This is not a video.\n" * 500, "a text"),
        "page.webm": (b"<!DOCTYPE html><html><body>404</body></html>\n" * 20, "a web page"),
        "list.mp4": (b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n", "a playlist"),
        "random.avi": (rng.randbytes(100_000), "random bytes"),
        "header.mp4": (ftyp + rng.randbytes(100_000), "random bytes behind an MP4 header"),
        "riff.avi": (b"RIFF\xff\xff\xff\xffAVI " + rng.randbytes(100_000), "random bytes behind an AVI header"),
        "ebml.mkv": (b"\x1aE\xdf\xa3" + rng.randbytes(100_000), "random bytes behind a Matroska header"),
        "gif.gif": (b"GIF89a" + rng.randbytes(100_000), "random bytes behind a GIF header"),
        "sync.ts": (b"".join(b"G" + rng.randbytes(187) for _ in range(500)), "random MPEG-TS packets"),
        "sound.mp4": (audio.read_bytes(), "sound alone"),
        "picture.mp4": (a_picture(), "a JPEG"),
        "box.mp4": (ftyp + b"\xff\xff\xff\xffmoov" + bytes(1000), "a box longer than the file"),
    }
    audio.unlink()
    for name, (content, note) in contents.items():
        yield None, name, content, note


def liars(folder: Path) -> Iterator[Item]:
    """Videos with frames of 20,000 x 20,000 or 16,000 x 16,000 pixels, or that say so. `folder`: where to work."""
    for name, content, note in (
        ("canvas.gif", _huge_gif(), "a GIF whose canvas is huge"),
        ("bomb.mov", bomb(HUGE), "PNG pictures that are huge, and nearly nothing on the disk"),
        ("large_bomb.mov", bomb(LARGE), "the same, of 16,000 each way"),
        ("late_bomb.mov", bomb(HUGE, small=5), "PNG pictures, huge from the 6th on"),
        ("late_large_bomb.mov", bomb(LARGE, small=5), "the same, of 16,000 each way"),
        ("motion.avi", _mjpeg(folder, begin=0), "JPEG pictures that say that they are huge"),
        ("late_motion.avi", _mjpeg(folder, begin=20), "JPEG pictures that say so from the 20th on"),
        ("stream.ts", _h264(folder, begin=0), "an H.264 stream whose parameters say so"),
        ("late_stream.ts", _h264(folder, begin=20), "an H.264 stream whose parameters say so from the 20th frame on"),
    ):
        yield None, name, content, note


def _made(folder: Path, name: str) -> bytes:
    path = CLIPS[name].write(folder)
    try:
        return path.read_bytes()
    finally:
        path.unlink()


def _huge_gif() -> bytes:
    buffer = io.BytesIO()
    Image.new("P", (8, 8)).save(buffer, "GIF")
    data = bytearray(buffer.getvalue())
    struct.pack_into("<2H", data, 6, HUGE, HUGE)
    struct.pack_into("<2H", data, data.index(b",") + 5, HUGE, HUGE)
    return bytes(data)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _picture(side: int) -> bytes:
    """A valid PNG with one bit per pixel: with 20,000 each way, 50 MB that deflate to 50 KB."""
    header = struct.pack(">2I5B", side, side, 1, 0, 0, 0, 0)
    lines = zlib.compress(bytes((-(-side // 8) + 1) * side))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", lines) + _chunk(b"IEND", b"")


def bomb(side: int, *, small: int = 0) -> bytes:
    """A MOV of 25 frames per second: `small` frames of 64 pixels each way, whose size the header states if there are
    any, and three of `side`."""
    pictures = [_picture(64)] * small + [_picture(side)] * 3
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mov") as container:
        size = 64 if small else side
        stream = container.add_mux_stream("png", rate=25, width=size, height=size)
        for n, picture in enumerate(pictures):
            packet = av.Packet(picture)
            packet.pts = packet.dts = n
            packet.duration, packet.time_base, packet.is_keyframe, packet.stream = 1, Fraction(1, 25), True, stream
            container.mux(packet)
    return buffer.getvalue()


def _mjpeg(folder: Path, *, begin: int) -> bytes:
    """Each picture from `begin` on has its start of frame (FFC0) patched, and all headers if that is the first."""
    data = bytearray(_made(folder, "mjpeg.avi"))
    if begin == 0:
        struct.pack_into("<2I", data, data.index(b"avih") + 8 + 32, HUGE, HUGE)
        struct.pack_into("<2I", data, data.index(b"strf") + 8 + 4, HUGE, HUGE)
    at = data.index(b"movi")
    for n in range(CLIPS["mjpeg.avi"].num_frames):
        at = data.index(b"\xff\xc0\x00\x11\x08", at + 1)
        if n >= begin:
            struct.pack_into(">2H", data, at + 5, HUGE, HUGE)
    return bytes(data)


def _h264(folder: Path, *, begin: int) -> bytes:
    """The sequence parameter sets (ITU-T H.264, 7.3.2.1.1) from frame `begin` on say that it is huge."""
    path = CLIPS["h264.ts"].write(folder)
    buffer = io.BytesIO()
    with av.open(str(path)) as reader, av.open(buffer, "w", format="mpegts") as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream)
        for n, packet in enumerate(p for p in reader.demux(stream) if p.size):
            units = bytes(packet).split(b"\x00\x00\x01")
            if n >= begin:
                units = [_enlarged(unit) if unit[:1] and unit[0] & 31 == 7 else unit for unit in units]
            new = av.Packet(b"\x00\x00\x01".join(units))
            new.pts, new.dts, new.time_base = packet.pts, packet.dts, packet.time_base
            new.is_keyframe, new.stream = packet.is_keyframe, copy
            writer.mux(new)
    path.unlink()
    return buffer.getvalue()


class _Bits:
    """Reads the bits of a NAL unit from `at` on."""

    def __init__(self, bits: str, at: int) -> None:
        self.bits = bits
        self.at = at

    def golomb(self) -> int:
        """An unsigned number in Exp-Golomb code."""
        zeros = self.bits.index("1", self.at) - self.at
        self.at += 2 * zeros + 1
        return int(self.bits[self.at - zeros - 1 : self.at], 2) - 1


def _enlarged(unit: bytes) -> bytes:
    """A sequence parameter set with huge width and height."""
    bits = "".join(f"{byte:08b}" for byte in unit.replace(b"\x00\x00\x03", b"\x00\x00"))
    bits = bits[: bits.rindex("1") + 1]
    reader = _Bits(bits, at=32)  # behind the unit's type, profile, constraints, level
    reader.golomb()  # its id
    if unit[1] >= 100:  # a high profile: chroma format, two depths, two flags
        for _ in range(3):
            reader.golomb()
        reader.at += 2
    reader.golomb()  # how frames are numbered
    if reader.golomb() == 0:  # how their order is coded
        reader.golomb()
    reader.golomb()  # references
    reader.at += 1
    begin = reader.at
    reader.golomb()
    reader.golomb()
    number = f"{HUGE // 16:b}"  # in macroblocks; stored less one, coded plus one
    coded = "0" * (len(number) - 1) + number
    bits = bits[:begin] + 2 * coded + bits[reader.at :]
    bits += "0" * (-len(bits) % 8)
    new = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    for end in range(4):
        new = new.replace(bytes([0, 0, end]), bytes([0, 0, 3, end]))
    return new
