"""Image networks and their weights, a family a file; each `build` returns a `Network`. As a command, it lists them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vfx.models.__main__ import main
    from vfx.models.network import Network, Weights

__all__ = ["Network", "Weights", "main"]


def __getattr__(name: str) -> Any:
    # Late, so that the list need not wait for torch.
    if name in ("Network", "Weights"):
        from vfx.models import network

        return getattr(network, name)
    if name == "main":
        from vfx.models.__main__ import main

        return main
    raise AttributeError(f"module 'vfx.models' has no attribute {name!r}")
