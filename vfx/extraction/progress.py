"""What the user sees of a run: its progress, then a summary."""

from __future__ import annotations

from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from vfx.cli.progress_bar import ProgressBar
from vfx.outputs.counters import RunCounters
from vfx.text import duration


class Progress(Callback):
    """Shows the first rank's share: videos, frames, frames/s, time left (by cost, not by count), failures.

    Args:
        counters: of this rank, which others count up.
    """

    def __init__(self, counters: RunCounters) -> None:
        self._counters = counters
        self._bar: ProgressBar | None = None
        self._rank = ""
        self._videos = 0

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        if trainer.world_size > 1:
            self._rank = f"rank 1 of {trainer.world_size}: "
        todo = trainer.datamodule.todo  # type: ignore[attr-defined]
        self._videos = sum(unit.counts for unit in todo)
        self._bar = ProgressBar(sum(unit.cost for unit in todo))

    def on_predict_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        self._show()

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._show()
        self._close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def _show(self) -> None:
        if self._bar is not None:
            counted = self._counters
            self._bar.show(
                counted.done_cost,
                f"{self._rank}{counted.videos}/{self._videos} videos, {counted.frames} frames",
                f"{self._bar.rate(counted.frames):.1f} frames/s, {counted.failures.total()} failures",
            )

    def _close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def summary(counters: RunCounters, seconds: float, *, ranks: int = 1) -> str:
    """The closing lines: what was done, and where the time went.

    Args:
        counters: of all ranks together.
        seconds: that the run took.
        ranks: how many shared it.
    """

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
