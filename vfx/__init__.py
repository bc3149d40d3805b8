"""Turns collections of videos into HDF5 features of pretrained image networks."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vfx.cli import signals

if TYPE_CHECKING:
    from vfx.features.feature_file import FeatureFile

if sys.argv[:1] == ["-m"]:  # Python is about to run one of the apps, whose imports take a while
    signals.exit_on_ctrl_c()

__version__ = "0.1.0"
APPS = (
    "models", "probe", "frames", "extract", "merge", "pool", "concat", "export", "import_bigfile", "compare", "verify",
    "bench", "report", "search",
)  # fmt: skip
__all__ = ["APPS", "CONF_DIR", "FeatureFile", "__version__"]


def _find_conf() -> Path:
    """The folder of Hydra configs: beside the package in a checkout, inside it once installed."""
    here = Path(__file__).resolve().parent
    return next(p for p in (here / "conf", here.parent / "conf") if (p / "extract.yaml").is_file())


CONF_DIR = _find_conf()


def __getattr__(name: str) -> Any:
    # Apps and h5py are loaded when they are first asked for: `--help` need not wait for them.
    if name in APPS:
        return importlib.import_module(f"vfx.{name}")
    if name == "FeatureFile":
        from vfx.features.feature_file import FeatureFile

        return FeatureFile
    raise AttributeError(f"module 'vfx' has no attribute {name!r}")
