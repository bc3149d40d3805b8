"""Frames are written as asked, and options out of range are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vfx.cutting.image_format import ImageFormat
from vfx.errors import UsageError

PIXELS = np.random.default_rng(0).integers(0, 256, (30, 50, 3), np.uint8)


@pytest.mark.parametrize(
    ("short_side", "size"), [(None, (50, 30)), (30, (50, 30)), (40, (50, 30)), (20, (33, 20)), (1, (1, 1))]
)
def test_larger_frames_are_shrunk(tmp_path: Path, short_side: int | None, size: tuple[int, int]) -> None:
    ImageFormat("png", short_side=short_side).save(PIXELS, tmp_path / "a")
    with Image.open(tmp_path / "a") as image:
        assert (image.format, image.size) == ("PNG", size)
        assert size != (50, 30) or (np.asarray(image) == PIXELS).all()


def test_the_recipe_has_what_changes_the_pixels() -> None:
    assert ImageFormat().recipe() == {"format": "jpg", "quality": 95, "short_side": None}
    assert ImageFormat("png", short_side=20).recipe() == {"format": "png", "short_side": 20}


@pytest.mark.parametrize("options", [{"format": "bmp"}, {"quality": 0}, {"quality": 101}, {"short_side": 0}])
def test_options_out_of_range_are_refused(options: dict) -> None:
    (name,) = options
    with pytest.raises(UsageError, match=rf"{name} \({options[name]}\) must be "):
        ImageFormat(**options)
