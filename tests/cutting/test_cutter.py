"""A cutter leaves whole folders or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import TOYDATA
from vfx.collection.source import VideoSource
from vfx.cutting.cutter import Cutter
from vfx.cutting.image_format import ImageFormat
from vfx.errors import OutputError
from vfx.sampling.samplers import half_second


def test_a_full_disk_ends_the_run(tmp_path: Path) -> None:
    cutter = Cutter(tmp_path / "gone", half_second, "auto", ImageFormat(), {})
    with pytest.raises(OutputError, match=r"retina could not be written: .*\. Nothing half-written is left there"):
        cutter(VideoSource("retina", str(TOYDATA / "VideoData" / "retina.mp4"), 1))
