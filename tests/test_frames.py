"""Frames are cut as their user cuts them: the real app, real videos, real kills."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from tests.clips import CLIPS, Clip, corrupt, truncate
from tests.commands import run_verb
from tests.conftest import ROOT, TOYDATA, VIDEOS
from tests.feature_files import cosine
from vfx import extract, frames
from vfx.decoding import VideoReader
from vfx.errors import ExtractionError, OutputError, SamplerError, UsageError, VfxError
from vfx.features.feature_file import FeatureFile
from vfx.sampling.samplers import all_frames, half_second, lineage
from vfx.system.folder_lock import lock_folder

LINEAGE = [0, 12, 25, 37, 50, 62, 75, 87, 100, 112, 125]


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """Three short clips of the toy collection in a folder whose path holds a space, one in a folder of its own."""
    root = tmp_path / "my data" / "few"
    (root / "VideoData" / "phone calls").mkdir(parents=True)
    for name in ["retina.mp4", "phone calls/coffee_phone.mp4", "shuttle.gif"]:
        (root / "VideoData" / name).symlink_to(TOYDATA / "VideoData" / Path(name).name)
    return root


def run(root: Path, *overrides: str) -> Path:
    return frames.main(f"collection='{root}'", "num_workers=0", *overrides)


def command(root: Path, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "vfx.frames", f"collection='{root}'", *overrides]


def indices(root: Path, video: str) -> list[int]:
    return sorted(int(p.stem.rpartition("_")[2]) for p in (root / "ImageData" / video).glob(f"{video}_*.*"))


def state(root: Path) -> dict[str, tuple[int, int]]:
    """Every file but the log, and every folder of frames, with what changes if it is written again."""
    return {
        str(p.relative_to(root)): (p.lstat().st_ino, p.lstat().st_mtime_ns)
        for p in root.rglob("*")
        if p.name != "frames.log" and (p.is_file() or p.parent.name == "ImageData")
    }


def log(root: Path) -> str:
    return (root / "frames.log").read_text()


@pytest.mark.dear
def test_frames_and_list_files(few: Path) -> None:
    done = run_verb("frames", f"collection='{few}'")
    assert done.stdout == f"{few / 'ImageData'}\n"
    assert "3 videos, 10 frames in" in done.stderr
    assert (few / "id.videopath.txt").read_text() == (
        "coffee_phone VideoData/phone calls/coffee_phone.mp4\n"
        "retina VideoData/retina.mp4\n"
        "shuttle VideoData/shuttle.gif\n"
    )
    assert (few / "id.videometa.txt").read_text() == (
        "coffee_phone 30 72 240 320\nretina 25 9 320 240\nshuttle 10 20 180 240\n"
    )
    frame_ids = [f"coffee_phone_{i}" for i in (0, 15, 30, 45, 60)] + ["retina_0"]
    frame_ids += [f"shuttle_{i}" for i in (0, 5, 10, 15)]
    assert (few / "id.imagepath.txt").read_text() == "".join(
        f"{i} ImageData/{i.rpartition('_')[0]}/{i}.jpg\n" for i in frame_ids
    )
    assert (few / "VideoSets" / "few.txt").read_text() == "coffee_phone\nretina\nshuttle\n"
    assert (few / "ImageSets" / "few.txt").read_text() == "".join(f"{i}\n" for i in sorted(frame_ids))
    assert sorted(p.name for p in few.iterdir()) == [
        "ImageData", "ImageSets", "VideoData", "VideoSets", "frames.log",
        "id.imagepath.txt", "id.videometa.txt", "id.videopath.txt",
    ]  # fmt: skip


def test_pictures_are_jpeg_as_opencv_writes_it_at_native_size(few: Path) -> None:
    run(few)
    for video, path in [("retina", "retina.mp4"), ("coffee_phone", "phone calls/coffee_phone.mp4")]:
        for frame in VideoReader(few / "VideoData" / path, half_second):
            with Image.open(few / "ImageData" / video / f"{video}_{frame.index}.jpg") as image:
                assert [c[1:3] for c in image.layer] == [(2, 2), (1, 1), (1, 1)]  # type: ignore[attr-defined]
                assert image.quantization[0][0] == 2  # quality 95: a tenth of the standard table's 16
                off = np.abs(np.asarray(image).astype(int) - frame.pixels)
            assert off.shape == frame.pixels.shape
            assert off.mean() < 2


@pytest.mark.parametrize("name", ["people/astronaut.mp4", "cat.mp4", "coffee.webm", "shuttle.gif"])
def test_jpeg_is_all_that_a_picture_differs_by(tmp_path: Path, name: str) -> None:
    """From what PyAV alone decodes. A wrong matrix of colours would shift a channel by 3.6 levels or more (a GIF has
    none), a wrong range by 5; the frame beside the right one is below 31 dB somewhere in each clip."""
    path = TOYDATA / "VideoData" / name
    (tmp_path / path.name).symlink_to(path)
    run(tmp_path)
    with av.open(str(path)) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    cut = indices(tmp_path, path.stem)
    assert len(cut) > 3
    for i in cut:
        with Image.open(tmp_path / "ImageData" / path.stem / f"{path.stem}_{i}.jpg") as image:
            off = np.asarray(image).astype(float) - decoded[i]
        assert 10 * np.log10(255**2 / np.square(off).mean()) >= 39
        assert np.abs(off.mean(axis=(0, 1))).max() < 0.25


def test_png_loses_nothing(few: Path) -> None:
    run(few, "format=png", "sampler=stride", "sampler.stride=4")
    assert indices(few, "retina") == [0, 4, 8]
    for frame in VideoReader(few / "VideoData" / "retina.mp4", all_frames):
        path = few / "ImageData" / "retina" / f"retina_{frame.index}.png"
        if frame.index % 4 == 0:
            np.testing.assert_array_equal(np.asarray(Image.open(path)), frame.pixels)


def test_short_side_shrinks_and_never_enlarges(few: Path) -> None:
    run(few, "short_side=200", "quality=50")
    sizes = {}
    for video in ["retina", "coffee_phone", "shuttle"]:
        with Image.open(few / "ImageData" / video / f"{video}_0.jpg") as image:
            sizes[video] = image.size
    assert sizes == {"retina": (266, 200), "coffee_phone": (200, 266), "shuttle": (180, 240)}
    # the videos' own size
    assert "retina 25 9 320 240\n" in (few / "id.videometa.txt").read_text()


@pytest.mark.parametrize("sampler", ["lineage", "lineage_py3"])
def test_experiments_cut_what_the_lineage_cut(tmp_path: Path, sampler: str) -> None:
    (tmp_path / "cat.mp4").symlink_to(TOYDATA / "VideoData" / "cat.mp4")
    run(tmp_path, f"experiment={sampler}")
    assert indices(tmp_path, "cat") == (LINEAGE if sampler == "lineage" else LINEAGE[::2])
    experiment = json.loads((tmp_path / "ImageData" / "cat" / ".vfx.json").read_text())["recipe"]
    assert experiment["sampler"] == {"name": sampler}


@pytest.mark.skipif(not (VIDEOS / "lineage").is_dir(), reason="no folder of real videos (VFX_TEST_VIDEOS)")
def test_the_toy_clip_of_the_lineage_gives_its_frames(tmp_path: Path) -> None:
    (tmp_path / "VideoData").symlink_to(VIDEOS / "lineage" / "VideoData")
    run(tmp_path, "sampler=lineage")
    assert indices(tmp_path, "shot00001_1") == LINEAGE
    assert (tmp_path / "id.videometa.txt").read_text() == "shot00001_1 25 128 1280 720\n"
    for path in (VIDEOS / "lineage" / "ImageData" / "shot00001_1").iterdir():
        mine, theirs = (
            np.asarray(Image.open(p)).astype(int) for p in (tmp_path / "ImageData" / "shot00001_1" / path.name, path)
        )
        assert np.abs(mine - theirs).mean() < 1  # two encoders of JPEG, two conversions of colour


def test_a_video_of_less_than_a_frame_a_second(tmp_path: Path) -> None:
    """The lineage's tool divided by its rate, cut to 0. Every frame is kept."""
    slow = Clip("slow.gif", "gif", pix_fmt="rgb8", num_frames=3)
    path = slow.write(tmp_path)
    data = bytearray(path.read_bytes())
    for i in range(len(data) - 8):  # a graphic control extension: its delay, in 1/100 s, is at offset 4
        if data[i : i + 3] == b"\x21\xf9\x04":
            data[i + 4 : i + 6] = (250).to_bytes(2, "little")
    path.write_bytes(data)
    run(tmp_path, "sampler=lineage")
    assert indices(tmp_path, "slow") == [0, 1, 2]
    assert (tmp_path / "id.videometa.txt").read_text() == "slow 0 3 128 96\n"


def test_a_second_run_touches_nothing(few: Path) -> None:
    run(few)
    before = state(few)
    run(few)
    assert state(few) == before
    assert "all 3 videos are done, nothing to do (overwrite=true starts over)" in log(few)


def test_a_second_run_completes_what_is_missing(few: Path) -> None:
    run(few)
    whole = state(few)
    for path in (few / "ImageData" / "retina").iterdir():
        path.unlink()
    (few / "ImageData" / "retina").rmdir()
    (few / "ImageSets" / "few.txt").unlink()
    leftover = few / "ImageData" / ".retina.0123abcd.tmp"
    leftover.mkdir()
    (leftover / "retina_0.jpg").write_bytes(b"half a pic")
    theirs = few / "ImageData" / ".shuttle.0123abcd.tmp"
    theirs.mkdir()
    (theirs / "notes.txt").write_text("mine")
    run(few)
    after = state(few)
    assert not leftover.exists()
    assert (theirs / "notes.txt").read_text() == "mine"
    changed = {k for k in whole.keys() | after.keys() if whole.get(k) != after.get(k)}
    assert {k for k in changed if ".tmp" not in k} == {
        "ImageData/retina", "ImageData/retina/retina_0.jpg", "ImageData/retina/.vfx.json", "ImageSets/few.txt",
    }  # fmt: skip
    assert "1 videos to do, 2 of 3 done before" in log(few)


@pytest.mark.dear
def test_a_killed_run_leaves_only_whole_folders_and_is_completed(tmp_path: Path) -> None:
    root = tmp_path / "many"
    root.mkdir()
    for n in range(8):
        (root / f"v{n:02}.mp4").symlink_to(TOYDATA / "VideoData" / "cat.mp4")
    options = ["sampler=stride", "sampler.stride=2", "format=png", "num_workers=2"]
    process = subprocess.Popen(command(root, *options), cwd=ROOT, start_new_session=True, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(root.glob("ImageData/v*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)  # of the main process alone: the workers must notice
    process.wait()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 0)
            time.sleep(0.05)
            continue
        break
    else:
        os.killpg(process.pid, signal.SIGKILL)
        pytest.fail("the workers outlive their run")
    found = [p for p in (root / "ImageData").iterdir() if not p.name.startswith(".")]
    assert 2 <= len(found) < 8
    assert all(indices(root, p.name) == list(range(0, 126, 2)) for p in found)
    before = {k: v for k, v in state(root).items() if k.startswith("ImageData/v")}
    frames.main(f"collection={root}", *options)
    after = state(root)
    assert sorted(p.name for p in (root / "ImageData").iterdir()) == [f"v{n:02}" for n in range(8)]
    assert all(indices(root, f"v{n:02}") == list(range(0, 126, 2)) for n in range(8))
    assert before == {k: after[k] for k in before}


def test_another_recipe_is_refused_and_overwrite_starts_over(few: Path) -> None:
    run(few)
    (few / "ImageData" / "retina" / "notes.txt").write_text("mine")
    (few / "ImageData" / "other").mkdir()
    (few / "ImageData" / "other" / "other_7.jpg").write_bytes(b"of another video")
    before = state(few)
    with pytest.raises(
        OutputError, match=r"3 videos .*\(coffee_phone, .*\n  format: jpg there, png here\n  quality: 95 "
    ):
        run(few, "format=png")
    with pytest.raises(OutputError, match=r"sampler\.name: half_second there, all_frames here"):
        run(few, "sampler=all")
    assert state(few) == before
    run(few, "format=png", "sampler=all", "overwrite=true")
    assert sorted(p.name for p in (few / "ImageData" / "retina").iterdir()) == sorted(
        [".vfx.json", "notes.txt", *(f"retina_{i}.png" for i in range(9))]
    )
    assert (few / "ImageData" / "retina" / "notes.txt").read_text() == "mine"
    assert "other_7 ImageData/other/other_7.jpg\n" in (few / "id.imagepath.txt").read_text()


def test_frames_cut_by_another_tool_are_left_and_count_as_done(few: Path) -> None:
    theirs = few / "ImageData" / "retina"
    theirs.mkdir(parents=True)
    (theirs / "retina_5.jpg").write_bytes(b"as it is")
    run(few)
    assert [p.name for p in theirs.iterdir()] == ["retina_5.jpg"]
    assert (theirs / "retina_5.jpg").read_bytes() == b"as it is"
    assert "2 videos to do, 1 of 3 done before (1 of them not by vfx, left as they are)" in log(few)
    assert "retina 25 9 320 240\n" in (few / "id.videometa.txt").read_text()
    assert "retina_5 ImageData/retina/retina_5.jpg\n" in (few / "id.imagepath.txt").read_text()


def test_frames_that_lie_deeper_are_someone_elses(few: Path) -> None:
    theirs = few / "ImageData" / "part1" / "retina"
    theirs.mkdir(parents=True)
    (theirs / "retina_5.jpg").write_bytes(b"as it is")
    for overwrite in ["false", "true"]:
        run(few, f"overwrite={overwrite}")
        assert not (few / "ImageData" / "retina").exists()
        assert "retina_5 ImageData/part1/retina/retina_5.jpg\n" in (few / "id.imagepath.txt").read_text()


def test_frames_that_went_missing_are_cut_again(few: Path) -> None:
    run(few, "sampler=all")
    (few / "ImageData" / "retina" / "retina_3.jpg").unlink()
    run(few, "sampler=all")
    assert "1 videos to do, 2 of 3 done before" in log(few)
    assert indices(few, "retina") == list(range(9))


def test_a_video_that_was_replaced_is_cut_again(few: Path) -> None:
    run(few)
    before = state(few)
    video = few / "VideoData" / "retina.mp4"
    video.unlink()
    video.symlink_to(TOYDATA / "VideoData" / "cat.mp4")
    run(few)
    assert "1 videos are other files than those that were cut, and are cut again: retina\n" in log(few)
    assert indices(few, "retina") == [0, 13, 25, 38, 50, 63, 75, 88, 100, 113, 125]
    assert {k: v for k, v in state(few).items() if "shuttle" in k} == {
        k: v for k, v in before.items() if "shuttle" in k
    }
    run(few)
    assert "all 3 videos are done" in log(few)


def test_a_video_of_another_time_is_another_file(tmp_path: Path) -> None:
    shutil.copy(TOYDATA / "VideoData" / "retina.mp4", tmp_path)
    run(tmp_path)
    before = state(tmp_path)
    os.utime(tmp_path / "retina.mp4", (1e9, 1e9))
    run(tmp_path)
    assert state(tmp_path)["ImageData/retina/retina_0.jpg"] != before["ImageData/retina/retina_0.jpg"]


def test_records_of_before_videos_were_told_apart_still_count(few: Path) -> None:
    run(few)
    record = few / "ImageData" / "retina" / ".vfx.json"
    content = json.loads(record.read_text())
    assert content.pop("video")["bytes"] == (TOYDATA / "VideoData" / "retina.mp4").stat().st_size
    record.write_text(json.dumps(content))
    run(few)
    assert "all 3 videos are done" in log(few)
    (few / "VideoData" / "shuttle.gif").unlink()
    (few / "VideoData" / "shuttle.gif").symlink_to(few / "unmounted.gif")
    run(few)
    assert log(few).count("all 3 videos are done") == 2


@pytest.mark.parametrize("target", ["empty", "nowhere", "file.txt", "ImageData/retina"])
def test_a_name_that_is_taken_is_found_before_any_work(few: Path, target: str) -> None:
    (few / "empty").mkdir()
    (few / "file.txt").write_text("mine")
    (few / "ImageData").mkdir()
    (few / "ImageData" / "retina").symlink_to(few / target)
    before = state(few)
    with pytest.raises(OutputError, match=r"1 names in .* are those of links or files; .*ImageData/retina$"):
        run(few)
    assert state(few) == before


def test_overwrite_drops_no_frame_that_it_cannot_replace(few: Path) -> None:
    run(few)
    (few / "VideoData" / "retina.mp4").unlink()
    (few / "VideoData" / "retina.mp4").write_bytes(b"")
    run(few, "sampler=all", "overwrite=true")
    assert indices(few, "retina") == [0]
    assert len(indices(few, "shuttle")) == 20


def test_what_cannot_be_read_is_listed_and_the_rest_is_there(few: Path, tmp_path: Path) -> None:
    (few / "VideoData" / "empty.mp4").write_bytes(b"")
    clip = CLIPS["mpeg4.avi"].write(tmp_path)
    corrupt(clip, few / "VideoData" / "damaged.avi", packets=[30], at=0.0)
    truncate(CLIPS["h264_fast.mp4"].write(tmp_path), few / "VideoData" / "short.mp4", keep=0.7)
    for _ in range(2):  # what was found before is found again
        run(few, "sampler=all")
        lines = [line.split("\t") for line in (few / "failures.frames.tsv").read_text().splitlines()]
        assert [line[:2] for line in lines] == [
            ["id", "stage"], ["damaged", "decode"], ["empty", "open"], ["short", "decode"],
        ]  # fmt: skip
        assert lines[2][2] == "empty.mp4 is empty (0 bytes)"
    assert 10 < len(indices(few, "short")) < 40
    assert set(range(20)) <= set(indices(few, "damaged")) < set(range(40))
    assert f"{len(indices(few, 'damaged'))} of 40 frames could be decoded" in lines[1][2]
    assert not (few / "ImageData" / "empty").exists()
    assert "empty" not in (few / "id.videometa.txt").read_text()
    assert "empty VideoData/empty.mp4\n" in (few / "id.videopath.txt").read_text()
    with pytest.raises(ExtractionError, match=r"strict=true and 3 failures, listed in .*failures\.frames\.tsv"):
        run(few, "sampler=all", "strict=true")
    for name in ["empty.mp4", "damaged.avi", "short.mp4"]:
        (few / "VideoData" / name).unlink()
    run(few, "sampler=all", "strict=true")
    assert not (few / "failures.frames.tsv").exists()


def test_hostile_names_are_videos_like_any_or_failures_and_nothing_lies_elsewhere(tmp_path: Path) -> None:
    root = tmp_path / "in" / "c"
    videos = root / "VideoData"
    odd = ["--help", "-rf", "$(id)", "a;b", "con", "%s%n", "é", "x" * 225]
    folder = videos / os.fsdecode(b"\xff\x1b[2J")  # no UTF-8, and an order to the terminal
    folder.mkdir(parents=True)
    for name in [*odd, "y" * 245, "z" * 251]:
        (videos / f"{name}.mp4").symlink_to(TOYDATA / "VideoData" / "retina.mp4")
    shutil.copy(TOYDATA / "VideoData" / "shuttle.gif", folder)
    (videos / "loop").symlink_to(videos)
    (videos / "self.mp4").symlink_to(videos / "self.mp4")
    os.mkfifo(videos / "pipe.mp4")
    before = {p for p in tmp_path.rglob("*") if p.parent != root}
    run(root)
    cut = {p.name for p in (root / "ImageData").iterdir() if p.is_dir()}
    assert cut == {*odd, "shuttle"}
    assert all(indices(root, id) == [0] for id in odd)
    failed = [line.split("\t") for line in (root / "failures.frames.tsv").read_text().splitlines()[1:]]
    assert failed == [
        ["pipe", "open", "pipe.mp4 is not a file"],
        ["self", "open", "self.mp4 cannot be read as a video: Too many levels of symbolic links"],
        ["y" * 245, "write", "its id is too long for the names of its frames"],
        ["z" * 251, "write", "its id is too long for the names of its frames"],
    ]
    ours = {"ImageData", "ImageSets", "VideoSets"}
    new = {p for p in tmp_path.rglob("*") if p not in before and p.parent != root}
    assert {p.relative_to(root).parts[0] for p in new} == ours
    assert {p.name for p in root.iterdir()} == ours | {
        "VideoData", "frames.log", "failures.frames.tsv", "id.imagepath.txt", "id.videometa.txt", "id.videopath.txt",
    }  # fmt: skip
    listed = (root / "id.videopath.txt").read_bytes().split(b"\n")
    assert b"shuttle VideoData/\xff\x1b[2J/shuttle.gif" in listed


def test_not_one_readable_video_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    with pytest.raises(ExtractionError, match="not one of 1 videos could be read"):
        run(tmp_path)


def test_a_video_beyond_the_limits_is_not_cut(few: Path) -> None:
    run(few, "limits.frames=30")
    failures = (few / "failures.frames.tsv").read_text()
    assert "more frames than limits.frames (30) allows" in failures


def test_a_second_run_at_the_same_time_is_refused(few: Path) -> None:
    with lock_folder(few / "ImageData"), pytest.raises(OutputError, match="another run is writing to"):
        run(few)
    run(few)


@pytest.mark.dear
def test_features_of_frames_are_those_of_the_video(few: Path, tmp_path: Path) -> None:
    """Exactly so of PNG. Of JPEG what the network makes of it: an invisible noise of one level at most in each value
    moves the default network's features of these clips further (cosine 0.935) than JPEG does (0.969)."""
    sampler = ["sampler=uniform", "sampler.num_frames=3"]

    def features(name: str, *overrides: str) -> FeatureFile:
        # one frame a batch: its companions would change the last digits
        options = ["dataset.num_workers=0", "batch_size=1", "trainer=cpu", f"output_dir={tmp_path / name}"]
        return FeatureFile(extract.main(f"collection='{few}'", *options, *overrides))

    video = features("video", *sampler)
    for format, least in [("png", 1 - 1e-6), ("jpg", 0.96)]:
        run(few, f"format={format}", "overwrite=true", *sampler)
        cut = features(format, "dataset=frame")
        assert list(cut.ids) == list(video.ids)
        assert len(cut.ids) == 9
        np.testing.assert_array_equal(cut.seconds, video.seconds)
        a, b = cut.features[:], video.features[:]
        if format == "png":
            np.testing.assert_allclose(a, b, atol=1e-6)
        assert cosine(a, b).min() >= least


WSL = Path(torch.hub.get_dir()) / "checkpoints" / "ig_resnext101_32x8-c38310e5.pth"


@pytest.mark.slow
@pytest.mark.skipif(not WSL.exists(), reason=f"needs the weights of resnext101_32x8d: {WSL}")
def test_jpeg_costs_the_lineages_network_next_to_nothing(few: Path, tmp_path: Path) -> None:
    sampler = ["sampler=uniform", "sampler.num_frames=3"]
    model = ["model=resnext101_32x8d", "trainer=cpu", f"collection='{few}'"]
    a = FeatureFile(extract.main(*model, *sampler, f"output_dir={tmp_path / 'video'}")).features[:]
    run(few, *sampler)
    b = FeatureFile(extract.main(*model, "dataset=frame", f"output_dir={tmp_path / 'frame'}")).features[:]
    assert cosine(a, b).min() >= 0.999


def test_lineage_sampler_refuses_loose_frames(tmp_path: Path) -> None:
    with pytest.raises(VfxError, match="sampler=lineage needs the frame rate of a video file"):
        extract.main(
            f"collection={TOYDATA}", "dataset=frame", "sampler=lineage", "dataset.num_workers=0", "trainer=cpu",
            f"output_dir={tmp_path}",
        )  # fmt: skip


@pytest.mark.parametrize(("overrides", "error", "text"), [
    (("format=bmp",), UsageError, r"format \(bmp\) must be jpg or png"),
    (("quality=101",), UsageError, r"quality \(101\) must be a whole number from 1 to 100"),
    (("short_side=0",), UsageError, r"short_side \(0\) must be a whole number of at least 1"),
    (("num_workers=-1",), UsageError, r"num_workers \(-1\) must be a whole number of at least 0"),
    (("decoder=vlc",), UsageError, r"decoder \(vlc\) must be one of auto, "),
    (("sampler=fps", "sampler.fps=0"), SamplerError, r"sampler\.fps \(0\) must be positive"),
])  # fmt: skip
def test_a_mistake_is_named_before_any_work(
    few: Path, overrides: tuple[str, ...], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        run(few, *overrides)
    assert [p.name for p in few.iterdir()] == ["VideoData"]


def test_the_rate_is_the_containers() -> None:
    rates = {}
    for name in ["cat.mp4", "shuttle.gif", "launch.AVI", "people/astronaut.mp4"]:
        reading = VideoReader(TOYDATA / "VideoData" / name, lineage)
        next(iter(reading))
        assert reading.timeline is not None
        rates[name] = reading.timeline.rate
    assert rates == {
        "cat.mp4": 25, "shuttle.gif": 10, "launch.AVI": 30000 / 1001, "people/astronaut.mp4": 24000 / 1001,
    }  # fmt: skip


def test_a_sweep_over_collections(few: Path, tmp_path: Path) -> None:
    other = few.parent / "other"
    other.mkdir()
    (other / "retina.mp4").symlink_to(TOYDATA / "VideoData" / "retina.mp4")
    overrides = ["collection=few,other", f"rootpath='{few.parent}'", "num_workers=0"]
    done = run_verb("frames", "-m", *overrides, cwd=tmp_path)
    assert f"{few / 'ImageData'}\n" in done.stdout
    assert done.stdout.endswith(f"{other / 'ImageData'}\n")
    assert indices(other, "retina") == [0]
