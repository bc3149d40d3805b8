"""Samplers: choose which frames of a video to take, from its timeline. Configs name them `vfx.sampling.<sampler>`."""

from vfx.sampling.samplers import (
    Indices,
    all_frames,
    fps,
    half_second,
    keyframes,
    lineage,
    lineage_py3,
    stride,
    uniform,
)
from vfx.sampling.segment_table import segments

__all__ = [
    "Indices",
    "all_frames",
    "fps",
    "half_second",
    "keyframes",
    "lineage",
    "lineage_py3",
    "segments",
    "stride",
    "uniform",
]
