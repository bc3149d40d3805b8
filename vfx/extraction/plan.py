"""The plan of an extraction: all that its config says, once resolved and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from vfx.collection.collection import Collection

if TYPE_CHECKING:
    from pytorch_lightning import Trainer

    from vfx.extraction.datamodules import SourceDataModule
    from vfx.extraction.prediction_writer import FeatureWriter
    from vfx.models import Network


@dataclass(frozen=True)
class FeaturePlan:
    """One feature that the run makes, by one network.

    Args:
        name: of the feature and its folder.
        build_network: makes the network, with its weights.
        compiler: what compiles the network: False, True (torch) or "openvino".
        config: the resolved config of this feature alone, YAML, as its file keeps it.
    """

    name: str
    build_network: Callable[[], Network]
    compiler: Literal[False, True, "openvino"]
    config: str


@dataclass(frozen=True)
class ExtractionPlan:
    """What a run extracts, and how.

    Args:
        collection: whose videos, or frames, are read.
        output_dir: where features go, each to `<output_dir>/<collection>/<feature>`.
        features: those to make, of the same frames.
        build_data: makes the DataModule; takes `counters` and `check`.
        build_writer: makes the prediction writer; takes `outputs`, `counters` and `check`.
        build_trainer: makes the Trainer; takes `callbacks`.
        sampler: the sampler and its options, as a recipe has them.
        segments: the table of segments that the sampler reads; None where it reads none.
        oversample: False, True or "keep".
        dtype: float32 or float16, of the rows as they are stored.
        precision: Lightning's, of the network.
        tf32: whether float32 may be computed by TensorFloat-32.
        num_threads: batches in the network at once on a CPU; None takes it from the machine.
        shard: (n, count) for the n-th of `count` independent jobs, from 1; None where there is one.
        overwrite: start over.
        strict: any failure is an error.
    """

    collection: Collection
    output_dir: Path
    features: tuple[FeaturePlan, ...]
    build_data: Callable[..., SourceDataModule]
    build_writer: Callable[..., FeatureWriter]
    build_trainer: Callable[..., Trainer]
    sampler: Mapping[str, Any]
    segments: str | None
    oversample: Literal[False, True, "keep"]
    dtype: str
    precision: str | int
    tf32: bool
    num_threads: int | None
    shard: tuple[int, int] | None
    overwrite: bool
    strict: bool
