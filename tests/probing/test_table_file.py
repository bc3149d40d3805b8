"""The table of a probed collection can be read by other programs."""

from __future__ import annotations

from dataclasses import astuple

from vfx.probing.record import COLUMNS, Record
from vfx.probing.table_file import tab_separated


def test_a_table_says_nothing_for_what_is_not_known() -> None:
    made = Record("a", "a.mp4", 1_000_000, rate=29.97002997, variable=False, seconds=2.0, frames=0)
    head, row = (line.split("\t") for line in tab_separated(COLUMNS, [astuple(made)]))
    assert head == list(COLUMNS)
    values = dict(zip(head, row, strict=True))
    assert [values[name] for name in ("id", "bytes", "rate", "variable", "seconds", "frames", "rows")] == [
        "a", "1000000", "29.97003", "false", "2", "0", "",
    ]  # fmt: skip
