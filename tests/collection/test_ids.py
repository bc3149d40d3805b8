"""Ids: which can be stored, and how a frame's id is split."""

import pytest

from vfx.collection.ids import is_storable, split_frame_id


@pytest.mark.parametrize(("id", "good"), [
    ("shot00001_1", True), ("-x", True), ("con", True), ("é_\u200d_\u4e2d", True), ("x" * 1000, True),
    ("x" * 1001, False), ("é" * 501, False), ("", False), (".", False), ("..", False), ("../x", False), ("/etc", False),
    ("a b", False), ("a\u00a0b", False), ("a\tb", False), ("a\nb", False), ("a\0b", False), ("a\x1b[1mb", False),
    ("a\x85b", False), ("a\udce9b", False),
])  # fmt: skip
def test_which_ids_can_be_kept(id: str, good: bool) -> None:
    assert is_storable(id) == good


def test_frame_ids_come_apart_at_the_last_underscore() -> None:
    assert split_frame_id("shot00001_1_25") == ("shot00001_1", 25)
    for bad in ["25", "_25", "a_", "a_x"]:
        with pytest.raises(ValueError, match=r"is not <video id>_<frame index>"):
            split_frame_id(bad)
