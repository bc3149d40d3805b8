"""The pictures of a report, each of which stands in the page once."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import NamedTuple

from vfx.analysis.thumbnails import FrameKey, Thumbnail

PICTURE_BYTES = 4 << 20  # of all pictures, as JPEG


class Picture(NamedTuple):
    """A picture in the page.

    Args:
        name: The id of the element that holds it.
        width: Pixels.
        height: Pixels.
        data: The JPEG in base64.
    """

    name: str
    width: int
    height: int
    data: str


class Gallery:
    """Thumbnails under names by which a page refers to them: as many as PICTURE_BYTES has room for.

    Args:
        thumbnails: The most important first.

    Attributes:
        images: The pictures, the most important first.
    """

    def __init__(self, thumbnails: Iterable[Thumbnail]) -> None:
        self._pictures: dict[FrameKey, Picture] = {}
        room = PICTURE_BYTES
        for thumbnail in thumbnails:
            room -= len(thumbnail.jpeg)
            if room < 0:
                break
            data = base64.b64encode(thumbnail.jpeg).decode()
            picture = Picture(f"p{len(self._pictures)}", thumbnail.width, thumbnail.height, data)
            self._pictures[thumbnail.video, thumbnail.index] = picture
        self.images = list(self._pictures.values())

    def __getitem__(self, key: FrameKey | None) -> Picture | None:
        """The picture of a frame; None where there is none."""
        return None if key is None else self._pictures.get(key)
