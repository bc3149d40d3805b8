"""The entry point of the console scripts: `vfx-extract` is `python -m vfx.extract`, and so on."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from vfx.cli import signals


def run() -> None:
    """Run the app that the script is named after: `vfx-import-bigfile` runs `vfx.import_bigfile`."""
    signals.exit_on_ctrl_c()
    name = Path(sys.argv[0]).stem.removeprefix("vfx-").replace("-", "_")
    from vfx.cli import command

    # Imported, not run as __main__: workers unpickle functions of the app by the name of its module.
    module = importlib.import_module("vfx.models.__main__" if name == "models" else f"vfx.{name}")
    command.run(getattr(module, name), name)
