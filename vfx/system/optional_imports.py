"""Libraries of extras: imported when needed; the error for a missing one says how to install it."""

from __future__ import annotations

import importlib
from types import ModuleType

from vfx.errors import UsageError


def need(module: str, *, extra: str, for_: str) -> ModuleType:
    """Import a module of an extra.

    Args:
        module: its full name.
        extra: the extra of setup.cfg that installs it.
        for_: what the user asked for.

    Raises:
        UsageError: the module, or one that it imports, is missing.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        raise UsageError(f"{for_} needs {missing.partition('.')[0]}: pip install 'vfx[{extra}]'") from error
