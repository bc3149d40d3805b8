"""Damages intact videos in seeded ways, and lists what was done to each; adds files that lie or are no videos.

    python -m tests.damage <folder> --count 400 --seed 0

writes them there, with a list `damage.tsv`; the folder is a collection.
"""

from __future__ import annotations

import argparse
import io
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from random import Random

import av
import numpy as np

from tests.clips import CLIPS
from tests.conftest import LIMITS, TOYDATA, VIDEOS
from tests.hostile_files import Item, impostors, liars
from vfx.collection.collection import VIDEO_SUFFIXES
from vfx.decoding import Frame, VideoReader
from vfx.sampling.samplers import all_frames

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


Mutation = Callable[[Path, bytes, Random], tuple[bytes, str] | None]  # new content and a note; None: not of this file


def intact(folder: Path, names: Sequence[str] = tuple(CLIPS)) -> list[Path]:
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


def _of_all(kind: str, mutation: Mutation, sources: Sequence[Path], seed: int) -> Iterator[Item]:
    rng = Random(f"{seed} {kind}")
    for source in rng.sample(sources, len(sources)):
        done = mutation(source, source.read_bytes(), rng)
        if done is not None:
            name = source.name if kind != "renamed" else f"{source.stem}{done[1].split()[-1]}"
            yield source, name, *done


# What a decoder makes of them


NEAR = 2.0  # mean difference of pixels, in levels: neighbours of a painted clip differ by 20, copies of one by less


def compared(task: tuple[Damaged, str]) -> Iterator[Counter[str]]:
    """Count what a decoder makes of a damaged clip.

    Frames are "right" if they look like the frame of their number in the intact clip; "moved" if they look like the
    frame of their time, because those before are lost; "repainted" if they look like none; "wrong" if they look like
    another. Besides, "files" is 1, "failed" is 1 if the reader reports a problem, and "lost" counts missing frames.
    """
    damaged, decoder = task
    assert damaged.source is not None
    intact = _delivered(damaged.source, decoder)
    stack = np.stack([frame.pixels for frame in intact]).astype(np.int16)
    tolerance = 1 if damaged.source.suffix == ".mpg" else 2e-3  # seconds; FFmpeg guesses most times of MPEG-PS
    found = Counter(files=1)
    frames: list[Frame] = []
    reader = VideoReader(damaged.path, all_frames, decoder=decoder, limits=LIMITS)
    for frame in reader:
        frames = [frame] if frame.first else [*frames, frame]
    for frame in frames[: 0 if reader.discarded else None]:
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
            found["moved" if abs(frame.seconds - intact[nearest].seconds) < tolerance else "wrong"] += 1
    found["failed"] = int(bool(reader.problem))
    found["lost"] = max(0, len(intact) - len(frames))
    yield found


@lru_cache(maxsize=3 * len(CLIPS))
def _delivered(path: Path, decoder: str) -> list[Frame]:
    return list(VideoReader(path, all_frames, decoder=decoder))


# Damage to bytes


def truncated(path: Path, data: bytes, rng: Random, *, tenths: int) -> tuple[bytes, str]:
    return data[: len(data) * tenths // 10], f"cut after {tenths} tenths"


def flipped(path: Path, data: bytes, rng: Random, *, bits: int = 0, share: float = 0) -> tuple[bytes, str]:
    """Flip `bits` of them, or a `share` of all."""
    damaged = bytearray(data)
    n = bits or round(len(data) * 8 * share)
    for _ in range(n):
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(damaged), f"{n} bits flipped"


def _range(data: bytes, rng: Random, part: float) -> tuple[int, int]:
    """A range of `part` of a file, in its middle: neither head nor tail, which hold what containers need."""
    length = max(1, int(len(data) * part))
    begin = rng.randrange(len(data) // 10, max(len(data) // 10 + 1, len(data) * 9 // 10 - length))
    return begin, begin + length


def zeroed(path: Path, data: bytes, rng: Random) -> tuple[bytes, str]:
    a, b = _range(data, rng, rng.choice([0.002, 0.02, 0.2]))
    return data[:a] + bytes(b - a) + data[b:], f"zeros from {a} to {b}"


def zeroed_head(path: Path, data: bytes, rng: Random) -> tuple[bytes, str]:
    n = rng.choice([16, 256, 4096])
    return bytes(min(n, len(data))) + data[n:], f"the first {n} bytes are zeros"


def zeroed_tail(path: Path, data: bytes, rng: Random) -> tuple[bytes, str]:
    n = len(data) * rng.choice([1, 5]) // 10
    return data[:-n] + bytes(n), f"the last {n} bytes are zeros"


def overwritten(path: Path, data: bytes, rng: Random) -> tuple[bytes, str]:
    a, b = _range(data, rng, rng.choice([0.002, 0.02, 0.2]))
    return data[:a] + rng.randbytes(b - a) + data[b:], f"random bytes from {a} to {b}"


def removed(path: Path, data: bytes, rng: Random) -> tuple[bytes, str]:
    a, b = _range(data, rng, rng.choice([0.001, 0.02, 0.2]))
    return data[:a] + data[b:], f"without bytes {a} to {b}"


def repeated(path: Path, data: bytes, rng: Random) -> tuple[bytes, str]:
    a, b = _range(data, rng, rng.choice([0.02, 0.2]))
    return data[:b] + data[a:], f"bytes {a} to {b} twice"


def swapped(path: Path, data: bytes, rng: Random) -> tuple[bytes, str]:
    a, b = _range(data, rng, 0.1)
    c = min(b + (b - a), len(data))
    return data[:a] + data[b:c] + data[a:b] + data[c:], f"bytes {a} to {b} behind those to {c}"


def renamed(path: Path, data: bytes, rng: Random) -> tuple[bytes, str]:
    """The note's last word is the new suffix."""
    suffix = rng.choice(sorted(VIDEO_SUFFIXES - {path.suffix.lower()}))
    return data, f"{path.suffix} is called {suffix}"


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


def jumped(path: Path, data: bytes, rng: Random) -> tuple[bytes, str] | None:
    if path.suffix not in FORMATS:
        return None
    hours = rng.choice([1, 20, 40, 100])
    try:
        return later(path, hours=hours), f"times jump by {hours} h in the middle"
    except av.FFmpegError:
        return None


def promised(path: Path, data: bytes, rng: Random) -> tuple[bytes, str] | None:
    """The header counts a million frames."""
    damaged = bytearray(data)
    if path.suffix.lower() == ".avi":
        struct.pack_into("<I", damaged, data.index(b"avih") + 8 + 16, MILLION)
        struct.pack_into("<I", damaged, data.index(b"strh") + 8 + 32, MILLION)
        return bytes(damaged), "dwTotalFrames and dwLength are a million"
    if path.suffix not in (".mp4", ".mov") or data.count(b"stsz") != 1:
        return None
    size, chunk, times, header = (data.index(name) for name in (b"stsz", b"stsc", b"stts", b"mdhd"))
    what = rng.choice(["stsz", "stsz of one size", "stsz, stsc, stts", "mdhd"])
    if what == "mdhd":
        struct.pack_into(">I", damaged, header + 20, 2**31 - 1)
    else:
        struct.pack_into(">I", damaged, size + 12, MILLION)
    if what in ("stsz of one size", "stsz, stsc, stts"):
        struct.pack_into(">I", damaged, size + 8, 100)
    if what == "stsz, stsc, stts":
        struct.pack_into(">I", damaged, chunk + 16, MILLION)
        struct.pack_into(">I", damaged, times + 12, MILLION)
    return bytes(damaged), f"{what}: a million frames, or 2^31 ticks"


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    good = options.folder / "intact"
    good.mkdir(parents=True, exist_ok=True)
    made = damage(options.folder, intact(good), count=options.count, seed=options.seed)
    for path in good.iterdir():
        path.unlink()
    good.rmdir()
    lines = ["\t".join((d.id, d.kind, d.source.name if d.source else "", d.note)) for d in made]
    (options.folder / "damage.tsv").write_text("\n".join(["id\tkind\tsource\tnote", *lines]) + "\n")
    print(f"{len(made)} files, listed in {options.folder / 'damage.tsv'}")


if __name__ == "__main__":
    main()
