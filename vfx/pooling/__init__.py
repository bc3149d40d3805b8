"""Step 3: one row a video or segment out of frame-level features. Configs name them as `vfx.pooling.<pooling>`."""

from vfx.pooling.functions import first, gauss, max, mean, middle, std, sum

__all__ = ["first", "gauss", "max", "mean", "middle", "std", "sum"]
