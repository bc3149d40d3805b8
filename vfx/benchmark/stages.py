"""Which stages of a run a benchmark measures, in which variants."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer

from vfx.benchmark import measure_network, measure_reading, measure_runs, synthetic_videos
from vfx.benchmark.dataset_survey import DatasetSurvey
from vfx.benchmark.timings import Cost, Stage
from vfx.collection.collection import Collection
from vfx.decoding import DECODERS, check_decoder
from vfx.decoding.limits import Limits
from vfx.errors import UsageError
from vfx.extraction.lightning_module import Extractor
from vfx.extraction.precision import check_precision
from vfx.inference.compilation import Compiler
from vfx.inference.encoder import Encoder, Oversample
from vfx.models import Network
from vfx.sampling.timeline import Sampler
from vfx.system.cpu_count import cores

PRECISIONS = ("32-true", "bf16-mixed")


@dataclass(frozen=True)
class Setup:
    """The parts of a run, as `extract` would build them.

    Args:
        survey: of the collection.
        trainer: makes one, with these arguments beside those of the config.
        compiler: `model.compile`.
        writing: the writer's dtype, commit_mb and commit_seconds.
        config: all of it as plain values, for `extract` itself.
    """

    collection: Collection
    survey: DatasetSurvey
    network: Network
    sample: Sampler
    decoder: str
    limits: Limits
    trainer: Callable[..., Trainer]
    oversample: Oversample
    compiler: Compiler
    batch_size: int | None
    num_threads: int | None
    tf32: bool
    writing: Mapping[str, Any]
    config: Mapping[str, Any]

    def encoder(self, *, channels_last: bool, compiler: Compiler) -> Encoder:
        """A copy of the network, set up in this way."""
        network = replace(copy.deepcopy(self.network), channels_last=channels_last)
        return Encoder(network, oversample=self.oversample, compiler=compiler)

    def extractor(self, encoder: Encoder, precision: str) -> Extractor:
        """What runs an encoder in a precision."""
        return Extractor([encoder], num_threads=self.num_threads, tf32=self.uses_tf32(precision))

    def uses_tf32(self, precision: str) -> bool:
        return self.tf32 and precision == "32-true"


def decode_variant(decoder: str, processes: int) -> str:
    """The name of a variant of `decode`."""
    return f"{decoder}, {processes} worker{'s' * (processes > 1)}"


def network_variant(precision: str, channels_last: bool, compiler: Compiler) -> str:
    """The name of a variant of `network`."""
    layout = "channels_last" if channels_last else "contiguous"
    ways = {False: layout, True: f"{layout}, compiled", "openvino": "openvino"}
    return f"{precision}, {ways[compiler]}"


def decode(setup: Setup, decoders: Sequence[str]) -> Iterator[Stage]:
    """Each decoder, with one worker and with one for each core. Raises UsageError for one that is not installed."""
    for decoder in decoders:
        check_decoder(decoder)
        for processes in sorted({1, cores()}):
            run = partial(
                measure_reading.decode,
                setup.survey,
                sample=setup.sample,
                decoder=decoder,
                processes=processes,
                limits=setup.limits,
            )
            yield Stage("decode", decode_variant(decoder, processes), run)


def resize(setup: Setup) -> Iterator[Stage]:
    """The resizing of frames, in one worker."""
    preprocess = setup.encoder(channels_last=True, compiler=False).preprocess
    yield Stage("resize", "1 worker", partial(measure_reading.resize, setup.survey, preprocess))


def network(
    setup: Setup, precisions: Sequence[str], compilers: Sequence[Compiler], *, layouts: bool
) -> Iterator[Stage]:
    """The network in each precision: as the run has it, with `layouts` in the other memory layout, and compiled."""
    last = setup.network.channels_last
    others = [(not last, False)] if layouts else []
    ways = dict.fromkeys([(last, setup.compiler), *others, *((last, compiler) for compiler in compilers)])
    for precision in precisions:
        for way in ways:
            yield Stage("network", network_variant(precision, *way), partial(_network, setup, precision, *way))


def _network(setup: Setup, precision: str, channels_last: bool, compiler: Compiler) -> Cost:
    encoder = setup.encoder(channels_last=channels_last, compiler=compiler)
    data = measure_network.ReadyFrames(
        setup.survey,
        collection=setup.collection,
        sample=setup.sample,
        limits=setup.limits,
        batch_size=setup.batch_size,
    )
    return measure_network.network(
        setup.extractor(encoder, precision),
        data=data,
        trainer=lambda callback: setup.trainer(precision=precision, callbacks=[callback]),
    )


def ready(setup: Setup, precisions: Sequence[str]) -> Iterator[Stage]:
    """The network of the run alone, in each precision, over images that lie ready."""
    last, compiler = setup.network.channels_last, setup.compiler
    for precision in precisions:
        yield Stage("ready", network_variant(precision, last, compiler), partial(_ready, setup, precision))


def _ready(setup: Setup, precision: str) -> Cost:
    encoder = setup.encoder(channels_last=setup.network.channels_last, compiler=setup.compiler)
    return measure_network.ready(
        setup.extractor(encoder, precision),
        batch_size=setup.batch_size,
        frames=setup.survey.sampled,
        trainer=setup.trainer(precision=precision),
    )


def write(setup: Setup, work: Path) -> Iterator[Stage]:
    """The writing of a feature file."""
    shape = setup.encoder(channels_last=True, compiler=False).row_shape
    run = partial(measure_runs.write, setup.survey, work / "write", shape=shape, **setup.writing)
    yield Stage("write", setup.writing["dtype"], run)


def extract(setup: Setup, work: Path, precisions: Sequence[str]) -> Iterator[Stage]:
    """The whole run in each precision, and the start-up: a run on a video of one frame."""
    one_frame = synthetic_videos.make_collection(work, formats=[synthetic_videos.ONE], frames=1)
    config = {**setup.config, "collection": str(one_frame)}
    yield Stage("start-up", "one frame", partial(measure_runs.extract, config, work / "extract"))
    for precision in precisions:
        trainer = {**setup.config["trainer"], "precision": precision}
        config = {**setup.config, "trainer": trainer, "tf32": setup.uses_tf32(precision)}
        yield Stage("extract", precision, partial(measure_runs.extract, config, work / "extract"))


def replaced(setup: Setup, work: Path, script: Path) -> Iterator[Stage]:
    """A script that makes the same features in another way."""
    yield Stage("replaced", "32-true", partial(measure_runs.replaced, script, setup.config, work / "replaced"))


def installed_decoders() -> list[str]:
    """`auto` first."""
    return [decoder for decoder in DECODERS if not _refusal(check_decoder, decoder)]


def supported_precisions(device: torch.device) -> tuple[list[str], dict[str, str]]:
    """The precisions that a device has, and why it lacks the others."""
    refusals = {precision: _refusal(check_precision, precision, device.type) for precision in PRECISIONS}
    return [p for p, why in refusals.items() if not why], {p: why for p, why in refusals.items() if why}


def _refusal(check: Callable[..., None], *arguments: str) -> str:
    try:
        check(*arguments)
    except UsageError as error:
        return str(error)
    return ""
