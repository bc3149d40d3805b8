"""What a record takes from packets, and the columns of the table."""

from __future__ import annotations

import numpy as np
import pytest

from vfx.probing.record import COLUMNS, duration, is_variable
from vfx.sampling.timeline import Timeline


def timeline(*seconds: float, pts: bool = True) -> Timeline:
    times = np.array(seconds, float)
    ticks = np.round(times * 90000).astype(np.int64) if pts else None
    return Timeline(times, np.ones(len(times), bool), ticks, len(times), rate=25.0)


def test_the_rate_is_variable_where_intervals_differ_by_more_than_rounding() -> None:
    assert is_variable(timeline(*np.arange(30) / 29.97)) is False
    assert is_variable(timeline(*np.round(np.arange(30) / 29.97, 3))) is False  # as Matroska stores it
    assert is_variable(timeline(*np.floor(np.arange(30) / 59.94 * 1000) / 1000)) is False
    assert is_variable(timeline(0, 0.04, 0.12, 0.16)) is True
    assert is_variable(timeline(0, 0.04)) is None
    assert is_variable(timeline(0, 0.04, 0.12, 0.16, pts=False)) is None


def test_a_video_ends_when_its_last_frame_does() -> None:
    assert duration(timeline(*np.arange(10) / 25)) == pytest.approx(0.4)
    assert duration(timeline(5, 5.04, 5.5, 5.54)) == pytest.approx(0.58)
    assert duration(timeline(3)) == pytest.approx(0.04)


def test_columns_have_types_for_any_table() -> None:
    assert list(COLUMNS)[:3] == ["id", "path", "bytes"]
    assert set(COLUMNS.values()) == {str, int, float, bool}
