"""How frames are written as image files."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vfx import validation
from vfx.errors import UsageError

PNG_LEVEL = 3  # of compression: within a few per cent of the default's size in half the time


@dataclass(frozen=True)
class ImageFormat:
    """JPEG with 4:2:0 chroma, or PNG.

    Args:
        format: `jpg` or `png`.
        quality: of JPEG, 1 to 100.
        short_side: pixels to which larger frames are shrunk, by PIL's antialiased bilinear filter. Smaller frames keep
            their size, and so do all without it.

    Raises:
        UsageError: A value is out of range.
    """

    format: Literal["jpg", "png"] = "jpg"
    quality: int = 95
    short_side: int | None = None

    def __post_init__(self) -> None:
        if self.format not in ("jpg", "png"):
            raise UsageError(f"format ({self.format}) must be jpg or png")
        validation.whole("quality", self.quality, least=1, most=100)
        if self.short_side is not None:
            validation.whole("short_side", self.short_side, least=1)

    def recipe(self) -> dict[str, Any]:
        """The options that change the pixels."""
        quality = {"quality": self.quality} if self.format == "jpg" else {}
        return {"format": self.format, **quality, "short_side": self.short_side}

    def save(self, pixels: NDArray[np.uint8], path: Path) -> None:
        """Write a frame.

        Args:
            pixels: RGB (h,w,3).
            path: of the file, whose suffix does not matter.

        Raises:
            ValueError, OSError: The format cannot hold the frame; such an OSError has no errno.
            OSError: The disk refuses.
        """
        image = Image.fromarray(pixels)
        short = min(image.size)
        if self.short_side is not None and short > self.short_side:
            # The long side cut to a whole number, as torchvision's Resize does.
            width, height = (int(self.short_side * side / short) for side in image.size)
            image = image.resize((width, height), Image.Resampling.BILINEAR)
        file = BytesIO()  # PIL overlooks that a disk took only half of what it wrote
        if self.format == "jpg":
            image.save(file, "jpeg", quality=self.quality, subsampling="4:2:0")
        else:
            image.save(file, "png", compress_level=PNG_LEVEL)
        path.write_bytes(file.getbuffer())
