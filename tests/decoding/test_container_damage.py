"""What is lost from the middle or the end of a file is told, and nothing is made of it, where demuxers say nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from tests.clips import CLIPS, remux, truncate
from tests.conftest import TOYDATA
from tests.decoding.conftest import MakeClip
from vfx.decoding import Frame, VideoReader, demux
from vfx.decoding.container_damage import ContainerDamage, find_damage
from vfx.sampling import samplers

FORMATS = ["vp9.webm", "h264_vfr.mkv", "h264.flv", "mpeg2.mpg", "mjpeg.avi", "h264.ts"]


def packets(path: Path) -> list[av.Packet]:
    with av.open(str(path)) as container:
        return [packet for packet in container.demux(container.streams.video[0]) if packet.size]


def damage_of(path: Path) -> ContainerDamage:
    with av.open(str(path)) as container:
        return find_damage(path, container.format.name, container.streams.video[0].id)


def read_all(path: Path) -> tuple[list[Frame], VideoReader]:
    reading = VideoReader(path, samplers.all_frames)
    return list(reading), reading


def changed(source: Path, target: Path, change: Callable[[bytes], bytes]) -> Path:
    target.write_bytes(change(source.read_bytes()))
    return target


def middle(source: Path) -> tuple[int, int]:
    """From the middle of one packet to that of another, 6 later, in the second group of frames."""
    places = [packet.pos + packet.size // 2 for packet in packets(source) if packet.pos is not None]
    begin = len(places) * 2 // 5
    return places[begin], places[begin + min(6, len(places) // 5)]


@pytest.mark.parametrize("name", CLIPS)
def test_sound_files_are_whole(name: str, clip: MakeClip) -> None:
    assert damage_of(clip(name)) == ContainerDamage()


def test_real_files_are_whole() -> None:
    for path in (TOYDATA / "VideoData").rglob("*.*"):
        assert damage_of(path) == ContainerDamage(), path


@pytest.mark.parametrize("change", ["removed", "zeroed", "overwritten"])
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_lost_in_the_middle_is_told_and_not_concealed(
    name: str, change: str, clip: MakeClip, tmp_path: Path
) -> None:
    sound, _ = read_all(clip(name))
    a, b = middle(clip(name))
    junk = {"removed": b"", "zeroed": bytes(b - a), "overwritten": np.random.default_rng(3).bytes(b - a)}[change]
    path = changed(clip(name), tmp_path / f"bad_{name}", lambda data: data[:a] + junk + data[b:])
    begin, end = damage_of(path).ranges[0]
    assert begin <= a < end
    frames, reading = read_all(path)
    assert len(frames) >= (3 if name == "mpeg2.mpg" else 10)
    assert [frame.index for frame in frames[:3]] == [0, 1, 2]
    for frame in frames:
        assert any(np.array_equal(frame.pixels, other.pixels) for other in sound)
        if name != "mpeg2.mpg":  # of whose frames not each has a time, so that FFmpeg guesses
            (number,) = [other.index for other in sound if abs(other.seconds - frame.seconds) < 2e-3]
            assert np.array_equal(frame.pixels, sound[number].pixels)
    assert reading.stage == "decode"
    assert f"file is damaged at byte {begin}" in reading.problem


@pytest.mark.parametrize("name", FORMATS)
def test_an_end_of_zeros_is_told(name: str, clip: MakeClip, tmp_path: Path) -> None:
    keep = clip(name).stat().st_size * 6 // 10
    path = changed(clip(name), tmp_path / name, lambda data: data[:keep].ljust(len(data), b"\0"))
    begin, end = damage_of(path).ranges[-1]
    assert begin <= keep < end
    assert f"file is damaged at byte {begin}" in read_all(path)[1].problem


@pytest.mark.parametrize("name", ["vp8.webm", "h264.flv", "mpeg1.mpg", "h264.ts", "wmv2.wmv"])
def test_an_end_that_is_missing_is_told_where_no_header_counts_frames(
    name: str, clip: MakeClip, tmp_path: Path
) -> None:
    sound, _ = read_all(clip(name))
    path = truncate(clip(name), tmp_path / f"short_{name}", keep=0.7)
    frames, reading = read_all(path)
    assert 20 < len(frames) < 40
    assert all(np.array_equal(frame.pixels, sound[frame.index].pixels) for frame in frames[:-1])
    assert reading.stage == "decode"
    lacking = damage_of(path).missing_bytes
    assert f"file ends {lacking} bytes early" in reading.problem
    if name in ("vp8.webm", "wmv2.wmv"):  # whose header says how long the file is
        assert lacking == clip(name).stat().st_size - path.stat().st_size


def test_an_end_that_is_missing_is_told_of_an_mp4_of_fragments(clip: MakeClip, tmp_path: Path) -> None:
    whole = remux(clip("h264.mp4"), target=tmp_path / "fragments.mp4", movflags="frag_keyframe+empty_moov")
    assert read_all(whole)[1].problem == ""
    frames, reading = read_all(truncate(whole, tmp_path / "short.mp4", keep=0.7))
    assert 20 < len(frames) < 40
    assert reading.problem.endswith(" bytes early")


def test_a_block_behind_the_end_of_its_cluster_is_none(clip: MakeClip, tmp_path: Path) -> None:
    """What is put in may be whole blocks: the size of the cluster (RFC 9559, 5.1.3) tells."""
    data = clip("vp9.webm").read_bytes()
    a, b = (data.rindex(b"\xa3", 0, packets(clip("vp9.webm"))[n].pos) for n in (20, 22))
    path = changed(clip("vp9.webm"), tmp_path / "x.webm", lambda data: data[:b] + data[a:])
    assert damage_of(path).ranges
    frames, _ = read_all(path)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    sound, _ = read_all(clip("vp9.webm"))
    assert all(np.array_equal(frame.pixels, sound[frame.index].pixels) for frame in frames)


@pytest.mark.parametrize("name", ["mjpeg.avi", "h264.flv", "flv1.flv"])
def test_what_comes_twice_ends_what_can_be_placed(name: str, clip: MakeClip, tmp_path: Path) -> None:
    """Times that come twice are none, and frames could only be counted."""
    sound, _ = read_all(clip(name))
    a, b = middle(clip(name))
    frames, reading = read_all(changed(clip(name), tmp_path / f"twice_{name}", lambda data: data[:b] + data[a:]))
    assert 10 < len(frames) < 30
    for frame in frames:
        assert np.array_equal(frame.pixels, sound[frame.index].pixels)
        assert frame.seconds == sound[frame.index].seconds
    assert "frames behind cannot be placed" in reading.problem


def test_an_avi_that_lacks_no_frame_may_be_untidy(clip: MakeClip, tmp_path: Path) -> None:
    at = packets(clip("mjpeg.avi"))[20].pos - 8
    path = changed(clip("mjpeg.avi"), tmp_path / "untidy.avi", lambda data: data[:at] + b"!" * 10 + data[at:])
    assert damage_of(path).ranges
    frames, reading = read_all(path)
    assert len(frames) == 40
    assert reading.problem == ""


def test_an_avi_without_its_first_key_frame_cannot_be_counted(clip: MakeClip, tmp_path: Path) -> None:
    first = packets(clip("mpeg4_b.avi"))[0]
    head = first.pos - 8
    path = changed(
        clip("mpeg4_b.avi"),
        tmp_path / "x.avi",
        lambda data: data[:head] + bytes(first.size) + data[head + first.size :],
    )
    assert read_all(path)[1].problem == "x.avi is damaged from its first frame on"


def test_an_mp4_without_its_head_is_no_stream_of_its_own(clip: MakeClip, tmp_path: Path) -> None:
    """FFmpeg takes what is left of it for one, that begins in its middle."""
    path = changed(clip("mpeg4_b.mp4"), tmp_path / "x.mp4", lambda data: bytes(16) + data[16:])
    assert read_all(path)[1].problem == "x.mp4 is damaged from its first frame on"
    with av.open(str(clip("mpeg4_b.mp4"))) as container:
        head = container.streams.video[0].codec_context.extradata
    elementary = tmp_path / "x.m4v"
    elementary.write_bytes(head + b"".join(bytes(packet) for packet in packets(clip("mpeg4_b.mp4"))))
    assert len(read_all(elementary)[0]) == 40


def test_packets_of_a_transport_stream_are_counted(clip: MakeClip, tmp_path: Path) -> None:
    """One packet less leaves the others where they are looked for; a break that is announced is none."""
    data = clip("h264.ts").read_bytes()
    size = 188
    rows = [data[i : i + size] for i in range(0, len(data), size)]
    ours = [n for n, row in enumerate(rows) if (row[1] & 31, row[2]) == (1, 0)]
    begins = [n for n in ours if rows[n][1] & 64]
    lost = next(n for n in ours[len(ours) // 2 :] if n not in begins)
    unit = max(n for n in begins if n < lost)
    less = tmp_path / "less.ts"
    less.write_bytes(b"".join(rows[:lost] + rows[lost + 1 :]))
    follower = next(n for n in ours if n > lost)
    assert damage_of(less).ranges == ((unit * size, (follower - 1) * size),)
    frames, reading = read_all(less)
    assert "file is damaged at byte" in reading.problem
    numbers = [round((frame.seconds - frames[0].seconds) * 25) for frame in frames]
    sound, _ = read_all(clip("h264.ts"))
    assert all(np.array_equal(frame.pixels, sound[n].pixels) for frame, n in zip(frames, numbers, strict=True))

    timed = tmp_path / "timed.m2ts"
    timed.write_bytes(b"".join(bytes(4) + row for row in rows))
    assert damage_of(timed) == ContainerDamage()
    timed.write_bytes(timed.read_bytes()[:-50])
    assert damage_of(timed).missing_bytes == 50


def test_a_frame_whose_time_is_wrong_does_not_cost_the_others_theirs(clip: MakeClip, tmp_path: Path) -> None:
    """In Matroska a block holds its time, from its cluster on, in its second and third byte."""
    at = packets(clip("vp9_vfr.webm"))[20].pos + 1
    path = changed(clip("vp9_vfr.webm"), tmp_path / "x.webm", lambda d: d[:at] + b"\x70" + d[at + 1 :])
    sound, _ = read_all(clip("vp9_vfr.webm"))
    frames, reading = read_all(path)
    frames = frames[max(n for n, frame in enumerate(frames) if frame.first) :]
    assert len(frames) == 40
    for frame, other in zip(frames, sound, strict=True):
        assert np.array_equal(frame.pixels, other.pixels)
        assert frame.seconds == pytest.approx(other.seconds, abs=0.1 if frame.index == 20 else 1e-6)
    assert reading.problem == "the times of 1 of 40 frames are out of order"


def test_positions_are_those_of_the_packets(clip: MakeClip) -> None:
    """Damaged ranges are compared with the bytes at which packets begin."""
    for name in FORMATS:
        known = [packet.pos for packet in packets(clip(name)) if packet.pos is not None]
        assert known == sorted(set(known))
        assert demux(clip(name)).damaged_ranges == ()
