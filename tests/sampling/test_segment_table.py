"""Segments: the table, the rows that an interval holds, and the sampler."""

from pathlib import Path

import numpy as np
import pytest

from vfx.errors import UsageError
from vfx.sampling.segment_table import Segment, read_segments, rows_of, segments
from vfx.sampling.timeline import Timeline


def table(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "shots.tsv"
    path.write_text(text)
    return path


def test_header_comments_and_blank_lines_are_passed_over(tmp_path: Path) -> None:
    path = table(tmp_path, "# shots\nid\tvideo\tstart\tend\ns1\tcat\t0\t1.5\n\n#s9\tcat\t0\t1\ns2\tdog\t2\t3\n")
    assert read_segments(path) == {"cat": [Segment("s1", 0, 1.5, 3)], "dog": [Segment("s2", 2, 3, 6)]}


def test_a_table_without_a_header(tmp_path: Path) -> None:
    assert read_segments(table(tmp_path, "s1\tcat\t0\t1\r\n"))["cat"] == [Segment("s1", 0, 1, 1)]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("s1\tcat\t2\t2\n", r"line 1: end \(2\) must be after start \(2\)"),
        ("s1\tcat\t2\t1\n", r"line 1: end \(1\) must be after start \(2\)"),
        ("s1\tcat\t0\tinf\n", r"line 1: end \(inf\) must be after start"),
        ("s1\tcat\t0\t1\ns1\tcat\t1\t2\n", r"line 2: id s1 is that of line 1"),
        ("s1\tcat\t0\t1\ns2 cat 1 2\n", r"line 2: not segment id, video id, start, end"),
        ("s 1\tcat\t0\t1\n", r"line 1: id \('s 1'\) must not be empty or hold white space"),
        ("s\0\tcat\t0\t1\n", r"line 1: id \('s\\x00'\) must not .* or control characters"),
        ("s\x1b[2J\tcat\t0\t1\n", r"line 1: id \('s\\x1b\[2J'\) must not"),
        ("s1\t../cat\t0\t1\n", r"line 1: id \('\.\./cat'\) must not .* or a slash"),
        ("s1\t/etc/passwd\t0\t1\n", r"line 1: id \('/etc/passwd'\) must not .* or a slash"),
        ("..\tcat\t0\t1\n", r"line 1: id \('\.\.'\) must not .* be \. or \.\."),
        ("s" * 10_000 + "\tcat\t0\t1\n", r"line 1: id \('s{79}\) must not .* or be longer than 1000 bytes; mend these"),
        ("s0\tcat\t00:00\t1\ns1\tcat\t0\t1\n", r"line 1: not segment id, video id, start, end"),
        ("# nothing\n", "holds no segment"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        read_segments(table(tmp_path, text))


def test_a_table_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = tmp_path / "shots.tsv"
    path.write_bytes(b"s1\tcaf\xe9\t0\t1\n")
    with pytest.raises(UsageError, match=r"shots\.tsv is not UTF-8 text: .* can't decode byte 0xe9"):
        read_segments(path)


def test_many_bad_lines_are_counted(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="and 4 more"):
        read_segments(table(tmp_path, "s\tcat\t0\t1\n" + "s2\tcat\t1\t0\n" * 9))


@pytest.mark.parametrize(
    ("start", "end", "rows", "nearest"),
    [
        (0.0, 1.0, (0, 2), False),  # half open: the frame at 1.0 is outside
        (1.0, 1.5, (2, 3), False),
        (0.0, 9.0, (0, 4), False),
        (0.6, 0.9, (1, 2), True),  # 0.5 is nearer to 0.75 than 1.0, being the first of two
        (0.8, 0.9, (2, 3), True),
        (50.0, 60.0, (3, 4), True),
    ],
)
def test_rows_of_an_interval(start: float, end: float, rows: tuple[int, int], nearest: bool) -> None:
    found, empty = rows_of(Segment("s", start, end, 1), np.array([0, 0.5, 1.0, 1.5]))
    assert (found.start, found.stop, empty) == (*rows, nearest)


def test_the_sampler_adds_the_middle_of_what_it_misses(tmp_path: Path) -> None:
    path = table(tmp_path, "s1\tcat\t0\t0.5\ns2\tcat\t0.1\t0.3\ns3\tcat\t0.5\t0.6\ns4\tdog\t0.7\t0.8\n")
    seconds = np.arange(50) / 25
    timeline = Timeline(seconds, np.ones(50, bool), video="cat")
    # s1 has the frame at 0, s3 that at 0.5; s2 spans frames 3 to 7, of which 5 is the middle
    assert list(segments(timeline, file=str(path), fps=2)) == [0, 5, 13, 25, 38]
