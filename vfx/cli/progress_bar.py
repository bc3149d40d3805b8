"""The progress of a run: one bar on a terminal, elsewhere a line in the log every so often."""

from __future__ import annotations

import logging
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from vfx.text import duration

if TYPE_CHECKING:
    from tqdm import tqdm

LINE_SECONDS = 30  # between two lines where there is no terminal
FORMAT = "{desc} |{bar}| {percentage:3.0f}% {elapsed}<{remaining}{postfix}"

log = logging.getLogger("vfx")


class ProgressBar:
    """Shows how much of a run is done, and how long the rest takes if it goes on at the same pace.

    While a bar is on a terminal, vfx's log is written above it. `close()` ends that; the bar is a context manager too.

    Args:
        total: the cost of all, in any unit.
    """

    def __init__(self, total: float) -> None:
        self._total = max(1, total)
        self._start = self._last_line = time.monotonic()
        self._stack = ExitStack()
        self._bar: tqdm[Any] | None = None
        if sys.stderr.isatty():
            from tqdm import tqdm  # late, as only terminals need it
            from tqdm.contrib.logging import logging_redirect_tqdm

            self._bar = self._stack.enter_context(tqdm(total=self._total, bar_format=FORMAT, dynamic_ncols=True))
            self._stack.enter_context(logging_redirect_tqdm([log]))

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def rate(self, count: float) -> float:
        """How many a second, of `count` since the start."""
        return count / max(1e-9, time.monotonic() - self._start)

    def show(self, done: float, counts: str, rates: str) -> None:
        """Show what is done.

        Args:
            done: cost of it, out of the total.
            counts: before the bar, as `3/8 videos, 21 frames`.
            rates: behind it, as `12.3 frames/s, 0 failures`.
        """
        if self._bar is not None:
            self._bar.set_description_str(counts, refresh=False)
            self._bar.set_postfix_str(rates, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if now - self._last_line > LINE_SECONDS:
            self._last_line = now
            left = (now - self._start) * (self._total - done) / done if done else float("inf")
            log.info("%s, %s, %s left", counts, rates, duration(left))

    def close(self) -> None:
        """Leave the terminal's line; nothing is shown any more."""
        self._stack.close()
        self._bar = None
