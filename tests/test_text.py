"""Tables are even on a terminal, whatever is in them, and values read as they are said."""

from __future__ import annotations

import os

import pytest

from vfx.text import clean, clock, cut, duration, first_few, interval, nbytes, number, table

ROWS = [("id", "frames", "notes"), ("cat", "126", ""), ("video", "9", "short")]


def test_columns_are_aligned_as_asked_and_the_last_alignment_goes_on() -> None:
    assert list(table(ROWS, align="<><")) == ["id     frames  notes", "cat       126", "video       9  short"]
    assert list(table(ROWS, align="<>")) == ["id     frames  notes", "cat       126", "video       9  short"]
    assert list(table(ROWS)) == ["id     frames  notes", "cat    126", "video  9       short"]


def test_columns_without_text_are_left_out_and_other_empty_cells_filled() -> None:
    rows = [("a", "b", "c"), ("1", "", ""), ("2", "", "x")]
    assert list(table(rows, skip_empty=True, empty="-")) == ["a  c", "1  -", "2  x"]


def test_wide_and_combining_characters_take_the_columns_that_a_terminal_gives_them() -> None:
    rows = [("id", "n"), ("猫の動画", "1"), ("cafe\u0301", "2"), ("cat", "3")]
    assert list(table(rows)) == ["id        n", "猫の動画  1", "cafe\u0301      2", "cat       3"]
    assert list(table(rows, first_width=5)) == ["id     n", "猫の…  1", "cafe\u0301   2", "cat    3"]


def test_no_name_of_a_file_breaks_a_table() -> None:
    rows = [("id", "n"), ("a\tb\x1b[2J", "1"), (os.fsdecode(b"\xe9"), "2")]
    assert list(table(rows)) == ["id             n", r"a\x09b\x1b[2J  1", r"\udce9         2"]


def test_lines_fit_the_width() -> None:
    assert list(table(ROWS, align="<><", width=16)) == ["id     frames  …", "cat       126", "video       9  …"]
    assert list(table(ROWS, align="<><", first_width=3)) == ["id   frames  notes", "cat     126", "vi…       9  short"]


def test_a_text_is_cut_to_fit() -> None:
    assert [cut("abcdef", width) for width in (6, 5, 1, 0)] == ["abcdef", "abcd…", "…", "…"]
    assert [cut("猫の動画", width) for width in (8, 7, 6)] == ["猫の動画", "猫の動…", "猫の …"]


def test_control_characters_and_odd_bytes_are_spelled_out() -> None:
    assert clean("a b\tc\nd\x1b[2J" + os.fsdecode(b"\xe9") + "é") == r"a b\x09c\x0ad\x1b[2J\udce9é"


def test_a_message_names_the_first_few() -> None:
    assert first_few(["a", "b"]) == "a, b"
    assert first_few("abcde") == "a, b, c, d, e"
    assert first_few("abcdef") == "a, b, c, d, e, ..."


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 bytes"), (999, "999 bytes"), (1500, "1.5 kB"), (302080, "302 kB"), (5.2e13, "52 TB")]
)
def test_sizes_are_said_in_powers_of_ten(size: float, text: str) -> None:
    assert nbytes(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.24, "4.2 s"), (59.9, "59.9 s"), (200, "3 min 20 s"), (18420, "5 h 07 min"), (float("inf"), "unknown time")],
)
def test_durations_read_as_they_are_said(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_times_read_as_bars_and_players_show_them() -> None:
    assert [interval(seconds) for seconds in (28.4, 3723)] == ["00:28", "1:02:03"]
    assert [clock(seconds) for seconds in (7.52, 754, 3723)] == ["0:07.5", "12:34", "1:02:03"]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (1234567, "1,234,567"), (12.34, "12.3"), (0.00123, "0.00123"), (2e15, "2e+15"), (float("nan"), "nan")],
)
def test_numbers_keep_three_digits_or_all_before_the_point(value: float, text: str) -> None:
    assert number(value) == text
