"""The pictures of a report, each of which stands in the page once."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any, NamedTuple

from vfx.analysis.thumbnails import FrameKey, Thumbnail

PICTURE_BYTES = 4 << 20  # of all pictures, as JPEG


class Picture(NamedTuple):
    """A picture in the page.

    Args:
        name: The id of the element that holds it.
        width: Pixels.
        height: Pixels.
    """

    name: str
    width: int
    height: int


class Gallery:
    """Thumbnails under names by which a page refers to them: as many as PICTURE_BYTES has room for.

    Args:
        thumbnails: The most important first.

    Attributes:
        images: What the template needs of each: name, width, height, and the JPEG in base64.
    """

    def __init__(self, thumbnails: Iterable[Thumbnail]) -> None:
        self.images: list[dict[str, Any]] = []
        self._pictures: dict[FrameKey, Picture] = {}
        room = PICTURE_BYTES
        for thumbnail in thumbnails:
            room -= len(thumbnail.jpeg)
            if room < 0:
                break
            picture = Picture(f"p{len(self.images)}", thumbnail.width, thumbnail.height)
            data = base64.b64encode(thumbnail.jpeg).decode()
            self.images.append({"name": picture.name, "w": picture.width, "h": picture.height, "data": data})
            self._pictures[thumbnail.video, thumbnail.index] = picture

    def __getitem__(self, key: FrameKey | None) -> Picture | None:
        """The picture of a frame; None where there is none."""
        return None if key is None else self._pictures.get(key)
