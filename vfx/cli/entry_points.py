"""The commands `vfx-extract` and so on, which are `python -m vfx.extract` and so on."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from vfx.cli import signals


def run() -> None:
    """Run the app whose name the script has: vfx-import-bigfile is vfx.import_bigfile."""
    signals.end_with_a_line()
    name = Path(sys.argv[0]).stem.removeprefix("vfx-").replace("-", "_")
    from vfx.cli import command

    # Imported, not run as __main__: what workers unpickle is then found by its name in either way of starting.
    module = importlib.import_module("vfx.models.__main__" if name == "models" else f"vfx.{name}")
    command.run(getattr(module, name), name)
