"""All errors that vfx raises on purpose.

VfxError
├── UsageError            the request cannot be carried out as written
│   ├── CollectionError   the collection is missing, empty or ambiguous
│   │   └── NoFramesError no frames have been cut from its videos
│   ├── SamplerError      a sampler's option is out of its range
│   ├── ModelError        no such network, or one that vfx cannot take features from
│   ├── WeightsError      weights that cannot be downloaded, trusted or loaded
│   ├── OutputError       the output folder holds something else, or is not a feature file
│   └── UnknownIdError    a feature file has no row of that id; a KeyError too
├── ExtractionError       the run ended without its result
├── Interrupted           a signal ended the run; finished videos are kept
├── IntegrityError        a feature file does not hold what was written to it
├── DifferenceError       two features differ by more than is allowed
└── VideoError            one video or frame cannot be read: recorded, and the run goes on
    └── LimitError        it exceeds `limits`
"""

from __future__ import annotations

from signal import Signals


class VfxError(Exception):
    """The base of all: a command prints its message and exits 1, without a traceback."""


class UsageError(VfxError):
    """The request cannot be carried out as written."""


class CollectionError(UsageError):
    """The collection is missing, empty or ambiguous."""


class NoFramesError(CollectionError):
    """No frames have been cut from the videos of the collection."""


class SamplerError(UsageError):
    """A sampler's option is out of its range."""


class ModelError(UsageError):
    """No such network, or one that vfx cannot take features from."""


class WeightsError(UsageError):
    """Weights that cannot be downloaded, trusted or loaded."""


class OutputError(UsageError):
    """The output folder holds something else, or is not a feature file."""


class UnknownIdError(UsageError, KeyError):
    """A feature file has no row of that id."""

    def __str__(self) -> str:
        return str(self.args[0])  # KeyError would show it quoted


class ExtractionError(VfxError):
    """The run ended without its result."""


class IntegrityError(VfxError):
    """A feature file does not hold what was written to it."""


class DifferenceError(VfxError):
    """Two features differ by more than is allowed."""


class Interrupted(VfxError):
    """A signal, whose number is `signal`, ended the run; what was finished is kept."""

    def __init__(self, signal: int) -> None:
        super().__init__(
            f"ended by {Signals(signal).name}; what was finished is kept: the same command goes on from there"
        )
        self.signal = signal


class VideoError(VfxError):
    """One video or frame cannot be read: recorded in `failures`, and the run goes on."""


class LimitError(VideoError):
    """A video exceeds `limits`."""
