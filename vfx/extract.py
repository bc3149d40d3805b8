"""Step 2: frame-level features of a collection. Reader -> extractor -> writer is the whole program."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from vfx import lean
from vfx.cli import command, sweep_callback
from vfx.cli.config import build, check_ranks, feature_of_model, recipe_entry
from vfx.cli.logging import log_to_files
from vfx.errors import ExtractionError, UsageError
from vfx.extraction import WORKER_PRELOAD
from vfx.sweeps import job_records
from vfx.system import fork_server, launch_environment, memory
from vfx.system.files import write_text

if TYPE_CHECKING:
    from vfx.collection.collection import Collection
    from vfx.collection.source import VideoSource
    from vfx.features.rows import Failure
    from vfx.models import Network
    from vfx.models.transforms import Preprocess
    from vfx.outputs.output_folder import OutputFolder
    from vfx.outputs.recipe import Recipe

FOLDERS = 16  # of frames, that are asked how they were cut

log = logging.getLogger("vfx.extract")  # not __name__, which is __main__ when run


def main(*overrides: str) -> Path | list[Path]:
    """Extract as the command line does, `main("collection=toydata", "oversample=true")`; returns the file.

    With several models, `main("collection=toydata", "model=[resnet50,resnest50]")`, the list of their files.
    Raises VfxError and its kin, see vfx/errors.py.
    """
    return command.call(extract, "extract", overrides)


def extract(config: DictConfig) -> Path | list[Path]:
    """Write `features.h5` as a resolved config of conf/extract.yaml says; returns its path, or their paths."""
    if str(config.oversample) not in ("False", "True", "keep"):
        raise UsageError(f"oversample ({config.oversample}) must be false, true or keep")
    check_ranks(config.trainer)
    overwrite = launch_environment.starts_over(config.overwrite)
    configs = _by_model(config)
    for each in configs:
        if each.model.weights == "random" and not each.feature.endswith(",random"):
            raise UsageError(
                f"feature ({each.feature}) must end in ,random where model.weights=random: leave"
                " feature= away, or add it"
            )
    shard = _shard(config)
    if sweep_callback.is_job() and _starts_ranks(config):
        return _one_or_all(sweep_callback.run_in_own_process("extract", config))
    if config.dataset.num_workers != 0:
        if sweep_callback.sets_environment():
            fork_server.stop_server()  # it began without
        fork_server.kill_server_at_exit()
        fork_server.warm_up(WORKER_PRELOAD)
    memory.use_one_heap()
    # Late, so that --help and a mistyped key need not wait for torch.
    lean.load("pytorch_lightning")
    from vfx.collection.collection import find_collection
    from vfx.extraction.interruption import Interruption
    from vfx.extraction.lightning_module import Extractor, check_precision
    from vfx.extraction.parallel_reader import share
    from vfx.extraction.progress import Progress, summary
    from vfx.extraction.rank_barrier import distributed_errors
    from vfx.inference.encoder import Encoder
    from vfx.outputs.counters import RunCounters
    from vfx.outputs.output_folder import OutputFolder
    from vfx.outputs.shard import Shard
    from vfx.promise import Promise
    from vfx.sampling.segment_table import check_videos

    start = time.monotonic()
    counters = RunCounters()
    interruption = Interruption(
        follow=launch_environment.PARENT
        if launch_environment.is_launched_by_first_rank() or job_records.is_job_process()
        else None
    )
    trainer = build(config.trainer)  # before anything is read or written, as it may refuse
    check_precision(str(trainer.precision), trainer.strategy.root_device.type, tf32=config.tf32)
    collection = find_collection(config.collection, config.rootpath)
    data = build(
        config.dataset,
        collection=collection,
        sample=build(config.sampler),
        limits=build(config.limits),
        batch_size=config.batch_size,
        counters=counters,
        check=interruption.check,
    )
    lead = launch_environment.is_first_rank()
    # Else others, or another process, will read.
    single = trainer.world_size == 1 and trainer.strategy.launcher is None
    sources = data.sources() if lead else []  # before the network, which takes long to load
    if lead and "file" in config.sampler:
        check_videos(config.sampler.file, {source.id for source in sources})
    mine = sources if shard is None else share(sources, shard[0] - 1, shard[1])
    wholes = [OutputFolder(Path(config.output_dir) / collection.name / each.feature) for each in configs]
    outputs = [whole if shard is None else Shard(whole, *shard) for whole in wholes]
    with ExitStack() as stack:
        preprocessors: Promise[Sequence[Preprocess]] = stack.enter_context(closing(Promise()))
        stack.callback(data.close)
        if single and mine and all(output.is_empty() for output in outputs):
            data.plan(mine, done=())
            data.begin(preprocessors)
        networks = [build(each.model, leave_out=("compile",)) for each in configs]
        recipes = [_recipe(*each, collection, data.kind) for each in zip(configs, networks, strict=True)]
        attributes = [_attributes(*each, collection) for each in zip(configs, networks, recipes, strict=True)]
        encoders = [
            Encoder(network, oversample=config.oversample, compiler=each.model.compile)
            for each, network in zip(configs, networks, strict=True)
        ]
        extractor = Extractor(encoders, num_threads=config.num_threads, tf32=config.tf32, counters=counters)
        preprocessors.keep(extractor.preprocessors)
        writer = build(
            config.writer, outputs=outputs, attributes=attributes, counters=counters, check=interruption.check
        )
        if lead:
            for output, making in zip(outputs, recipes, strict=True):
                stack.enter_context(output.locked())
                output.prepare(making, overwrite=overwrite)
            log_to_files(*(output.log for output in outputs))
            data.plan(
                mine,
                done=set.intersection(*(output.done() for output in outputs)),
                chunks=set.intersection(*(output.chunks() for output in outputs)),
            )
            features = " and ".join(each.feature for each in configs)
            of_it = "" if shard is None else f", shard {shard[0]} of {shard[1]}"
            log.info("%s of %s%s: %s", features, collection.name, of_it, _state(len(mine), len(data.planned)))
            nothing = not data.planned and not launch_environment.ranks_launched_externally()
            if nothing and (shard is not None or all(output.is_complete() for output in outputs)):
                failed = _failed(outputs)
                stack.close()
                job_records.update_current(state="nothing to do")
                return _finish(outputs, sources, failed, config.strict)
            for output, carried in zip(outputs, attributes, strict=True):
                output.check_locked()
                write_text(output.folder / "config.yaml", carried["config"])
        stack.callback(extractor.close)
        stack.callback(data.close)  # first of all: nobody takes any more
        trainer.callbacks += [writer, Progress(counters), interruption]
        if single:
            data.begin(extractor.preprocessors)
        with distributed_errors():
            trainer.predict(extractor, datamodule=data, return_predictions=False)
        if not lead:
            return _one_or_all([output.features for output in outputs])
        seconds = time.monotonic() - start
        job_records.update_current(rate=writer.total.frames / seconds)
        log.info("%s", summary(writer.total, seconds, ranks=trainer.world_size))
        failed = _failed(outputs)
    return _finish(outputs, sources, failed, config.strict)


def _starts_ranks(config: DictConfig) -> bool:
    """Whether this job of a sweep is to have further ranks on this machine, each by the command line started again,
    which is that of the whole sweep: its process must be one that has the job alone. Raises UsageError in a rank that
    torchrun or srun started for all jobs: where one ended on some ranks only, they would be at work on different ones.
    """
    if launch_environment.ranks_launched_externally() and sweep_callback.launcher() in sweep_callback.HERE:
        raise UsageError(
            f"{launch_environment.launcher()} started the ranks of one job, and this is a sweep: give each job a"
            " command of its own, or have them started by hydra/launcher=slurm (docs/cluster.md)"
        )
    lean.load("pytorch_lightning")
    strategy = build(config.trainer).strategy
    return strategy.launcher is not None and not strategy.cluster_environment.creates_processes_externally


def _by_model(config: DictConfig) -> list[DictConfig]:
    """The config of each model's feature as if it were alone."""
    if "models" not in config:
        return [config]
    if config.feature != feature_of_model(config.model, config.oversample):
        raise UsageError(
            f"feature ({config.feature}) cannot be given with several models, which have a name each; leave it away"
        )
    configs = []
    for model in config.models.values():
        alone = config.copy()
        del alone.models
        alone.model = OmegaConf.merge({"compile": config.model.compile}, model)
        alone.feature = feature_of_model(model, config.oversample)
        configs.append(alone)
    names = [each.feature for each in configs]
    if len(set(names)) < len(names):
        raise UsageError(
            f"models of one name would write one feature: {', '.join(names)}; extract them singly, with feature=<name>"
        )
    return configs


def _recipe(config: DictConfig, network: Network, collection: Collection, dataset: str) -> Recipe:
    from vfx.collection.collection import first_frames
    from vfx.cutting.record import first_recipe
    from vfx.outputs.recipe import extraction_recipe

    # A few stand for all: a million records take minutes to read, on each rank.
    some = first_frames(collection.root, FOLDERS) if dataset == "frame" else []
    return extraction_recipe(
        network,
        collection=collection.root,
        dataset=dataset,
        sampler=recipe_entry(config.sampler),
        oversample=config.oversample,
        dtype=config.writer.dtype,
        precision=config.trainer.precision,
        tf32=config.tf32,
        compiler=config.model.compile,
        frames=first_recipe(some),
    )


def _attributes(config: DictConfig, network: Network, making: Recipe, collection: Collection) -> dict[str, str]:
    """Those of a feature file."""
    from vfx.outputs.provenance import provenance

    return {
        "feature": config.feature,
        "collection": collection.name,
        "config": OmegaConf.to_yaml(config),
        "provenance": json.dumps(provenance(network) | {"recipe": making}),
    }


def _one_or_all(paths: list[Path]) -> Path | list[Path]:
    return paths[0] if len(paths) == 1 else paths


def _state(found: int, todo: int) -> str:
    if todo == 0:
        return f"all {found} videos are done, nothing to do (overwrite=true starts over)"
    return f"{todo} videos to do" + (f", {found - todo} of {found} done before" if found > todo else "")


def _shard(config: DictConfig) -> tuple[int, int] | None:
    """(shard, num_shards), None where there are none. Raises UsageError where they make no sense."""
    shard, count = config.get("shard"), config.get("num_shards")  # the bench has none
    if shard is None and count is None:
        return None
    if not (isinstance(shard, int) and isinstance(count, int) and 1 <= shard <= count):
        raise UsageError(f"shard ({shard}) and num_shards ({count}) must be whole numbers, shard from 1 to num_shards")
    return shard, count


def _failed(outputs: Sequence[OutputFolder]) -> list[list[Failure]]:
    """The failures of a shard, by output, while it is held: once it is let go of, another may merge it away."""
    from vfx.outputs.shard import Shard

    return [output.failures() if isinstance(output, Shard) else [] for output in outputs]


def _finish(
    outputs: list[OutputFolder], sources: list[VideoSource], failed: list[list[Failure]], strict: bool
) -> Path | list[Path]:
    """Say what is there and what is not. Raises ExtractionError for failures where `strict`."""
    from vfx.outputs.shard import Shard, merge_if_complete

    listed, paths = [], []
    for output, failures in zip(outputs, failed, strict=True):
        whole = output
        if isinstance(output, Shard):
            whole = output.output
            if not merge_if_complete(whole, [source.id for source in sources]):
                paths.append(output.folder)
                if failures:
                    listed.append(f"{len(failures)} failures in this shard, the first: {': '.join(failures[0])}")
                continue
        paths.append(whole.features)
        if said := whole.list_failures():
            listed.append(said)
    if strict and listed:
        raise ExtractionError(f"strict=true and {'; '.join(listed)}; strict=false accepts them")
    return _one_or_all(paths)


if __name__ == "__main__":
    command.run(extract, "extract")
