"""Libraries of the extras, imported when they are asked for; one that is missing is named with what installs it."""

from __future__ import annotations

import importlib
from types import ModuleType

from vfx.errors import UsageError


def need(module: str, *, extra: str, for_: str) -> ModuleType:
    """The module of a library that the extra `extra` of setup.cfg installs; `for_` is what was asked for.

    Raises UsageError with the command that installs it where it, or something that it imports, is missing.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        raise UsageError(f"{for_} needs {missing.partition('.')[0]}: pip install 'vfx[{extra}]'") from error
