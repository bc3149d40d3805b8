"""A terminal has one bar, below the log; elsewhere there are lines."""

from __future__ import annotations

import io
import logging

import pytest

from vfx.cli import progress_bar
from vfx.cli.progress_bar import ProgressBar

log = logging.getLogger("vfx")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_log_is_written_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("COLUMNS", "80")
    handlers = [logging.StreamHandler(terminal), logging.NullHandler()]
    monkeypatch.setattr(log, "handlers", handlers)
    monkeypatch.setattr(log, "propagate", False)
    with ProgressBar(10) as bar:
        bar.show(2, "1/3 videos", "0 failures")
        log.warning("a warning")
        bar.show(10, "3/3 videos", "1 failures")
    assert log.handlers is handlers
    bar.close()  # once more does no harm
    *_, warning, last = (line.rpartition("\r")[2] for line in terminal.getvalue().rstrip("\n").split("\n"))
    assert warning == "a warning"
    assert last.startswith("3/3 videos |")
    assert "| 100% 00:00<00:00, 1 failures" in last


def test_without_a_terminal_lines_say_the_time_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "handlers", [caplog.handler])  # and none that other tests left
    now = iter([0.0, 10.0, 31.0, 40.0, 62.0])
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: next(now))
    bar = ProgressBar(10)
    with caplog.at_level(logging.INFO, "vfx"):
        for done in (1, 2, 3, 8):
            bar.show(done, f"{done}/10 videos", "0 failures")
    bar.close()
    assert caplog.messages == ["2/10 videos, 0 failures, 2 min 04 s left", "8/10 videos, 0 failures, 15.5 s left"]


def test_nothing_done_leaves_an_unknown_time(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(log, "propagate", False)
    monkeypatch.setattr(log, "handlers", [caplog.handler])  # and none that other tests left
    monkeypatch.setattr(progress_bar, "LINE_SECONDS", -1)
    with caplog.at_level(logging.INFO, "vfx"), ProgressBar(0) as bar:
        bar.show(0, "0/1 videos", "0 failures")
    assert caplog.messages == ["0/1 videos, 0 failures, unknown time left"]
