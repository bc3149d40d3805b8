"""What is shown fits the terminal, and counts add up."""

from __future__ import annotations

from collections import Counter

import pytest

from vfx.probing.record import Record
from vfx.probing.summary import Summary


def record(id: str, **facts: object) -> Record:
    made = Record(id, f"{id}.mp4", 1_000_000)
    for name, value in facts.items():
        setattr(made, name, value)
    return made


RECORDS = [
    record("a", codec="h264", width=640, height=360, rate=29.97003, seconds=10.0, frames=300, rows=20, bits=8),
    record("bb", codec="h264", width=640, height=360, rate=25.0, seconds=3590.0, frames=50, rows=4, twin="a.mp4"),
    record("c", codec="hevc", width=36, height=64, frames=5, decoded=3, rows=1, bits=10, rotation=90, variable=True),
    record("d", problem="open", error="d.mp4 cannot be read as a video: Invalid data found"),
    record("e", problem="damage+short", error="3 of 5 frames could be decoded", audio="aac", rows=2),
]


def lines(show: int, width: int = 200, others: dict[str, int] | None = None) -> list[str]:
    summary = Summary(show)
    for made in RECORDS:
        summary.add(made)
    assert (summary.videos, summary.bad, summary.rows) == (5, 2, 27)
    return list(summary.lines("mine", Counter(others or {}), width=width, path="out/probe.tsv"))


def test_few_videos_have_a_line_each_and_columns_that_hold_nothing_are_left_away() -> None:
    assert lines(5, others={".txt": 2, "": 1}) == [
        "mine: 5 videos, 5 MB, 1:00:00 of video; other files passed over: 2 .txt, 1 without suffix",
        "id  codec     size    fps    length  frames  rows  notes",
        "a   h264   640x360  29.97    10.0 s     300    20",
        "bb  h264   640x360     25  3590.0 s      50     4  copy of a.mp4",
        "c   hevc     36x64                        3     1  variable rate, turned by 90, 10 bits",
        "d                                                  open",
        "e                                               2  damage, short, sound",
        "codecs: 2 h264, 1 hevc",
        "sizes: 2 640x360, 1 36x64",
        "of note: 1 10 bits, 1 sound, 1 turned by 90, 1 variable rate",
        "copies of other files: 1 (1 MB)",
        "problems: 1 damage, 1 open, 1 short",
        "  d: d.mp4 cannot be read as a video: Invalid data found",
        "  e: 3 of 5 frames could be decoded",
    ]


def test_many_videos_are_counted_and_the_first_problems_named() -> None:
    assert lines(1) == [
        "mine: 5 videos, 5 MB, 1:00:00 of video",
        "codecs: 2 h264, 1 hevc",
        "sizes: 2 640x360, 1 36x64",
        "of note: 1 10 bits, 1 sound, 1 turned by 90, 1 variable rate",
        "copies of other files: 1 (1 MB)",
        "problems: 1 damage, 1 open, 1 short",
        "  d: d.mp4 cannot be read as a video: Invalid data found",
        "  and 1 more, see out/probe.tsv",
    ]


@pytest.mark.parametrize("width", [10, 40, 100])
def test_no_line_of_a_video_is_wider_than_the_terminal(width: int) -> None:
    shown = lines(5, width)
    table = shown[1 : shown.index("codecs: 2 h264, 1 hevc")]
    assert len(table) == 6
    assert max(len(line) for line in table) <= width
    assert max(len(line) for line in shown if line.startswith("  ")) <= width
    assert any(line.endswith("…") for line in table) == (width < 100)


def test_nothing_is_wrong() -> None:
    summary = Summary(1)
    summary.add(record("a"))
    assert list(summary.lines("mine", Counter(), width=80, path="t"))[-1] == "problems: none"


def test_more_kinds_than_a_line_takes_are_counted() -> None:
    summary = Summary(0)
    for n in range(9):
        summary.add(record("v", codec=f"c{n}"))
    assert "codecs: 1 c0, 1 c1, 1 c2, 1 c3, 1 c4, 1 c5, and 3 more" in summary.lines(
        "mine", Counter(), width=200, path="t"
    )
