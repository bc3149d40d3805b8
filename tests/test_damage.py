"""Damaged files, and files that lie, cost at most their own frames: each has rows or a reason, and no row is wrong."""

from __future__ import annotations

import contextlib
import itertools
import re
import subprocess
import sys
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from tests import damage, hostile_files
from tests.clips import CLIPS, corrupt, paint
from tests.conftest import LIMITS, ROOT, TOY_CLIPS, link_clips
from tests.feature_files import BATCH_COMPOSITION
from tests.test_kills import session
from vfx import extract
from vfx.decoding import VideoReader, check_decoder, demux
from vfx.decoding.video_reader import BACKENDS
from vfx.errors import UsageError, VideoError
from vfx.extraction import WORKER_PRELOAD
from vfx.features.feature_file import FeatureFile
from vfx.sampling import samplers
from vfx.system import worker_pool

MOST_MEMORY = {"main": 1500, "reading": 1500}  # MB of one process; limits.memory_gb allows those that read 4000 more

# Whatever is wrong with a video, one or several of these say so.
REASONS = re.compile(
    r"\S+ is empty \(0 bytes\)"
    r"|\S+ has no video stream"
    r"|\S+ holds no frame"
    r"|\S+ is of a codec that FFmpeg does not know"
    r"|\S+ is damaged from its first frame on"
    r"|\S+ cannot be read as a video: (its content is of another format|it ends before its first frame"
    r"|something that FFmpeg cannot read|Invalid data found when processing input)"
    r"|\S+ is \d+x\d+ pixels, more than limits\.pixels \(\d+\) allows"
    r"|\S+ lasts [\d.]+ hours, more than limits\.hours \(48\) allows"
    r"|it takes more memory than limits\.memory_gb allows"
    r"|\d+ of \d+ frames could be decoded: ("
    r"(Invalid data found when processing input|something that FFmpeg cannot read|values that make no sense"
    r"|a packet of the file is incomplete|a packet gave no frame|the decoder found a frame corrupt|the file is damaged)"
    r"( at -?[\d.]+ s)?"
    r"|a frame is \d+x\d+ pixels, more than limits\.pixels \(\d+\) allows"
    r"|\d+ of \d+ frames did not come out of the decoder"
    r"|frames came out of the decoder in another order than their times'"
    r"|frame \d+ came out with time -?\d+, and the packets say another)"
    r"|file holds \d+ of the \d+ frames that its header promises"
    r"|file ends \d+ bytes early"
    r"|file is damaged (in \d+ places, the first )?at byte \d+(: the \d+ frames behind cannot be placed)?"
    r"|the times of \d+ of \d+ frames are out of order"
)


def peaks(process: subprocess.Popen[str]) -> dict[str, int]:
    """MB that each kind of its processes held at most, until the process ends."""
    held: dict[str, int] = defaultdict(int)
    while process.poll() is None:
        for number, line in session(process.pid).items():
            with contextlib.suppress(OSError, StopIteration):
                status = Path(f"/proc/{number}/status").read_text().splitlines()
                most = next(int(row.split()[1]) // 1000 for row in status if row.startswith("VmHWM:"))
                kind = "reading" if "forkserver" in line else "main"
                held[kind] = max(held[kind], most)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.05)
    return held


def rows_of(video: str, file: FeatureFile) -> list[str]:
    return [id for id in file.ids if id.rpartition("_")[0] == video]


def loses_frames_unseen(made: damage.Damaged) -> bool:
    """Whether nothing in a file says that some of its frames are gone."""
    if made.kind in ("bit", "bits", "rotten", "jumped"):
        return True  # what was hit may be what says so, or a time
    if made.path.suffix in (".gif", ".wmv"):
        return True  # no picture of a GIF has a number, and those of objects in ASF are not looked at
    return made.kind.startswith("truncated") and made.source is not None and _is_cut_between_packets(made.path)


def _is_cut_between_packets(path: Path) -> bool:
    """MPEG-TS and program streams whose size is that of packets (FFmpeg's packs have 2048 bytes, and it writes no end
    code); an FLV of whose last tag nothing but its size, behind it, is missing."""
    if path.suffix == ".flv":
        return demux(path).damage == ""
    return path.stat().st_size % {".ts": 188, ".mpg": 2048}.get(path.suffix, path.stat().st_size + 1) == 0


@pytest.mark.parametrize("count", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_damaged_files_cost_nothing_but_themselves(
    count: int, tmp_path: Path, toy_features: FeatureFile, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = link_clips(tmp_path / "c", *TOY_CLIPS) / "VideoData"
    clips = tmp_path / "clips"
    clips.mkdir()
    made = damage.damage(folder, damage.intact(clips), count=count, seed=0)
    assert len(made) == count

    with (tmp_path / "said").open("w+") as said:
        run = subprocess.Popen(
            [sys.executable, "-m", "vfx.extract", f"collection={folder.parent}", f"output_dir={tmp_path / 'out'}",
             "dataset.num_workers=2", "trainer=cpu"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            start_new_session=True,
        )  # fmt: skip
        held = peaks(run)
        said.seek(0)
        assert run.returncode == 0, said.read()
        assert "Traceback" not in said.read()
    assert run.stdout is not None
    with run.stdout:
        file = FeatureFile(run.stdout.read().strip().splitlines()[-1])

    reasons: dict[str, list[str]] = {failure.id: [] for failure in file.failures}
    for failure in file.failures:
        reasons[failure.id].append(failure.error)
        for part in failure.error.split("; "):
            assert REASONS.fullmatch(part), f"{failure.id}: {part}"
    rows = {d.id: len(file[d.id]) if d.id in file else 0 for d in made}
    wanted = {path: len(samplers.half_second(demux(path))) for path in {d.source for d in made if d.source}}
    for d in made:
        assert rows[d.id] or d.id in reasons, f"{d.id} ({d.note}) has neither rows nor a reason"
        if d.source is not None and rows[d.id] < wanted[d.source] and d.id not in reasons:
            assert loses_frames_unseen(d), (
                f"{d.id} ({d.note}) has {rows[d.id]} of {wanted[d.source]} rows and no reason"
            )

    assert not set(toy_features) & set(reasons)
    wrong = 0
    for video in toy_features:
        assert rows_of(video, file) == rows_of(video, toy_features)
        wrong += int((abs(file[video] - toy_features[video]).max(axis=1) > BATCH_COMPOSITION).sum())
    with capsys.disabled():
        print(
            f"\nfiles damaged: {count}, with rows: {sum(n > 0 for n in rows.values())}, with a reason: {len(reasons)}"
        )
        for kind in sorted({d.kind.rstrip("0123456789") for d in made}):
            ids = [d.id for d in made if d.kind.rstrip("0123456789") == kind]
            n, read, told = len(ids), sum(rows[id] > 0 for id in ids), sum(id in reasons for id in ids)
            print(f"  {kind}: {n}, with rows: {read}, with a reason: {told}")
        print(f"sound videos: {len(toy_features)}, their wrong rows: {wrong}; MB held at most: {dict(held)}")
    assert wrong == 0
    assert held.keys() == MOST_MEMORY.keys()
    assert all(held[kind] < MOST_MEMORY[kind] for kind in held)


def may_show_another(made: damage.Damaged) -> bool:
    """Whether a frame of this file may pass for another, and nothing tells."""
    flipped = made.kind in ("bit", "bits", "rotten", "rotten_through")  # a time, or what a decoder repeats
    return flipped or made.path.suffix in (".gif", ".wmv")  # see loses_frames_unseen


@pytest.mark.dear
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("count", "seeds"), [(100, 1), pytest.param(700, 6, marks=pytest.mark.slow)])
def test_no_frame_passes_for_another(
    count: int, seeds: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for "jumped", for which it is right that frames come in another order; by processes that may crash."""
    clips = tmp_path / "clips"
    clips.mkdir()
    sources = damage.painted(clips)
    kinds = [kind for kind in damage.MUTATIONS if kind != "jumped"]
    decoders = installed("auto", "decord", "torchcodec")
    counts = {decoder: Counter[str]() for decoder in decoders}
    excused = 0
    for seed in range(seeds):
        folder = tmp_path / str(seed)
        folder.mkdir()
        made = damage.damage(folder, sources, count=count, seed=seed, kinds=kinds)
        tasks = [(d, decoder) for decoder in decoders for d in made]
        run = partial(
            worker_pool.run,
            processes=2,
            patience=LIMITS.patience,
            memory=LIMITS.memory,
            preload=WORKER_PRELOAD,
            is_last=bool,
        )
        for (d, decoder), found in run(tasks, damage.compared):
            assert not isinstance(found, worker_pool.WorkerFailure), f"{d.path.name} ({d.note}): {found}"
            counts[decoder] += found
            if may_show_another(d):
                excused += found["wrong"]
            else:
                assert found["wrong"] == 0, f"{d.path.name} ({d.note}) by {decoder}: {found}"
    for decoder, found in counts.items():
        frames = sum(found[kind] for kind in ("right", "moved", "repainted", "wrong"))
        with capsys.disabled():
            print(f"\n{decoder}: {dict(found)}; {frames} frames delivered")
        assert found["right"] > frames / 2
        assert excused < frames / 200


def installed(*decoders: str) -> list[str]:
    found = []
    for decoder in decoders:
        with contextlib.suppress(UsageError):
            check_decoder(decoder)
            found.append(decoder)
    return found


needs_decord = pytest.mark.skipif(not installed("decord"), reason="decord is not installed")


@needs_decord
@pytest.mark.parametrize("name", ["h264.mp4", "mpeg4_b.mp4"])
def test_what_decord_conceals_is_caught(name: str, tmp_path: Path) -> None:
    sound = CLIPS[name].write(tmp_path)
    path = corrupt(sound, tmp_path / "bad.mp4", packets=[15, 16, 17, 18])
    pixels = [frame.pixels for frame in VideoReader(sound, samplers.all_frames, decoder="decord")]
    alone = BACKENDS["decord"].frames(path, demux(path), np.arange(40))
    assert [frame.index for frame in alone if differs(frame.pixels, pixels[frame.index])]
    frames = list(VideoReader(path, samplers.all_frames, decoder="decord"))
    assert frames
    assert not [frame.index for frame in frames if differs(frame.pixels, pixels[frame.index])]


@needs_decord
def test_a_frame_that_decord_puts_in_place_of_another_is_caught(tmp_path: Path) -> None:
    """PyAV makes of this packet what there is of its picture, decord the picture before; found by
    `test_no_frame_passes_for_another`."""
    (sound,) = damage.painted(tmp_path, ["mjpeg.avi"])
    path = tmp_path / "bad.avi"
    data = bytearray(sound.read_bytes())
    data[17243:17361] = bytes(118)
    path.write_bytes(data)
    reading = VideoReader(path, samplers.all_frames, decoder="decord")
    frames = [frame.pixels for frame in reading]
    assert len(frames) == 40
    assert reading.decoder == "decord+pyav"
    assert not any(np.array_equal(*pair) for pair in itertools.pairwise(frames))
    with pytest.raises(VideoError, match=r"^decord shows frame 4 in place of frame 5$"):
        list(BACKENDS["decord"].frames(path, demux(path), np.array([1, 5, 7])))


@needs_decord
def test_a_picture_that_stands_still_is_decords(tmp_path: Path) -> None:
    path = tmp_path / "still.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for number in range(30):
            picture = av.VideoFrame.from_ndarray(paint(number // 10, 0), format="rgb24")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    reading = VideoReader(path, samplers.all_frames, decoder="decord")
    frames = [frame.pixels for frame in reading]
    assert (len(frames), reading.decoder, reading.problem) == (30, "decord", "")
    assert sum(np.array_equal(*pair) for pair in itertools.pairwise(frames)) > 5


def differs(a: np.ndarray, b: np.ndarray) -> bool:
    return float(np.abs(a.astype(np.int16) - b).mean()) > damage.NEAR


@pytest.mark.dear
def test_what_asks_for_more_than_the_limits_is_refused_by_the_limits_name(tmp_path: Path) -> None:
    """All but `limits.frames` and `limits.memory_gb` are those of everybody."""
    videos = link_clips(tmp_path / "c", "retina.mp4", "camera.mp4") / "VideoData"
    (videos / "huge.mov").write_bytes(hostile_files.bomb(hostile_files.HUGE))
    (videos / "large.mov").write_bytes(hostile_files.bomb(hostile_files.LARGE))
    (videos / "hungry.mov").write_bytes(hostile_files.bomb(8_000))
    (videos / "long.mkv").write_bytes(damage.later(CLIPS["h264_vfr.mkv"].write(tmp_path), hours=100))
    options = ["limits.frames=158", "limits.memory_gb=0.3", "dataset.num_workers=2", "trainer=cpu"]
    file = FeatureFile(extract.main(f"collection={videos.parent}", f"output_dir={tmp_path / 'out'}", *options))
    assert list(file.videos) == ["retina"]
    assert {f.id: f.error for f in file.failures} == {
        "camera": "camera.mp4 has more frames than limits.frames (158) allows",
        "huge": "huge.mov is 20000x20000 pixels, more than limits.pixels (134217728) allows",
        "large": "large.mov is 16000x16000 pixels, more than limits.pixels (134217728) allows",
        "hungry": "it takes more memory than limits.memory_gb allows",
        "long": "long.mkv lasts 100.0 hours, more than limits.hours (48) allows",
    }


@pytest.mark.dear
@pytest.mark.parametrize("decoder", ["auto", "decord"])
def test_pictures_that_grow_beyond_the_limit_end_the_reading(decoder: str, tmp_path: Path) -> None:
    path = tmp_path / "late.mov"
    path.write_bytes(hostile_files.bomb(hostile_files.LARGE, small=5))
    reading = VideoReader(path, samplers.all_frames, decoder=decoder, limits=LIMITS)
    assert [frame.pixels.shape for frame in reading] == [(64, 64, 3)] * 5
    assert reading.problem == (
        "5 of 8 frames could be decoded: a frame is 16000x16000 pixels, more than limits.pixels (134217728) allows"
    )


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("picture.mp4", hostile_files.a_picture(), "its content is of another format"),
        ("nothing.ts", (b"G\x1f\xff\x10" + b"\xff" * 184) * 500, "it ends before its first frame"),
    ],
)
def test_reasons_are_in_words(name: str, content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    reading = VideoReader(tmp_path / name, samplers.all_frames)
    assert list(reading) == []
    assert reading.problem == f"{name} cannot be read as a video: {reason}"
