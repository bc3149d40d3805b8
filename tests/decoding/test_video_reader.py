"""A reading delivers what can be read soundly, says what is missing, and never raises for a bad video."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from tests.clips import CLIPS, corrupt, cut, read, remux, silence, truncate, without_first_group
from tests.decoding.conftest import MakeClip, skip_unless_installed
from vfx.decoding import DECODERS, Frame, VideoReader, can_read, check_decoder, demux
from vfx.decoding.pyav import decoded_timeline
from vfx.errors import SamplerError, UsageError, VideoError
from vfx.sampling import samplers


def read_all(path: Path, decoder: str = "auto") -> tuple[list[Frame], VideoReader]:
    reading = VideoReader(path, samplers.all_frames, decoder=decoder)
    return list(reading), reading


def numbers(frames: list[Frame]) -> list[int]:
    return [read(frame.pixels)[0] for frame in frames]


def test_a_sound_video(clip: MakeClip) -> None:
    frames, reading = read_all(clip("h264.mp4"))
    assert numbers(frames) == list(range(40))
    assert (reading.decoder, reading.stage, reading.problem) == ("pyav", "", "")
    assert (reading.expected, reading.decoded, len(reading.timeline)) == (40, 40, 40)


def test_reading_twice_gives_the_same(clip: MakeClip) -> None:
    reading = VideoReader(clip("vp9.webm"), samplers.half_second)
    first, second = list(reading), list(reading)
    assert [f.index for f in first] == [f.index for f in second] == [0, 13, 25, 38]
    assert (reading.decoder, reading.decoded) == ("pyav", 4)


# What cannot be opened


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("empty.mp4", b"", "empty.mp4 is empty (0 bytes)"),
        ("text.mp4", b"not a video\n" * 50, "text.mp4 cannot be read as a video: Invalid data found"),
        ("page.avi", b"<!DOCTYPE html><html>404</html>", "page.avi cannot be read as a video: Invalid data"),
        ("missing.mp4", None, "missing.mp4 cannot be read as a video: No such file or directory"),
    ],
)
def test_no_video(name: str, content: bytes | None, problem: str, decoder: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    frames, reading = read_all(path, decoder)
    assert frames == []
    assert (reading.stage, reading.decoder, reading.timeline) == ("open", "", None)
    assert reading.problem.startswith(problem)


def test_folder_and_header_without_samples(clip: MakeClip, tmp_path: Path) -> None:
    assert read_all(tmp_path)[1].stage == "open"
    no_index = truncate(clip("h264.mp4"), tmp_path / "no_index.mp4", keep=0.6)  # its index is at the end
    assert read_all(no_index)[1].problem.startswith("no_index.mp4 cannot be read as a video: Invalid data")


def test_unknown_codec(clip: MakeClip, decoder: str, tmp_path: Path) -> None:
    path = tmp_path / "new.mp4"
    path.write_bytes(clip("h264.mp4").read_bytes().replace(b"avc1", b"zzzz"))
    frames, reading = read_all(path, decoder)
    assert (frames, reading.stage) == ([], "open")
    assert reading.problem == "new.mp4 is of a codec that FFmpeg does not know"


def test_metadata_need_not_be_utf8(clip: MakeClip, tmp_path: Path) -> None:
    path = tmp_path / "latin.flv"
    path.write_bytes(clip("h264.flv").read_bytes().replace(b"Lavf", b"L\xe4\xf6\xfc"))
    assert numbers(read_all(path)[0]) == list(range(40))


@pytest.mark.parametrize("name", ["h264_fast.mp4", "h264_vfr.mkv", "mpeg4_b.avi", "mpeg2.ts", "gif.gif", "h264.flv"])
def test_no_junk_raises(name: str, clip: MakeClip, tmp_path: Path) -> None:
    """Random bytes anywhere in a file: frames are delivered, or it is said that they are missing."""
    random = np.random.default_rng(0)
    path = tmp_path / name
    for _ in range(10):
        data = np.frombuffer(clip(name).read_bytes(), np.uint8).copy()
        for begin in random.integers(0, len(data) - 4, random.integers(1, 20)):
            data[begin : begin + 4] = random.integers(0, 256, 4)
        path.write_bytes(data.tobytes())
        frames, reading = read_all(path)
        valid = len(frames) - max((i for i, frame in enumerate(frames) if frame.first), default=0)
        assert valid == reading.decoded
        assert bool(reading.problem) == bool(reading.stage)
        assert reading.problem or valid == reading.expected > 0


def test_audio_only(tmp_path: Path) -> None:
    assert read_all(silence(tmp_path / "sound.mp4"))[1].problem == "sound.mp4 has no video stream"


def test_a_name_with_colon_and_space_is_a_file(clip: MakeClip, tmp_path: Path, decoder: str) -> None:
    path = tmp_path / "http: a b.mp4"
    path.write_bytes(clip("h264.mp4").read_bytes())
    assert numbers(read_all(path, decoder)[0]) == list(range(40))


# What is cut short or damaged


@pytest.mark.parametrize("name", ["h264_fast.mp4", "mpeg4.avi"])
def test_cut_short_where_the_header_counts_frames(name: str, clip: MakeClip, decoder: str, tmp_path: Path) -> None:
    path = truncate(clip(name), tmp_path / f"short_{name}", keep=0.8)
    frames, reading = read_all(path, decoder)
    n = len(reading.timeline)
    assert 10 < n < 40
    assert n - 1 <= len(frames) <= n  # the last packet may be there in part
    assert numbers(frames) == list(range(len(frames)))
    assert reading.stage == "decode"
    assert f"file holds {n} of the 40 frames that its header promises" in reading.problem


def test_cut_short_where_the_header_gives_a_duration(tmp_path: Path) -> None:
    whole = replace(CLIPS["h264_vfr.mkv"], num_frames=80).write(tmp_path)
    assert demux(whole).promised == 80
    path = truncate(whole, tmp_path / "short.mkv", keep=0.5)
    frames, reading = read_all(path)
    assert numbers(frames) == list(range(len(frames)))
    assert 20 < len(frames) < 60
    assert "frames that its header promises" in reading.problem


CHECKED = ["h264.mp4", "h264.avi", "hevc.mp4", "mpeg4_b.mp4", "mpeg4.avi", "mjpeg.avi"]


@pytest.mark.parametrize("at", [0.0, 0.1])
@pytest.mark.parametrize("name", CHECKED)
def test_damage_withholds_what_builds_on_it(name: str, at: float, clip: MakeClip, tmp_path: Path) -> None:
    """Every frame that is delivered has the very pixels of the sound file, and frames after a key frame return."""
    sound, _ = read_all(clip(name))
    path = corrupt(clip(name), tmp_path / f"bad_{name}", packets=[16], at=at)
    frames, reading = read_all(path)
    assert frames
    for frame in frames:
        assert np.array_equal(frame.pixels, sound[frame.index].pixels)
        assert frame.seconds == sound[frame.index].seconds
    if len(frames) < 40:
        assert reading.stage == "decode"
        assert reading.problem.startswith(f"{len(frames)} of 40 frames could be decoded: ")
        assert len(frames) >= 12
        assert name == "hevc.mp4" or frames[-1].index == 39
    else:
        assert reading.problem == ""


def test_the_picture_at_which_a_gif_is_cut_is_withheld(clip: MakeClip, tmp_path: Path) -> None:
    path = truncate(clip("gif.gif"), tmp_path / "short.gif", keep=0.5)
    frames, reading = read_all(path)
    assert numbers(frames) == list(range(20))
    assert reading.problem == "20 of 21 frames could be decoded: a packet of the file is incomplete at 0.80 s"


def test_frames_of_av1_that_build_on_what_was_passed_over_are_withheld(clip: MakeClip, tmp_path: Path) -> None:
    """dav1d takes zeros for a unit that it need not know, and says nothing."""
    data = bytearray(clip("av1.mp4").read_bytes())
    with av.open(str(clip("av1.mp4"))) as container:
        places = [(p.pos, p.size) for p in container.demux() if p.size]
    for position, size in places[14:17]:
        data[position : position + size] = bytes(size)
    path = tmp_path / "zeros.mp4"
    path.write_bytes(data)
    frames, reading = read_all(path)
    assert numbers(frames) == [*range(14), *range(24, 40)]
    assert reading.problem == "30 of 40 frames could be decoded: a packet gave no frame at 0.56 s"


@pytest.mark.parametrize("backend", ["decord", "torchcodec"])
def test_a_decoder_that_fails_hands_over(backend: str, clip: MakeClip, tmp_path: Path) -> None:
    """PyAV goes on after the last frame that the other delivered, and each index comes once. It passes over a frame
    that nobody wants and on which none builds; the others fail at its damage."""
    skip_unless_installed(backend)
    sound = replace(CLIPS["h264.mp4"], name="long.mp4", num_frames=100).write(tmp_path)
    path = corrupt(sound, tmp_path / "bad.mp4", packets=[59], at=0.0)  # frame 58
    reading = VideoReader(path, lambda timeline: np.delete(np.arange(len(timeline)), 58), decoder=backend)
    frames = list(reading)
    # decord decodes ahead in a thread, and may meet the damage before it has delivered a frame
    assert reading.decoder in {f"{backend}+pyav", *(["pyav"] if backend == "decord" else [])}
    assert [frame.index for frame in frames] == numbers(frames) == [*range(58), *range(59, 100)]
    assert [frame.first for frame in frames] == [True] + [False] * (len(frames) - 1)
    assert reading.problem == ""


@pytest.mark.parametrize("backend", ["decord", "torchcodec"])
def test_a_decoder_that_conceals_damage_is_not_asked(backend: str, clip: MakeClip, tmp_path: Path) -> None:
    skip_unless_installed(backend)
    path = corrupt(clip("h264.mp4"), tmp_path / "bad.mp4", packets=[30, 38], at=0.3)
    frames, reading = read_all(path, backend)
    assert reading.decoder == "pyav"
    indices = [frame.index for frame in frames]
    assert (numbers(frames), len(indices)) == (indices, 30)
    _, auto = read_all(path)
    assert (auto.decoder, auto.problem, auto.decoded) == ("pyav", reading.problem, 30)
    assert auto.problem


def test_damage_after_the_last_wanted_frame_is_no_problem(clip: MakeClip, tmp_path: Path) -> None:
    path = corrupt(clip("h264.mp4"), tmp_path / "bad.mp4", packets=[30])
    reading = VideoReader(path, lambda timeline: np.array([0, 5]))
    assert numbers(list(reading)) == [0, 5]
    assert reading.problem == ""


# Packets that mislead


def test_packets_that_the_decoder_drops_start_the_reading_over(clip: MakeClip, tmp_path: Path) -> None:
    """A recording that begins between groups: HEVC's leading pictures have packets, but never come out."""
    path = without_first_group(clip("hevc.ts"), tmp_path / "late.ts")
    frames, reading = read_all(path)
    true = decoded_timeline(path)
    assert reading.problem == ""
    assert reading.timeline.seconds.tolist() == true.seconds.tolist()
    assert [frame.index for frame in frames] == list(range(len(true)))
    assert [frame.first for frame in frames].count(True) == 1
    begin = numbers(frames)[0]
    assert numbers(frames) == list(range(begin, 40))
    assert frames[-1].seconds - frames[0].seconds == pytest.approx((39 - begin) / 25, abs=1e-3)
    (last,) = VideoReader(path, lambda timeline: np.array([len(timeline) - 1]))
    assert (last.index, last.seconds) == (frames[-1].index, frames[-1].seconds)


def test_a_change_of_size_is_kept(tmp_path: Path) -> None:
    """decord would scale all frames to the size of the first, be that wanted or not."""
    small = replace(CLIPS["vp8.webm"], name="small.mkv", num_frames=20).write(tmp_path)
    large = replace(CLIPS["vp8.webm"], name="large.mkv", num_frames=20, start=0.8, width=160, height=128)
    path = remux(small, large.write(tmp_path), target=tmp_path / "both.webm")
    for decoder in ("auto", "decord"):
        frames, _ = read_all(path, decoder)
        assert [frame.pixels.shape for frame in frames] == [(96, 128, 3)] * 20 + [(128, 160, 3)] * 20
        assert [read(frame.pixels)[1] for frame in frames] == [40 * i for i in range(40)]
        assert [frame.pixels.shape for frame in VideoReader(path, lambda _: np.array([30]), decoder=decoder)] == [
            (128, 160, 3)
        ]


def test_a_stream_that_begins_in_mid_file(clip: MakeClip, tmp_path: Path) -> None:
    """A recording goes over into another programme: the first is read, whole."""
    other = replace(CLIPS["mpeg2.ts"], muxing={"mpegts_start_pid": "0x300", "mpegts_pmt_start_pid": "0x1100"})
    path = tmp_path / "both.ts"
    path.write_bytes(clip("h264.ts").read_bytes() + other.write(tmp_path).read_bytes())
    frames, reading = read_all(path)
    assert numbers(frames) == list(range(40))
    assert reading.problem == ""


def test_cut_of_a_cut(clip: MakeClip, tmp_path: Path) -> None:
    once = cut(clip("h264.mp4"), tmp_path / "once.mp4", seconds=0.6)
    assert numbers(read_all(once)[0]) == list(range(15, 40))


# Use


@pytest.mark.parametrize(
    ("name", "decoders"),
    [("h264.mp4", {"pyav", "decord", "torchcodec"}), ("h264.ts", {"pyav"}), ("mpeg4_b.avi", {"pyav"})],
)
def test_a_decoder_can_read_what_it_agrees_with(clip: MakeClip, decoder: str, name: str, decoders: set[str]) -> None:
    path = clip(name)
    assert can_read(decoder, path, demux(path)) == (decoder in decoders)


def test_unknown_decoder() -> None:
    with pytest.raises(UsageError, match=r"decoder \(opencv\) must be one of auto, pyav, decord, torchcodec"):
        VideoReader("x.mp4", samplers.all_frames, decoder="opencv")
    assert DECODERS == ("auto", "pyav", "decord", "torchcodec")


@pytest.mark.parametrize("name", ["torchcodec", "decord"])
def test_a_backend_that_is_not_installed(name: str, clip: MakeClip, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is missed only by those who ask for it."""
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, f"{name}.decoders", None)
    with pytest.raises(UsageError, match=rf"decoder={name} needs (the package )?{name}: pip install .*{name}"):
        VideoReader(clip("h264.mp4"), samplers.all_frames, decoder=name)
    others = "decord" if name == "torchcodec" else "pyav"
    assert numbers(read_all(clip("h264_b.avi"), others)[0]) == list(range(40))


def test_torchcodec_without_ffmpeg_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Since 0.17 it can be imported without."""
    torchcodec = pytest.importorskip("torchcodec", exc_type=(ImportError, OSError, RuntimeError))
    monkeypatch.setattr(torchcodec, "ffmpeg_major_version", None, raising=False)
    with pytest.raises(
        UsageError, match=r"decoder=torchcodec needs FFmpeg's shared libraries .*: torchcodec could not"
    ):
        check_decoder("torchcodec")


def test_a_wrong_option_is_raised_not_recorded(clip: MakeClip) -> None:
    with pytest.raises(SamplerError):
        list(VideoReader(clip("h264.mp4"), lambda timeline: samplers.fps(timeline, fps=0)))


def test_demux_raises_for_what_is_no_video(tmp_path: Path) -> None:
    (tmp_path / "x.mp4").write_bytes(b"x" * 100)
    with pytest.raises(VideoError, match=r"^x.mp4 cannot be read as a video"):
        demux(tmp_path / "x.mp4")
