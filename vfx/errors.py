"""Every error that vfx raises on purpose.

VfxError
├── UsageError            what was asked for cannot be done as written
│   ├── CollectionError   the collection is missing, empty or ambiguous
│   │   └── NoFramesError no frames have been cut of it
│   ├── SamplerError      a sampler's option is out of its range
│   ├── ModelError        no such network, or one that vfx cannot take features from
│   ├── WeightsError      weights that cannot be had, trusted or fitted
│   └── OutputError       the output folder holds something else, or is not a feature file
├── ExtractionError       the run ended without what was asked for
├── DifferenceError       two features differ by more than is allowed
└── VideoError            one video or frame cannot be read: recorded, and the run goes on
"""

from __future__ import annotations


class VfxError(Exception):
    """The root: an app prints its message and exits 1, with no traceback."""


class UsageError(VfxError):
    """What was asked for cannot be done as written."""


class CollectionError(UsageError):
    """The collection is missing, empty or ambiguous."""


class NoFramesError(CollectionError):
    """No frames have been cut of the collection."""


class SamplerError(UsageError):
    """A sampler's option is out of its range."""


class ModelError(UsageError):
    """No such network, or one that vfx cannot take features from."""


class WeightsError(UsageError):
    """Weights that cannot be had, trusted or fitted."""


class OutputError(UsageError):
    """The output folder holds something else, or is not a feature file."""


class ExtractionError(VfxError):
    """The run ended without what was asked for."""


class DifferenceError(VfxError):
    """Two features differ by more than is allowed."""


class VideoError(VfxError):
    """One video or frame cannot be read: recorded in `failures`, and the run goes on."""
