"""Image networks and their weights, one module a family; each `build` returns a `Network`. As a command, lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vfx.models.__main__ import main
    from vfx.models.network import Network, Weights

__all__ = ["Network", "Weights", "main"]


def __getattr__(name: str) -> Any:
    # Imported at first use, so that the command need not import torch.
    if name in ("Network", "Weights"):
        from vfx.models import network

        return getattr(network, name)
    if name == "main":
        from vfx.models.__main__ import main

        return main
    raise AttributeError(f"module 'vfx.models' has no attribute {name!r}")
