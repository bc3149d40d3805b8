"""Damages sound videos in seeded ways, and makes files that lie or are no videos; each says what was done to it.

    python -m tests.damage <folder> --count 400 --seed 0

writes them there, with a list `damage.tsv`; the folder is a collection.
"""

from __future__ import annotations

import argparse
import io
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache, partial
from pathlib import Path
from random import Random

import av
import numpy as np
from PIL import Image

from tests.clips import CLIPS, silence
from tests.conftest import LIMITS, ROOT, TOYDATA
from vfx.collection.collection import VIDEO_SUFFIXES
from vfx.decoding import Frame, VideoReader
from vfx.sampling.samplers import all_frames

VIDEOS = Path(os.environ.get("VFX_TEST_VIDEOS", ROOT.parent / "shared" / "videos"))
HUGE = 20_000  # pixels, each way: more than FFmpeg can hold
LARGE = 16_000  # what it can, and limits.pixels does not allow
MILLION = 1_000_000
EXACT = {"fflags": "bitexact"}  # or Matroska gives each file a number of its own


@dataclass(frozen=True)
class Damaged:
    """A file that was made: `note` says what was done to `source`, which is None where it was made of nothing."""

    id: str
    path: Path
    kind: str
    source: Path | None
    note: str


Mutation = Callable[[Path, Random], tuple[bytes, str] | None]  # the new content and a note; None: not of this file


def sound(folder: Path, names: Sequence[str] = tuple(CLIPS)) -> list[Path]:
    """The painted clips of these names, written to `folder`, the toy collection, and real videos where there are."""
    real = [VIDEOS / "codecs", VIDEOS / "lineage" / "VideoData"]
    found = [p for root in (TOYDATA / "VideoData", *real) for p in root.rglob("*.*")]
    return [*painted(folder, names), *sorted(found)]


def painted(folder: Path, names: Sequence[str] = tuple(CLIPS)) -> list[Path]:
    """The painted clips of these names, written to `folder`: the same bytes each time."""
    return [replace(CLIPS[name], muxing=EXACT | CLIPS[name].muxing).write(folder) for name in names]


def damage(folder: Path, sources: Sequence[Path], *, count: int, seed: int, kinds: Sequence[str] = ()) -> list[Damaged]:
    """Write `count` files to `folder`: of each kind in turn, all if none is named, each of another source as long as
    there are some."""
    made: list[Damaged] = []
    waiting = {kind: _of_all(kind, mutation, sources, seed) for kind, mutation in MUTATIONS.items()}
    waiting |= {kind: iter(items) for kind, items in (("impostor", impostors(folder)), ("liar", liars(folder)))}
    waiting = {kind: items for kind, items in waiting.items() if not kinds or kind in kinds}
    while len(made) < count and waiting:
        for kind, items in list(waiting.items()):
            if (item := next(items, None)) is None:
                del waiting[kind]
            elif len(made) < count:
                source, name, content, note = item
                id = f"{kind}_{len(made):04d}_{Path(name).stem.replace(' ', '_')}"
                path = folder / f"{id}{Path(name).suffix}"
                path.write_bytes(content)
                made.append(Damaged(id, path, kind, source, note))
    return made


Item = tuple[Path | None, str, bytes, str]  # source, file name, content, note


def _of_all(kind: str, mutation: Mutation, sources: Sequence[Path], seed: int) -> Iterator[Item]:
    rng = Random(f"{seed} {kind}")
    for source in rng.sample(sources, len(sources)):
        done = mutation(source, rng)
        if done is not None:
            name = source.name if kind != "renamed" else f"{source.stem}{done[1].split()[-1]}"
            yield source, name, *done


# What a decoder makes of them


NEAR = 2.0  # mean difference of pixels, in levels: neighbours of a painted clip differ by 20, copies of one by less


def compared(task: tuple[Damaged, str]) -> Iterator[Counter[str]]:
    """For a damaged clip and a decoder, what each frame is that it delivers: "right": it looks like the frame of its
    number in the sound clip; "moved": like another, but that is shown at its time, for those before are lost;
    "repainted": like none; "wrong": like another. And "files" (1), "failed" (1 if it is said that something is
    missing), and "lost" (frames)."""
    damaged, decoder = task
    assert damaged.source is not None
    sound = _delivered(damaged.source, decoder)
    stack = np.stack([frame.pixels for frame in sound]).astype(np.int16)
    slack = 1 if damaged.source.suffix == ".mpg" else 2e-3  # seconds: of MPEG-PS, FFmpeg has to guess most
    found = Counter(files=1)
    frames: list[Frame] = []
    reading = VideoReader(damaged.path, all_frames, decoder=decoder, limits=LIMITS)
    for frame in reading:
        frames = [frame] if frame.first else [*frames, frame]
    for frame in frames[: 0 if reading.discarded else None]:
        if frame.pixels.shape != stack.shape[1:]:
            found["repainted"] += 1
            continue
        differences = np.abs(stack - frame.pixels).mean(axis=(1, 2, 3))
        nearest = int(differences.argmin())
        if differences[nearest] > NEAR:
            found["repainted"] += 1
        elif nearest == frame.index:
            found["right"] += 1
        else:
            found["moved" if abs(frame.seconds - sound[nearest].seconds) < slack else "wrong"] += 1
    found["failed"] = int(bool(reading.problem))
    found["lost"] = max(0, len(sound) - len(frames))
    yield found


@lru_cache(maxsize=3 * len(CLIPS))
def _delivered(path: Path, decoder: str) -> list[Frame]:
    return list(VideoReader(path, all_frames, decoder=decoder))


# Damage to bytes


def truncated(path: Path, rng: Random, *, tenths: int) -> tuple[bytes, str]:
    data = path.read_bytes()
    return data[: len(data) * tenths // 10], f"cut after {tenths} tenths"


def flipped(path: Path, rng: Random, *, bits: int = 0, share: float = 0) -> tuple[bytes, str]:
    """`bits` of them, or a `share` of all."""
    data = bytearray(path.read_bytes())
    n = bits or round(len(data) * 8 * share)
    for _ in range(n):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data), f"{n} bits flipped"


def _range(data: bytes, rng: Random, part: float) -> tuple[int, int]:
    """A range of `part` of a file, in its middle: neither head nor tail, which hold what containers need."""
    length = max(1, int(len(data) * part))
    begin = rng.randrange(len(data) // 10, max(len(data) // 10 + 1, len(data) * 9 // 10 - length))
    return begin, begin + length


def zeroed(path: Path, rng: Random) -> tuple[bytes, str]:
    data = path.read_bytes()
    a, b = _range(data, rng, rng.choice([0.002, 0.02, 0.2]))
    return data[:a] + bytes(b - a) + data[b:], f"zeros from {a} to {b}"


def zeroed_head(path: Path, rng: Random) -> tuple[bytes, str]:
    data = path.read_bytes()
    n = rng.choice([16, 256, 4096])
    return bytes(min(n, len(data))) + data[n:], f"the first {n} bytes are zeros"


def zeroed_tail(path: Path, rng: Random) -> tuple[bytes, str]:
    data = path.read_bytes()
    n = len(data) * rng.choice([1, 5]) // 10
    return data[:-n] + bytes(n), f"the last {n} bytes are zeros"


def overwritten(path: Path, rng: Random) -> tuple[bytes, str]:
    data = path.read_bytes()
    a, b = _range(data, rng, rng.choice([0.002, 0.02, 0.2]))
    return data[:a] + rng.randbytes(b - a) + data[b:], f"random bytes from {a} to {b}"


def removed(path: Path, rng: Random) -> tuple[bytes, str]:
    data = path.read_bytes()
    a, b = _range(data, rng, rng.choice([0.001, 0.02, 0.2]))
    return data[:a] + data[b:], f"without bytes {a} to {b}"


def repeated(path: Path, rng: Random) -> tuple[bytes, str]:
    data = path.read_bytes()
    a, b = _range(data, rng, rng.choice([0.02, 0.2]))
    return data[:b] + data[a:], f"bytes {a} to {b} twice"


def swapped(path: Path, rng: Random) -> tuple[bytes, str]:
    data = path.read_bytes()
    a, b = _range(data, rng, 0.1)
    c = min(b + (b - a), len(data))
    return data[:a] + data[b:c] + data[a:b] + data[c:], f"bytes {a} to {b} behind those to {c}"


def renamed(path: Path, rng: Random) -> tuple[bytes, str]:
    """The note's last word is the new suffix."""
    suffix = rng.choice(sorted(VIDEO_SUFFIXES - {path.suffix.lower()}))
    return path.read_bytes(), f"{path.suffix} is called {suffix}"


# Damage to what a container says


FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".ts": "mpegts", ".flv": "flv"}


def later(path: Path, *, hours: float) -> bytes:
    """The packets from the middle on are shown hours later. Raises what PyAV raises if that is too much to be said."""
    buffer = io.BytesIO()
    with av.open(str(path)) as reader, av.open(buffer, "w", format=FORMATS[path.suffix], options=EXACT) as writer:
        stream = reader.streams.video[0]
        copy = writer.add_stream_from_template(stream, opaque=True)
        packets = [p for p in reader.demux(stream) if p.dts is not None and p.pts is not None]
        for n, packet in enumerate(packets):
            if n >= len(packets) // 2:
                packet.pts += int(hours * 3600 / packet.time_base)
                packet.dts += int(hours * 3600 / packet.time_base)
            packet.stream = copy
            writer.mux(packet)
    return buffer.getvalue()


def jumped(path: Path, rng: Random) -> tuple[bytes, str] | None:
    if path.suffix not in FORMATS:
        return None
    hours = rng.choice([1, 20, 40, 100])
    try:
        return later(path, hours=hours), f"times jump by {hours} h in the middle"
    except av.FFmpegError:
        return None


def promised(path: Path, rng: Random) -> tuple[bytes, str] | None:
    """The header counts a million frames."""
    data = bytearray(path.read_bytes())
    if path.suffix.lower() == ".avi":
        struct.pack_into("<I", data, data.index(b"avih") + 8 + 16, MILLION)
        struct.pack_into("<I", data, data.index(b"strh") + 8 + 32, MILLION)
        return bytes(data), "dwTotalFrames and dwLength are a million"
    if path.suffix not in (".mp4", ".mov") or data.count(b"stsz") != 1:
        return None
    size, chunk, times, header = (data.index(name) for name in (b"stsz", b"stsc", b"stts", b"mdhd"))
    what = rng.choice(["stsz", "stsz of one size", "stsz, stsc, stts", "mdhd"])
    if what == "mdhd":
        struct.pack_into(">I", data, header + 20, 2**31 - 1)
    else:
        struct.pack_into(">I", data, size + 12, MILLION)
    if what in ("stsz of one size", "stsz, stsc, stts"):
        struct.pack_into(">I", data, size + 8, 100)
    if what == "stsz, stsc, stts":
        struct.pack_into(">I", data, chunk + 16, MILLION)
        struct.pack_into(">I", data, times + 12, MILLION)
    return bytes(data), f"{what}: a million frames, or 2^31 ticks"


MUTATIONS: dict[str, Mutation] = {
    **{f"truncated{n}": partial(truncated, tenths=n) for n in range(1, 10)},
    "bit": partial(flipped, bits=1),
    "bits": partial(flipped, bits=12),
    "rotten": partial(flipped, share=1e-4),
    "rotten_through": partial(flipped, share=1e-2),
    "zeroed": zeroed,
    "zeroed_head": zeroed_head,
    "zeroed_tail": zeroed_tail,
    "overwritten": overwritten,
    "removed": removed,
    "repeated": repeated,
    "swapped": swapped,
    "renamed": renamed,
    "jumped": jumped,
    "promised": promised,
}


# Files that are no videos


def a_picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(buffer, "JPEG")
    return buffer.getvalue()


def impostors(folder: Path) -> Iterator[Item]:
    rng = Random(0)
    ftyp = b"\x00\x00\x00\x1cftypisom\x00\x00\x02\x00isomiso2mp41"
    sound = silence(folder / "sound.mp4")  # a muxer wants a file
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
        "sound.mp4": (sound.read_bytes(), "sound alone"),
        "picture.mp4": (a_picture(), "a JPEG"),
        "box.mp4": (ftyp + b"\xff\xff\xff\xffmoov" + bytes(1000), "a box longer than the file"),
    }
    sound.unlink()
    for name, (content, note) in contents.items():
        yield None, name, content, note


# Files with pictures of 20,000 x 20,000 or 16,000 x 16,000, or that say so


def liars(folder: Path) -> Iterator[Item]:
    for name, content, note in (
        ("canvas.gif", _huge_gif(), "a GIF whose canvas is huge"),
        ("bomb.mov", bomb(HUGE), "PNG pictures that are huge, and nearly nothing on the disk"),
        ("large_bomb.mov", bomb(LARGE), "the same, of 16,000 each way"),
        ("late_bomb.mov", bomb(HUGE, sound=5), "PNG pictures, huge from the 6th on"),
        ("late_large_bomb.mov", bomb(LARGE, sound=5), "the same, of 16,000 each way"),
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
    """A sound PNG of one bit a pixel: of 20,000 each way, 50 MB that deflate to 50 KB."""
    header = struct.pack(">2I5B", side, side, 1, 0, 0, 0, 0)
    lines = zlib.compress(bytes((-(-side // 8) + 1) * side))
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", lines) + _chunk(b"IEND", b"")


def bomb(side: int, *, sound: int = 0) -> bytes:
    """A MOV, 25 pictures a second: `sound` of 64 pixels each way, which its header states if there are some, and three
    of `side`."""
    pictures = [_picture(64)] * sound + [_picture(side)] * 3
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mov") as container:
        size = 64 if sound else side
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


def _enlarged(unit: bytes) -> bytes:
    bits = "".join(f"{byte:08b}" for byte in unit.replace(b"\x00\x00\x03", b"\x00\x00"))
    bits = bits[: bits.rindex("1") + 1]
    at = 32  # the unit's type, profile, constraints, level

    def golomb() -> int:
        nonlocal at
        zeros = bits.index("1", at) - at
        at += 2 * zeros + 1
        return int(bits[at - zeros - 1 : at], 2) - 1

    golomb()  # its id
    if unit[1] >= 100:  # a high profile: chroma format, two depths, two flags
        for _ in range(3):
            golomb()
        at += 2
    golomb()  # how frames are numbered
    if golomb() == 0:  # how their order is coded
        golomb()
    golomb()  # references
    at += 1
    begin = at
    golomb()
    golomb()
    number = f"{HUGE // 16:b}"  # in macroblocks; stored less one, coded plus one
    coded = "0" * (len(number) - 1) + number
    bits = bits[:begin] + 2 * coded + bits[at:]
    bits += "0" * (-len(bits) % 8)
    new = bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))
    for end in range(4):
        new = new.replace(bytes([0, 0, end]), bytes([0, 0, 3, end]))
    return new


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    good = options.folder / "sound"
    good.mkdir(parents=True, exist_ok=True)
    made = damage(options.folder, sound(good), count=options.count, seed=options.seed)
    for path in good.iterdir():
        path.unlink()
    good.rmdir()
    lines = ["\t".join((d.id, d.kind, d.source.name if d.source else "", d.note)) for d in made]
    (options.folder / "damage.tsv").write_text("\n".join(["id\tkind\tsource\tnote", *lines]) + "\n")
    print(f"{len(made)} files, listed in {options.folder / 'damage.tsv'}")


if __name__ == "__main__":
    main()
