"""What a run reads: a whole video, a chunk of one, or a folder of frames."""

from __future__ import annotations

from typing import NamedTuple


class Chunk(NamedTuple):
    """A part of a video: the units `[begin, end)` of the `total` units of similar length into which it is divided."""

    begin: int
    end: int
    total: int

    def __str__(self) -> str:
        return f"{self.begin + 1}-{self.end} of {self.total}"

    @classmethod
    def parsed(cls, text: str) -> Chunk:
        """The chunk whose `str` is `text`."""
        units, _, total = text.partition(" of ")
        first, _, last = units.partition("-")
        return cls(int(first) - 1, int(last), int(total))


class VideoSource(NamedTuple):
    """A video of a collection, or a chunk of one.

    Args:
        id: The video's id, unique in the collection.
        path: The video file, or the folder that holds the video's frames.
        cost: How much work reading takes: bytes of the file, or frames in the folder. Only proportions matter. The
            size of a file is known without opening it, and a megabyte of H.264 took 0.15 to 0.3 CPU seconds to decode,
            from 240p to 720p.
        video: For a folder of frames, the video file that they were cut from, if the collection has it.
        chunk: The part to read; None for the whole video.
        counts: Whether this source adds one to the number of videos read. Of the chunks of a video, exactly one does.
    """

    id: str
    path: str
    cost: int
    video: str | None = None
    chunk: Chunk | None = None
    counts: bool = True
