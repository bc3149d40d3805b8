"""Collections: what is found where, and which ids are refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from vfx.collection.collection import find_collection
from vfx.collection.source import VideoSource
from vfx.errors import CollectionError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_rootpath_comes_before_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "root" / "mine").mkdir(parents=True)
    (tmp_path / "here" / "mine").mkdir(parents=True)
    (tmp_path / "here" / "other").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert find_collection("mine", tmp_path / "root").root == tmp_path / "root" / "mine"
    assert find_collection("other", tmp_path / "root").root.resolve() == tmp_path / "here" / "other"
    assert find_collection("../here/other/", tmp_path / "root").name == "other"


@pytest.mark.parametrize(
    ("path", "name"), [(".", "here"), ("./", "here"), ("..", ""), ("./in", "in"), ("../here", "here")]
)
def test_a_path_from_here_is_not_looked_for_under_the_rootpath(
    path: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root" / "in").mkdir(parents=True)
    (tmp_path / "here" / "in").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    found = find_collection(path, tmp_path / "root")
    assert found.root.resolve() == (tmp_path / "here" / path).resolve()
    assert found.name == (name or tmp_path.name)
    with pytest.raises(CollectionError, match=r"here/nowhere is no folder; set rootpath"):
        find_collection("./nowhere", tmp_path / "root")


def test_a_missing_collection_names_both_places(tmp_path: Path) -> None:
    with pytest.raises(CollectionError) as error:
        find_collection("nowhere", tmp_path / "root")
    assert str(tmp_path / "root" / "nowhere") in str(error.value)
    assert str(Path("nowhere").absolute()) in str(error.value)


def test_videos_of_any_depth_and_case_are_found_and_sorted(tmp_path: Path) -> None:
    touch(tmp_path, "VideoData/z.MP4", "VideoData/deep er/down/a.webm", "VideoData/b.txt", "VideoData/._z.mp4", "c.mp4")
    videos = find_collection(str(tmp_path), tmp_path).videos()
    assert [(v.id, Path(v.path).name) for v in videos] == [("a", "a.webm"), ("z", "z.MP4")]


def test_files_are_listed_whatever_their_ids_and_others_are_counted(tmp_path: Path) -> None:
    touch(
        tmp_path / "VideoData", "x.mp4", "a/x.avi", "two words.gif", "notes.TXT", "a/b.txt", "a/README", "a/.hidden.txt"
    )
    files, others = find_collection(str(tmp_path), tmp_path).files()
    assert [(f.id, Path(f.path).name) for f in files] == [
        ("two words", "two words.gif"), ("x", "x.avi"), ("x", "x.mp4"),
    ]  # fmt: skip
    assert others == {".txt": 2, "": 1}


def test_a_folder_without_videodata_is_the_collection_itself(tmp_path: Path) -> None:
    touch(tmp_path, "c.mp4")
    assert [v.id for v in find_collection(str(tmp_path), tmp_path).videos()] == ["c"]


def test_an_empty_collection_says_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "VideoData").mkdir()
    with pytest.raises(CollectionError, match=r"no video in .*VideoData \(looked for .*\.mp4"):
        find_collection(str(tmp_path), tmp_path).videos()


def test_two_files_of_one_id_are_both_named(tmp_path: Path) -> None:
    touch(tmp_path, "VideoData/a/x.mp4", "VideoData/b/x.avi")
    with pytest.raises(CollectionError, match=r"x\.mp4 and .*x\.avi"):
        find_collection(str(tmp_path), tmp_path).videos()


def test_no_name_gives_orders_to_the_terminal(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.mp4", "\x1b[2J\udcff/x.mp4")
    done = subprocess.run(
        [sys.executable, "-m", "vfx.frames", f"collection={tmp_path}"], capture_output=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 1
    assert b"/\\x1b[2J\\udcff/x.mp4" in done.stderr
    assert b"\x1b" not in done.stderr


@pytest.mark.parametrize(
    "name", ["two words.mp4", "tab\there.mp4", "line\nbreak.mp4", os.fsdecode(b"latin\xe9.mp4"), "clear\x1b[2J.mp4"]
)
def test_an_id_that_no_reader_takes_is_refused_with_its_file(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "VideoData", name)
    with pytest.raises(CollectionError, match="control characters or cannot be written as UTF-8") as error:
        find_collection(str(tmp_path), tmp_path).videos()
    assert repr(str(tmp_path / "VideoData" / name)) in str(error.value)


def test_a_loop_of_links_is_walked_once(tmp_path: Path) -> None:
    touch(tmp_path, "VideoData/a.mp4")
    (tmp_path / "VideoData/again").symlink_to(tmp_path / "VideoData")
    assert [v.id for v in find_collection(str(tmp_path), tmp_path).videos()] == ["a"]


def test_odd_names_are_but_names(tmp_path: Path) -> None:
    names = ["$(id).mp4", "--help.avi", "-rf.mp4", "a..mp4", "con.mp4", "~.mp4"]
    touch(tmp_path / "VideoData", *names, "..mp4", "...mp4")  # the last two are hidden
    videos = find_collection(str(tmp_path), tmp_path).videos()
    assert [Path(v.path).name for v in videos] == names
    assert [v.id for v in videos] == ["$(id)", "--help", "-rf", "a.", "con", "~"]


def test_folders_of_frames_know_the_video_they_were_cut_from(tmp_path: Path) -> None:
    touch(tmp_path, "VideoData/a.mp4", "ImageData/a/a_0.jpg", "ImageData/a/a_12.JPG", "ImageData/b/b_0.png")
    a, b = find_collection(str(tmp_path), tmp_path).frame_folders()
    assert (a.id, a.cost, a.video) == ("a", 2, str(tmp_path / "VideoData/a.mp4"))
    assert (b.id, b.cost, b.video) == ("b", 1, None)


def test_frames_of_which_two_files_may_be_the_video_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "VideoData/cat.mp4", "VideoData/sub/cat.AVI", "VideoData/dog.mp4", "VideoData/dog.avi")
    touch(tmp_path, "ImageData/cat/cat_0.jpg")
    with pytest.raises(CollectionError, match=r"1 ids are those of two files.*cat\.mp4 and .*sub/cat\.AVI") as error:
        find_collection(str(tmp_path), tmp_path).frame_folders()
    assert "dog" not in str(error.value), "whose frames nobody has"


def test_no_frames_says_where_they_are_wanted(tmp_path: Path) -> None:
    with pytest.raises(CollectionError, match=r"ImageData/<video id>/<video id>_<index>\.jpg"):
        find_collection(str(tmp_path), tmp_path).frame_folders()


def test_links_to_collections_keep_their_own_names(tmp_path: Path) -> None:
    touch(tmp_path, "x/v/VideoData/a.mp4", "y/v/VideoData/a.mp4")
    (tmp_path / "train").symlink_to(tmp_path / "x/v")
    (tmp_path / "test").symlink_to(tmp_path / "y/v")
    assert [find_collection(name, tmp_path).name for name in ["train", "test"]] == ["train", "test"]


def test_links_to_nothing_or_themselves_are_videos_that_cannot_be_read(tmp_path: Path) -> None:
    for name, target in [("a.mp4", "unmounted/a.mp4"), ("b.mp4", "b.mp4"), ("c", "c")]:
        (tmp_path / name).symlink_to(tmp_path / target)
    videos = [VideoSource(id, str(tmp_path / f"{id}.mp4"), 0) for id in "ab"]
    assert find_collection(str(tmp_path), tmp_path).videos() == videos
