"""What the user sees of a run: one bar, or a line every so often where there is no terminal; then a summary."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from tqdm import tqdm

from vfx.outputs.counters import RunCounters, duration

log = logging.getLogger(__name__)
LINE_SECONDS = 30


class Progress(Callback):
    """Shows the first rank's share: videos, frames, frames/s, time left (by cost, not by count), failures."""

    def __init__(self, counters: RunCounters) -> None:
        self._counters = counters
        self._bar: tqdm[Any] | None = None
        self._whose = ""
        self._videos = 0
        self._cost = 1
        self._start = 0.0
        self._last_line = 0.0

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        if trainer.world_size > 1:
            self._whose = f"rank 1 of {trainer.world_size}: "
        todo = trainer.datamodule.todo  # type: ignore[attr-defined]
        self._videos, self._cost = sum(s.counts for s in todo), max(1, sum(s.cost for s in todo))
        self._start = self._last_line = time.monotonic()
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=self._cost,
                bar_format="{desc} |{bar}| {percentage:3.0f}% {elapsed}<{remaining}{postfix}",
            )

    def on_predict_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        now = time.monotonic()
        self._show(now)
        if self._bar is None and trainer.is_global_zero and now - self._last_line > LINE_SECONDS:
            self._last_line = now
            share = self._counters.done_cost / self._cost
            left = (now - self._start) * (1 - share) / share if share else float("inf")
            log.info("%s, %s, %s left", self._counts(), self._rates(now), duration(left))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show(time.monotonic())
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _show(self, now: float) -> None:
        if self._bar is not None:
            self._bar.set_description_str(self._counts(), refresh=False)
            self._bar.set_postfix_str(self._rates(now), refresh=False)
            self._bar.update(self._counters.done_cost - self._bar.n)

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _counts(self) -> str:
        return f"{self._whose}{self._counters.videos}/{self._videos} videos, {self._counters.frames} frames"

    def _rates(self, now: float) -> str:
        rate = self._counters.frames / max(1e-9, now - self._start)
        return f"{rate:.1f} frames/s, {self._counters.failures.total()} failures"


def summary(counters: RunCounters, seconds: float, *, ranks: int = 1) -> str:
    """The closing lines: what was done, and where the time went. `counters`: all ranks together."""

    def share(spent: float) -> str:
        return f"{duration(spent / ranks)} ({100 * spent / ranks / max(seconds, 1e-9):.0f} %)"

    failures = ", ".join(f"{n} at {stage}" for stage, n in sorted(counters.failures.items())) or "none"
    return (
        f"{counters.videos} videos, {counters.frames} frames in {duration(seconds)}"
        f" ({counters.frames / max(seconds, 1e-9):.1f} frames/s); failures: {failures}\n"
        f"waiting for decode {share(counters.waiting)}, for the network {share(counters.network)},"
        f" writing {share(counters.writing)}; workers read for {duration(counters.decode)}"
        + (f", threads ran the network for {duration(counters.threads)}" if counters.threads else "")
    )
