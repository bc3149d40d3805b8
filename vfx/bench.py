"""How fast extraction is on this machine, stage by stage, and how near the whole comes to the best they allow."""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from vfx import validation
from vfx.benchmark.efficiency import Efficiency, Utilization, efficiencies, utilizations
from vfx.benchmark.results import Result
from vfx.benchmark.timings import Stage, Timing, measure_in_turns
from vfx.cli import command
from vfx.cli.config import build, target_name
from vfx.collection.collection import Collection, find_collection
from vfx.errors import UsageError
from vfx.system import fork_server, memory
from vfx.system.cpu_count import cores
from vfx.system.files import make_folder, remove_abandoned, working_folder, write_text, writing

if TYPE_CHECKING:
    import torch

    from vfx.benchmark.stages import Setup

log = logging.getLogger("vfx.bench")  # not __name__, which is __main__ when run
STAGES = ("decode", "resize", "network", "ready", "write", "extract")
# Keys that extract has not
OWN = ("folder", "stages", "decoders", "precisions", "compilers", "layouts", "rounds", "beside", "json")
WORK = ".bench."


def main(*overrides: str) -> Path | Result:
    """Measure as the command line does, `main("model=resnet50", "rounds=5")`, and print the table.

    Returns what the command line prints last: with `json=` the file's path, else the Result, whose text is a line of
    efficiencies. Raises VfxError and its kin, see vfx/errors.py.
    """
    return command.call(bench, "bench", overrides)


def bench(config: DictConfig) -> Path | Result:
    """Measure as a resolved config of conf/bench.yaml says; returns what `main` does."""
    _check(config)
    memory.use_one_heap()
    # Late, so that --help and a mistyped key need not wait for torch.
    from vfx.benchmark import measure_reading, stages
    from vfx.outputs.provenance import versions

    fork_server.warm_up(measure_reading.PRELOAD)
    folder = Path(config.folder).expanduser().absolute()
    device = _device(config)
    precisions, left_out = (config.precisions, {}) if config.precisions else stages.supported_precisions(device)
    setup = _setup(config, _collection(config, folder))
    measure_reading.warm_up(setup.survey, limits=setup.limits)
    timings = _measure(config, setup, precisions, folder)
    variants = {p: stages.network_variant(p, setup.network.channels_last, setup.compiler) for p in precisions}
    result = Result(
        machine=_machine(device),
        versions=versions(),
        asked=_asked(setup),
        rounds=config.rounds,
        timings=timings,
        efficiencies=_efficiencies(setup, timings, variants, device),
        utilizations=_utilizations(setup, timings, variants, device) if "ready" in config.stages else [],
        left_out=left_out,
    )
    print("\n".join(result.lines()), end="\n\n")
    return result if config.json is None else _write_json(result, Path(config.json).expanduser())


def _check(config: DictConfig) -> None:
    """Raise UsageError for a value that is not one of its key's."""
    wrong = [name for name in config.stages if name not in STAGES]
    if wrong or not config.stages:
        raise UsageError(f"stages ({', '.join(config.stages)}) must be of {', '.join(STAGES)}")
    validation.whole("rounds", config.rounds, least=1)
    if "models" in config:
        raise UsageError("a bench is of one model, not of several: model=<one>")
    if target_name(config.dataset) != "VideoDataModule":
        raise UsageError("a bench is of videos: leave dataset=frame away")
    if config.beside is not None and not Path(config.beside).is_file():
        raise UsageError(f"beside ({config.beside}) must be a script; there is no such file")


def _device(config: DictConfig) -> torch.device:
    """The device of the trainer. Raises UsageError for more than one."""
    trainer = build(config.trainer)
    if trainer.world_size > 1:
        raise UsageError(f"a bench is of one device, not of {trainer.world_size}: trainer.devices=1")
    device: torch.device = trainer.strategy.root_device
    return device


def _collection(config: DictConfig, folder: Path) -> Collection:
    """The collection to measure on; without one, the synthetic one in the folder, which is made if need be."""
    from vfx.benchmark import synthetic_videos

    if config.collection is not None:
        return find_collection(config.collection, config.rootpath)
    if not (folder / "footage").is_dir():
        log.info("making %d clips in %s, once", sum(form.clips for form in synthetic_videos.FORMATS), folder)
    with writing(folder):
        return Collection("footage", synthetic_videos.make_collection(folder, jobs=cores()))


def _setup(config: DictConfig, collection: Collection) -> Setup:
    from vfx.benchmark.dataset_survey import survey
    from vfx.benchmark.stages import Setup

    sample, limits = build(config.sampler), build(config.limits)
    plain = OmegaConf.to_container(config)
    assert isinstance(plain, dict)
    here = {"collection": str(collection.root.absolute()), "overwrite": False, "strict": True}
    return Setup(
        collection=collection,
        survey=survey(collection.videos(), sample=sample, limits=limits),
        network=build(config.model, leave_out=("compile",)),
        sample=sample,
        decoder=config.dataset.decoder,
        limits=limits,
        trainer=partial(build, config.trainer),
        oversample=config.oversample,
        compiler=config.model.compile,
        batch_size=config.batch_size,
        num_threads=config.num_threads,
        tf32=config.tf32,
        writing={key: config.writer[key] for key in ("dtype", "commit_mb", "commit_seconds")},
        config={str(key): value for key, value in plain.items() if key not in OWN} | here,
    )


def _measure(config: DictConfig, setup: Setup, precisions: Sequence[str], folder: Path) -> list[Timing]:
    """Measure all stages in turns, in a working folder."""
    with writing(folder):
        make_folder(folder)
        remove_abandoned(folder, WORK)
    with working_folder(folder, WORK) as work:
        chosen = list(_stages(config, setup, precisions, work))
        return measure_in_turns(chosen, rounds=config.rounds, report=lambda line: log.info("%s", line))


def _stages(config: DictConfig, setup: Setup, precisions: Sequence[str], work: Path) -> Iterator[Stage]:
    from vfx.benchmark import stages

    if "decode" in config.stages:
        yield from stages.decode(setup, config.decoders or stages.installed_decoders())
    if "resize" in config.stages:
        yield from stages.resize(setup)
    if "network" in config.stages:
        yield from stages.network(setup, precisions, config.compilers, layouts=config.layouts)
    if "ready" in config.stages:
        yield from stages.ready(setup, precisions)
    if "write" in config.stages:
        yield from stages.write(setup, work)
    if "extract" in config.stages:
        yield from stages.extract(setup, work, precisions)
    if config.beside is not None:
        yield from stages.replaced(setup, work, Path(config.beside))


def _efficiencies(
    setup: Setup, timings: Sequence[Timing], variants: Mapping[str, str], device: torch.device
) -> list[Efficiency]:
    from vfx.benchmark import stages

    decode = stages.decode_variant(setup.decoder, 1)
    return efficiencies(timings, decode=decode, network=variants, cores=cores(), on_device=device.type != "cpu")


def _utilizations(
    setup: Setup, timings: Sequence[Timing], variants: Mapping[str, str], device: torch.device
) -> list[Utilization]:
    from vfx.benchmark import measure_network

    encoder = setup.encoder(channels_last=setup.network.channels_last, compiler=False)
    return utilizations(
        timings,
        network=variants,
        crops=encoder.crops,
        operations=measure_network.operations(encoder),
        peak={precision: measure_network.peak(device, precision, tf32=setup.tf32) for precision in variants},
    )


def _write_json(result: Result, path: Path) -> Path:
    with writing(path):
        make_folder(path.parent)
    write_text(path, json.dumps(result.json(), indent=1) + "\n")
    return path


def _asked(setup: Setup) -> dict[str, Any]:
    """What was measured."""
    videos = setup.survey.videos.values()
    sizes = Counter("{1}x{0}".format(*video.size) for video in videos)
    return {
        "collection": f"{setup.collection.name} ({', '.join(f'{count} of {size}' for size, count in sizes.items())})",
        "frames": sum(video.frames for video in videos),
        "sampled": setup.survey.sampled,
        "feature": setup.config["feature"],
        "sampler": target_name(setup.config["sampler"]),
    }


def _machine(device: torch.device) -> dict[str, Any]:
    """What it was measured on."""
    import torch

    return {
        "cores": cores(),
        "processor": str(torch.cpu.get_capabilities().get("cpu_name", "unknown")),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


if __name__ == "__main__":
    command.run(bench, "bench")
