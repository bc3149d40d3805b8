"""Samplers: which frames of a video are taken, by its timeline. Configs name them as `vfx.sampling.<sampler>`."""

from vfx.sampling.samplers import all_frames, fps, half_second, keyframes, lineage, lineage_py3, stride, uniform
from vfx.sampling.segment_table import segments

__all__ = ["all_frames", "fps", "half_second", "keyframes", "lineage", "lineage_py3", "segments", "stride", "uniform"]
