"""What is known of one video: a row of the table of a probed collection."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, get_args, get_type_hints

import numpy as np

from vfx.decoding import Headers
from vfx.sampling.timeline import Timeline
from vfx.text import clean

# What can be wrong, as the table names it; docs/probe.md says what each means.
Problem = Literal["empty", "open", "sound", "short", "damage", "limit", "crash", "hang", "name", "same_id"]
# Intervals between frames that differ by less are even: Matroska and FLV round times to a millisecond.
UNEVEN_SECONDS = 0.0015


@dataclass
class Record:
    """One video; None and "" stand for what is not known.

    Args:
        id: of the video.
        path: from the collection's folder.
        bytes: size of the file.
        container: FFmpeg's name of the container format.
        codec: FFmpeg's name of the codec.
        pixel_format: FFmpeg's name of the pixel format.
        bits: of a colour component.
        width: pixels, as shown.
        height: pixels, as shown.
        rotation: degrees counter-clockwise; None if the first frame cannot be decoded.
        rate: frames a second as the file states them.
        variable: whether frames are shown at uneven intervals.
        seconds: duration.
        promised: frames that the header promises.
        frames: frames that the packets hold.
        decoded: frames that could be decoded.
        rows: how many of them the sampler takes.
        audio: codecs of the audio streams, joined by "+".
        decoder: the backends that delivered under `decoder=auto`, joined by "+".
        decoders: the backends that agree with the packets and delivered the first frame, joined by "+".
        sha256: of the content, where another file has the same size.
        twin: path of the first file with the same content.
        problem: each a Problem, joined by "+".
        error: a sentence for each, joined by "; ".
    """

    id: str
    path: str
    bytes: int
    container: str = ""
    codec: str = ""
    pixel_format: str = ""
    bits: int | None = None
    width: int | None = None
    height: int | None = None
    rotation: int | None = None
    rate: float | None = None
    variable: bool | None = None
    seconds: float | None = None
    promised: int | None = None
    frames: int | None = None
    decoded: int | None = None
    rows: int | None = None
    audio: str = ""
    decoder: str = ""
    decoders: str = ""
    sha256: str = ""
    twin: str = ""
    problem: str = ""
    error: str = ""

    def add_problem(self, problem: Problem, error: object) -> None:
        """Add a problem, and what it is in a sentence."""
        self.problem = "+".join(filter(None, [self.problem, problem]))
        self.error = "; ".join(filter(None, [self.error, clean(str(error))]))

    def add_headers(self, found: Headers) -> None:
        """Take over what the headers say; what they do not state stays unknown."""
        for field in fields(found):
            name = "promised" if field.name == "frames" else field.name
            value = getattr(found, field.name)
            setattr(self, name, (value or None) if name in ("bits", "rate", "seconds", "promised") else value)

    def add_timeline(self, timeline: Timeline) -> None:
        """Take over what the packets show."""
        self.promised, self.frames = timeline.promised, len(timeline)
        self.variable = is_variable(timeline)
        self.seconds = duration(timeline)


# Column name -> type, of `int | None` int.
COLUMNS: dict[str, type] = {name: (get_args(hint) or (hint,))[0] for name, hint in get_type_hints(Record).items()}


def is_variable(timeline: Timeline) -> bool | None:
    """Whether frames are shown at uneven intervals; None where their times are not known or too few."""
    if timeline.pts is None or len(timeline) < 3:
        return None
    steps = np.diff(timeline.seconds)
    return bool(steps.max() - steps.min() > UNEVEN_SECONDS)


def duration(timeline: Timeline) -> float:
    """Seconds from the first frame to the end of the last, which is taken to last as long as most do."""
    if len(timeline) > 1:
        return float(timeline.seconds[-1] - timeline.seconds[0] + np.median(np.diff(timeline.seconds)))
    return 1 / timeline.rate if timeline.rate > 0 else 0.0
