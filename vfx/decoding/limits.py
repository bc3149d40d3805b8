"""What one video may ask of the machine before it is given up: an honest video asks for far less."""

from __future__ import annotations

from dataclasses import dataclass, fields

from vfx import validation
from vfx.errors import LimitError


@dataclass(frozen=True)
class Limits:
    """`pixels` of a frame, `frames` and `hours` of a video, `memory_gb` that its reading may take beyond what the
    process has at its start, and `patience`, seconds without a frame after which its decoder is taken to hang.

    Infinity is no limit. Raises UsageError for what is no positive number.
    """

    pixels: float
    frames: float
    hours: float
    memory_gb: float
    patience: float

    def __post_init__(self) -> None:
        for field in fields(self):
            validation.number(f"limits.{field.name}", getattr(self, field.name), above=0)

    @property
    def memory(self) -> float:
        """`memory_gb` in bytes."""
        return self.memory_gb * 1e9

    def check_size(self, name: str, width: int, height: int) -> None:
        """Raise LimitError where a picture is larger than `pixels`."""
        if width * height > self.pixels:
            raise LimitError(f"{name} is {width}x{height} pixels, more than limits.pixels ({self.pixels:.0f}) allows")

    def check_count(self, name: str, frames: int) -> None:
        """Raise LimitError where there are more than `frames`."""
        if frames > self.frames:
            raise LimitError(f"{name} has more frames than limits.frames ({self.frames:.0f}) allows")

    def check_duration(self, name: str, seconds: float) -> None:
        """Raise LimitError where times span more than `hours`."""
        if seconds > self.hours * 3600:
            raise LimitError(f"{name} lasts {seconds / 3600:.1f} hours, more than limits.hours ({self.hours:g}) allows")
