"""Image networks and their weights, a family a file; each `build` returns a `Network`."""

from vfx.models.network import Network, Weights

__all__ = ["Network", "Weights"]
