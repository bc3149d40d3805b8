"""Pools frame-level features to one row for each video or segment. Configs name poolings as `vfx.pooling.<name>`."""

from vfx.pooling.functions import first, gauss, max, mean, middle, std, sum

__all__ = ["first", "gauss", "max", "mean", "middle", "std", "sum"]
