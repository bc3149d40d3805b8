"""Which stages of a run a bench measures, in which variants."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Trainer

from vfx.benchmark import measure, synthetic_videos
from vfx.benchmark.dataset_survey import Material
from vfx.benchmark.results import Cost, Stage
from vfx.collection.collection import Collection
from vfx.decoding import DECODERS, check_decoder
from vfx.decoding.limits import Limits
from vfx.errors import UsageError
from vfx.extraction.clips import Sampler
from vfx.extraction.lightning_module import Extractor, check_precision
from vfx.inference.compilation import Compiler
from vfx.inference.encoder import Encoder, Oversample
from vfx.models import Network
from vfx.system.cpu_count import cores

PRECISIONS = ("32-true", "bf16-mixed")


@dataclass(frozen=True)
class Setup:
    """The parts of a run, as `extract` would build them.

    `trainer`: makes one, with these arguments beside those of the config. `compiler`: `model.compile`. `writing`:
    the writer's dtype, commit_mb and commit_seconds. `config`: all of it, as plain values, for `extract` itself.
    """

    collection: Collection
    material: Material
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
        """The network of its own, set up in this way."""
        network = replace(copy.deepcopy(self.network), channels_last=channels_last)
        return Encoder(network, oversample=self.oversample, compiler=compiler)


def reading(decoder: str, processes: int) -> str:
    """The name of a variant of `decode`."""
    return f"{decoder}, {processes} worker{'s' * (processes > 1)}"


def computing(precision: str, channels_last: bool, compiler: Compiler) -> str:
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
                measure.decode,
                setup.material,
                sample=setup.sample,
                decoder=decoder,
                processes=processes,
                limits=setup.limits,
            )
            yield Stage("decode", reading(decoder, processes), run)


def resize(setup: Setup) -> Iterator[Stage]:
    preprocess = setup.encoder(channels_last=True, compiler=False).preprocess
    yield Stage("resize", "1 worker", partial(measure.resize, setup.material, preprocess))


def network(
    setup: Setup, precisions: Sequence[str], compilers: Sequence[Compiler], *, layouts: bool
) -> Iterator[Stage]:
    """In each precision: as the run has it, with `layouts` in the other memory layout, and compiled in other ways."""
    last = setup.network.channels_last
    others = [(not last, False)] if layouts else []
    ways = dict.fromkeys([(last, setup.compiler), *others, *((last, compiler) for compiler in compilers)])
    for precision in precisions:
        for way in ways:
            yield Stage("network", computing(precision, *way), partial(_network, setup, precision, *way))


def _network(setup: Setup, precision: str, channels_last: bool, compiler: Compiler) -> Cost:
    encoder = setup.encoder(channels_last=channels_last, compiler=compiler)
    data = measure.ReadyFrames(
        setup.material,
        collection=setup.collection,
        sample=setup.sample,
        limits=setup.limits,
        batch_size=setup.batch_size,
    )
    return measure.network(
        Extractor([encoder], num_threads=setup.num_threads, tf32=setup.tf32 and precision == "32-true"),
        data=data,
        trainer=lambda taker: setup.trainer(precision=precision, callbacks=[taker]),
    )


def ready(setup: Setup, precisions: Sequence[str]) -> Iterator[Stage]:
    """The network of the run alone, in each precision, over images that are ready."""
    last, compiler = setup.network.channels_last, setup.compiler
    for precision in precisions:
        yield Stage("ready", computing(precision, last, compiler), partial(_ready, setup, precision))


def _ready(setup: Setup, precision: str) -> Cost:
    encoder = setup.encoder(channels_last=setup.network.channels_last, compiler=setup.compiler)
    return measure.ready(
        Extractor([encoder], num_threads=setup.num_threads, tf32=setup.tf32 and precision == "32-true"),
        batch_size=setup.batch_size,
        rows=setup.material.rows,
        trainer=setup.trainer(precision=precision),
    )


def write(setup: Setup, work: Path) -> Iterator[Stage]:
    shape = setup.encoder(channels_last=True, compiler=False).row_shape
    run = partial(measure.write, setup.material, work / "write", shape=shape, **setup.writing)
    yield Stage("write", setup.writing["dtype"], run)


def extract(setup: Setup, work: Path, precisions: Sequence[str]) -> Iterator[Stage]:
    """The whole run in each precision, and what it takes for a video of one frame."""
    one = {**setup.config, "collection": str(synthetic_videos.made(work, formats=[synthetic_videos.ONE], frames=1))}
    yield Stage("start-up", "one frame", partial(measure.extract, one, work / "extract"))
    for precision in precisions:
        trainer = {**setup.config["trainer"], "precision": precision}
        whole = {**setup.config, "trainer": trainer, "tf32": setup.tf32 and precision == "32-true"}
        yield Stage("extract", precision, partial(measure.extract, whole, work / "extract"))


def replaced(setup: Setup, work: Path, script: Path) -> Iterator[Stage]:
    """A script that makes the same features in another way."""
    yield Stage("replaced", "32-true", partial(measure.replaced, script, setup.config, work / "replaced"))


def installed() -> list[str]:
    """The decoders that there are, `auto` first."""
    return [decoder for decoder in DECODERS if not _refused(check_decoder, decoder)]


def able(device: torch.device) -> tuple[list[str], dict[str, str]]:
    """The precisions that a device has, and why not the others."""
    refused = {precision: _refused(check_precision, precision, device.type) for precision in PRECISIONS}
    return [p for p, why in refused.items() if not why], {p: why for p, why in refused.items() if why}


def _refused(check: Callable[..., None], *arguments: str) -> str:
    try:
        check(*arguments)
    except UsageError as error:
        return str(error)
    return ""
