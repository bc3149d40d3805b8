"""What numbers from a config may be, and the error that says so."""

from __future__ import annotations

import math

from vfx.errors import UsageError


def whole(key: str, value: object, *, least: int, most: int | None = None) -> int:
    """A whole number from `least` to `most`, both included. Raises UsageError that names the key for anything else."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise UsageError(f"{key} ({value}) must be a whole number {bounds}")
    return value


def number(key: str, value: object, *, least: float = -math.inf, above: float = -math.inf) -> float:
    """A number of at least `least` that is above `above`. Raises UsageError that names the key for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value >= least and value > above):
        bounds = f" of at least {least:g}" if least > -math.inf else f" above {above:g}" if above > -math.inf else ""
        raise UsageError(f"{key} ({value}) must be a number{bounds}")
    return value
