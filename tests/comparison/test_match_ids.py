"""Rows of one id are found wherever they stand, and the others are counted and named."""

from collections.abc import Sequence

import numpy as np
import pytest

from vfx.comparison.match_ids import CountedIds, MatchedRows, ids_at, index_offset, match_ids


def matched(a: Sequence[str], b: Sequence[str]) -> MatchedRows:
    return match_ids(lambda: iter(a), lambda: iter(b), (len(a), len(b)))


@pytest.mark.parametrize(
    ("a", "b", "at_a", "at_b", "in_order"),
    [
        ("xyz", "xyz", [0, 1, 2], [0, 1, 2], True),
        ("xyz", "zxy", [0, 1, 2], [1, 2, 0], False),
        ("xyz", "xz", [0, 2], [0, 1], True),
        ("xz", "wxyz", [0, 1], [1, 3], True),
        ("xyz", "abc", [], [], True),
        ("", "", [], [], True),
    ],
)
def test_rows_of_one_id_belong_together(a: str, b: str, at_a: list[int], at_b: list[int], in_order: bool) -> None:
    found = matched(a, b)
    assert (found.a.tolist(), found.b.tolist(), found.same_order) == (at_a, at_b, in_order)


def test_ids_of_one_side_are_counted_and_the_first_named_in_its_order() -> None:
    found = matched(["z", "b", "a", "q", "y", "x", "w"], ["q", "other"])
    assert found.only_a == CountedIds(6, ("z", "b", "a", "y", "x"))
    assert str(found.only_a) == "6 (z, b, a, y, x, ...)"
    assert str(found.only_b) == "1 (other)"
    assert str(CountedIds()) == "0"


def test_of_repeated_ids_the_first_counts() -> None:
    found = matched(["x", "y", "x", "x"], ["y", "x", "y"])
    assert (found.a.tolist(), found.b.tolist()) == ([0, 1], [1, 0])
    assert found.repeated == (2, 1)
    assert not found.only_a.count
    assert not found.only_b.count


def test_ids_need_not_be_ascii() -> None:
    assert matched(["é", "字"], ["字", "é"]).b.tolist() == [1, 0]


def test_ids_are_picked_by_position() -> None:
    assert list(ids_at(lambda: iter("abcdef"), np.array([1, 4]), 6)) == ["b", "e"]


@pytest.mark.parametrize(
    ("b", "by"),
    [
        (["a_b_1", "a_b_13", "c_6"], 1),
        (["a_b_0", "a_b_12", "c_5"], None),  # the same
        (["a_b_1", "a_b_14", "c_6"], None),  # not one number
        (["a_b_1", "a_b_13", "d_6"], None),  # another video
        (["a_b_1", "a_b_13", "c"], None),  # not a frame
    ],
)
def test_a_shift_is_one_number_for_all_frames(b: list[str], by: int | None) -> None:
    a = ["a_b_0", "a_b_12", "c_5"]
    assert index_offset(lambda: iter(a), lambda: iter(b)) == by
    assert index_offset(lambda: iter(b), lambda: iter(a)) == (by and -by)
