"""What the user sees of a run: a bar in a terminal, lines elsewhere, and a summary."""

import fcntl
import logging
import os
import pty
import struct
import subprocess
import sys
import termios
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from pytorch_lightning import LightningModule, Trainer

from tests.conftest import ROOT, TOYDATA
from vfx import extract
from vfx.collection.source import VideoSource
from vfx.extraction.progress import Progress, summary
from vfx.outputs.counters import RunCounters


def test_the_summary_says_where_the_time_went() -> None:
    one = RunCounters(
        videos=3, frames=50, failures=Counter(open=1), decode=6, threads=12, waiting=2, network=7, writing=0.5
    )
    both = one + RunCounters(videos=1, frames=50, failures=Counter(open=1, decode=2), decode=2, waiting=2, network=9)
    assert summary(both, 10, ranks=2).splitlines() == [
        "4 videos, 100 frames in 10.0 s (10.0 frames/s); failures: 2 at decode, 2 at open",
        "waiting for decode 2.0 s (20 %), for the network 8.0 s (80 %), writing 0.2 s (2 %); workers read for 8.0 s,"
        " threads ran the network for 12.0 s",
    ]


@pytest.mark.parametrize(
    ("ranks", "begins"), [(1, "1/2 videos, 9 frames, "), (3, "rank 1 of 3: 1/2 videos, 9 frames, ")]
)
def test_of_several_ranks_it_is_the_first_whose_videos_are_counted(
    ranks: int, begins: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(logging.getLogger("vfx"), "propagate", True)
    monkeypatch.setattr("vfx.cli.progress_bar.LINE_SECONDS", -1)
    data = SimpleNamespace(todo=[VideoSource("a", "/a", 1), VideoSource("b", "/b", 1)])
    trainer = cast(Trainer, SimpleNamespace(is_global_zero=True, world_size=ranks, datamodule=data))
    progress = Progress(RunCounters(videos=1, frames=9))
    progress.on_predict_start(trainer, LightningModule())
    with caplog.at_level(logging.INFO, "vfx"):
        progress.on_predict_batch_end(trainer)
    assert caplog.messages[-1].startswith(begins)


@pytest.mark.dear
def test_without_a_terminal_there_is_a_line_every_so_often(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("vfx.cli.progress_bar.LINE_SECONDS", 0)
    options = ["trainer=cpu", "batch_size=4", "num_threads=1"]
    path = extract.main(f"collection={TOYDATA}", f"output_dir={tmp_path}", *options)
    lines = [line for line in (path.parent / "extract.log").read_text().splitlines() if line.endswith(" left")]
    assert len(lines) == 16  # one for each batch, and the last
    assert "8/8 videos, 59 frames, " in lines[-1]
    assert " frames/s, 0 failures, " in lines[-1]


@pytest.mark.dear
def test_in_a_terminal_there_is_one_bar(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 130, 0, 0))
    arguments = [f"collection={TOYDATA}", f"output_dir={tmp_path}", "trainer=cpu", "batch_size=16"]
    with subprocess.Popen(
        [sys.executable, "-m", "vfx.extract", *arguments], cwd=ROOT, stderr=theirs, stdout=subprocess.DEVNULL
    ) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                chunk = os.read(ours, 4096)
            except OSError:  # how a terminal of Linux ends
                break
            if not chunk:
                break
            shown += chunk
        os.close(ours)
    assert process.returncode == 0
    bars = [line for line in shown.decode().split("\r") if "frames/s, 0 failures" in line]
    assert bars[-1].startswith("8/8 videos, 59 frames |")
    assert "100% 00:" in bars[-1]
