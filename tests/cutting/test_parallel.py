"""Videos are cut in processes that may end, and each costs itself alone."""

from __future__ import annotations

import ctypes
import os
import signal
from dataclasses import replace

import pytest

from tests.conftest import LIMITS
from vfx.collection.source import VideoSource
from vfx.cutting.parallel import cut_all
from vfx.cutting.record import Cut


def crash(source: VideoSource) -> Cut:
    if source.id == "bad":
        os.kill(os.getpid(), signal.SIGSEGV)
    if source.id == "odd":
        raise ArithmeticError("no sense")
    if source.id == "stuck":
        ctypes.CDLL(None).sleep(100_000)
    return Cut(source.id, cut=1)


@pytest.mark.dear
def test_a_decoder_that_crashes_or_hangs_costs_its_video() -> None:
    sources = [VideoSource(id, "", 1) for id in ["a", "bad", "b", "odd", "stuck", *(f"c{n}" for n in range(6))]]
    cuts = list(cut_all(sources, crash, num_workers=2, limits=replace(LIMITS, patience=5)))
    assert sorted(cut.id for cut in cuts) == sorted(s.id for s in sources)
    assert {cut.id: (cut.stage, cut.problem) for cut in cuts if cut.problem} == {
        "bad": ("decode", "decoder crashed (SIGSEGV)"),
        "odd": ("decode", "ArithmeticError('no sense')"),
        "stuck": ("decode", "no frame for 5 s"),
    }
