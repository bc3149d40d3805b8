"""Looking at videos: every kind of file and what is said of it, by real processes that really go down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.clips import CLIPS, corrupt, cut, silence, truncate
from tests.conftest import LIMITS
from vfx.collection.collection import Collection
from vfx.errors import UsageError
from vfx.probing.parallel import probe_all
from vfx.probing.prober import Prober
from vfx.probing.record import Record
from vfx.sampling.samplers import half_second, uniform
from vfx.sampling.segment_table import segments
from vfx.sampling.timeline import Timeline


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """A file of each kind."""
    root = tmp_path_factory.mktemp("zoo")
    made = tmp_path_factory.mktemp("clips")
    for name in ["h264_vfr.mp4", "h264_rotated.mp4", "h264_10bit.mp4", "vp9.webm", "h264_b.avi", "hevc.ts"]:
        CLIPS[name].write(root)
    sound = CLIPS["h264.mp4"].write(root)
    (root / "copy").mkdir()
    (root / "copy" / "of_h264.mp4").write_bytes(sound.read_bytes())
    (root / "unlike.mp4").write_bytes(sound.read_bytes()[:-1] + b"?")  # of the same size
    corrupt(CLIPS["mpeg4.avi"].write(made), root / "damaged.avi", packets=[30], at=0.0)
    corrupt(made / "mpeg4.avi", root / "ruined.avi", packets=range(40), at=0.0)
    truncate(CLIPS["h264_fast.mp4"].write(made), root / "short.mp4", keep=0.7)
    cut(sound, root / "edited.mp4", seconds=0.6)
    silence(root / "sound.mp4")
    (root / "empty.mp4").write_bytes(b"")
    (root / "nowhere.mp4").symlink_to("gone.mp4")
    (root / "text.mp4").write_text("not a video\n" * 50)
    (root / "two words.mp4").symlink_to("h264_10bit.mp4")
    (root / "vp9.mkv").symlink_to("vp9.webm")
    return Collection("zoo", root)


def look(collection: Collection, **options: bool) -> dict[str, Record]:
    prober = Prober(collection.root, half_second, LIMITS, **options)
    records = list(probe_all(collection.files()[0], prober, processes=2))
    assert [r.id for r in records] == [s.id for s in collection.files()[0]]
    return {r.path: r for r in records}


@pytest.fixture(scope="module")
def probed(zoo: Collection) -> dict[str, Record]:
    return look(zoo)


def facts(record: Record, *names: str) -> tuple[object, ...]:
    return tuple(getattr(record, name) for name in names)


def test_a_sound_video(probed: dict[str, Record], zoo: Collection) -> None:
    record = probed["h264.mp4"]
    assert facts(record, "id", "path", "bytes") == ("h264", "h264.mp4", (zoo.root / "h264.mp4").stat().st_size)
    assert facts(record, "container", "codec", "pixel_format") == ("mov,mp4,m4a,3gp,3g2,mj2", "h264", "yuv420p")
    assert facts(record, "bits", "width", "height", "rotation", "rate", "variable") == (8, 128, 96, 0, 25.0, False)
    assert record.seconds == pytest.approx(1.6)
    assert facts(record, "promised", "frames", "decoded", "rows") == (40, 40, None, 4)
    assert facts(record, "audio", "decoder", "decoders", "twin", "problem", "error") == ("",) * 6


def test_what_is_uncommon_is_told(probed: dict[str, Record]) -> None:
    assert facts(probed["h264_rotated.mp4"], "width", "height", "rotation") == (96, 128, 90)
    assert facts(probed["h264_vfr.mp4"], "variable", "frames") == (True, 40)
    assert probed["h264_vfr.mp4"].seconds == pytest.approx(float(CLIPS["h264_vfr.mp4"].times()[-1]) + 0.08)
    assert facts(probed["h264_10bit.mp4"], "bits", "pixel_format") == (10, "yuv420p10le")
    assert facts(probed["vp9.webm"], "codec", "container", "promised") == ("vp9", "matroska,webm", 40)
    assert probed["h264_b.avi"].variable is None  # it stores no times of presentation
    assert facts(probed["edited.mp4"], "frames", "problem") == (25, "")
    assert probed["edited.mp4"].rows == 2


def test_what_is_wrong_is_told_with_its_kind(probed: dict[str, Record]) -> None:
    problems = {path: r.problem for path, r in probed.items() if r.problem}
    assert problems == {
        "empty.mp4": "empty",
        "nowhere.mp4": "open",
        "ruined.avi": "damage",
        "short.mp4": "short",
        "sound.mp4": "sound",
        "text.mp4": "open",
        "two words.mp4": "name",
        "vp9.mkv": "same_id",
        "vp9.webm": "same_id",
    }
    assert probed["empty.mp4"].error == "empty.mp4 is empty (0 bytes)"
    assert probed["nowhere.mp4"].error == "nowhere.mp4 cannot be read as a video: No such file or directory"
    assert probed["ruined.avi"].error == "no frame can be decoded"
    assert facts(probed["ruined.avi"], "frames", "rows", "rotation") == (40, 4, None)
    short = probed["short.mp4"]
    assert short.error == f"file holds {short.frames} of the 40 frames that its header promises"
    assert short.frames is not None
    assert 10 < short.frames < 40
    assert short.promised == 40
    assert probed["sound.mp4"].error == "sound.mp4 has no video stream"
    assert probed["text.mp4"].error.startswith("text.mp4 cannot be read as a video: Invalid data found")
    assert probed["two words.mp4"].frames == 40
    assert probed["vp9.mkv"].error == "vp9.webm has this id too; rename one"
    assert probed["vp9.webm"].error == "vp9.mkv has this id too; rename one"
    assert probed["damaged.avi"].problem == ""  # which only decoding shows


def test_a_byte_copy_names_its_twin(probed: dict[str, Record]) -> None:
    twins = {path: r.twin for path, r in probed.items() if r.twin}
    assert twins == {"copy/of_h264.mp4": "h264.mp4", "two words.mp4": "h264_10bit.mp4", "vp9.webm": "vp9.mkv"}
    assert probed["h264.mp4"].sha256 == probed["copy/of_h264.mp4"].sha256 != ""
    assert probed["unlike.mp4"].sha256 not in ("", probed["h264.mp4"].sha256)
    assert probed["h264_vfr.mp4"].sha256 == ""  # of a size of its own


def test_headers_alone_count_and_sample_nothing(zoo: Collection) -> None:
    probed = look(zoo, packets=False)
    assert facts(probed["h264.mp4"], "codec", "width", "promised", "frames", "rows") == ("h264", 128, 40, None, None)
    assert probed["h264.mp4"].seconds == pytest.approx(1.6)
    assert facts(probed["vp9.webm"], "promised", "variable") == (None, None)
    assert {p for r in probed.values() for p in r.problem.split("+")} == {
        "", "empty", "open", "damage", "sound", "name", "same_id",
    }  # fmt: skip


def test_decoding_tells_what_is_damaged_and_who_can_read(zoo: Collection) -> None:
    pytest.importorskip("decord")
    kept = ["damaged.avi", "h264.mp4", "hevc.ts", "ruined.avi", "short.mp4", "empty.mp4"]
    sources = [s for s in zoo.files()[0] if Path(s.path).name in kept]
    prober = Prober(zoo.root, half_second, LIMITS, decode=True)
    probed = {r.path: r for r in probe_all(sources, prober, processes=1)}  # each imports torch
    assert probed["empty.mp4"].problem == "empty"
    assert facts(probed["h264.mp4"], "frames", "decoded", "decoder", "problem") == (40, 40, "pyav", "")
    assert probed["h264.mp4"].decoders.split("+")[0] == "pyav"
    assert probed["h264.mp4"].decoders.split("+")[-1] == "decord"
    assert facts(probed["hevc.ts"], "decoded", "decoders") == (40, "pyav")
    damaged = probed["damaged.avi"]
    assert damaged.problem == "damage"
    assert damaged.decoded is not None
    assert 20 <= damaged.decoded < 40
    assert damaged.error.startswith(f"{damaged.decoded} of 40 frames could be decoded: ")
    assert facts(probed["ruined.avi"], "problem", "decoded", "decoder") == ("damage", 0, "")
    assert "short" in probed["short.mp4"].problem.split("+")
    assert "frames that its header promises" in probed["short.mp4"].error


@pytest.mark.parametrize(
    ("limit", "error"),
    [
        ({"pixels": 1000}, "h264.mp4 is 128x96 pixels, more than limits.pixels (1000) allows"),
        ({"frames": 39}, "h264.mp4 has more frames than limits.frames (39) allows"),
    ],
)
def test_a_video_beyond_the_limits_is_told(zoo: Collection, limit: dict[str, float], error: str) -> None:
    limits = replace(LIMITS, **limit)
    source = next(s for s in zoo.files()[0] if s.id == "h264")
    (record,) = probe_all([source], Prober(zoo.root, half_second, limits), processes=1)
    assert facts(record, "problem", "error", "codec", "rows") == ("limit", error, "h264", None)


def test_a_sampler_that_cannot_be_used_ends_the_run(zoo: Collection, tmp_path: Path) -> None:
    source = next(s for s in zoo.files()[0] if s.id == "h264")
    with pytest.raises(UsageError, match=r"gone\.tsv\) is not a file"):
        list(probe_all([source], Prober(zoo.root, _segments_of_nothing, LIMITS), processes=1))


def _segments_of_nothing(timeline: Timeline) -> np.ndarray:
    return segments(timeline, file="/nowhere/gone.tsv")


def test_samplers_know_the_video(zoo: Collection, tmp_path: Path) -> None:
    source = next(s for s in zoo.files()[0] if s.id == "h264")
    (record,) = probe_all([source], Prober(zoo.root, _by_name, LIMITS), processes=1)
    assert record.rows == len("h264")


def _by_name(timeline: Timeline) -> np.ndarray:
    return uniform(timeline, num_frames=len(timeline.video))
