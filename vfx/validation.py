"""Checks of numbers that come from a config."""

from __future__ import annotations

import math

from vfx.errors import UsageError


def whole(key: str, value: object, *, least: int, most: int | None = None) -> int:
    """Return `value` if it is a whole number in [least, most]; else raise UsageError, which names the key."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
        raise UsageError(f"{key} ({value}) must be a whole number {bounds}")
    return value


def number(key: str, value: object, *, least: float = -math.inf, above: float = -math.inf) -> float:
    """Return `value` if it is a number, >= `least` and > `above`; else raise UsageError, which names the key."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not (value >= least and value > above):
        bounds = f" of at least {least:g}" if least > -math.inf else f" above {above:g}" if above > -math.inf else ""
        raise UsageError(f"{key} ({value}) must be a number{bounds}")
    return value
