"""Step 2: frame-level features of a collection. Reader -> extractor -> writer is the whole program."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from vfx.cli import command, sweep_callback
from vfx.cli.config import build, check_ranks, feature_of_model, recipe_entry
from vfx.collection.collection import find_collection
from vfx.errors import UsageError
from vfx.extraction import WORKER_PRELOAD
from vfx.extraction.plan import ExtractionPlan, FeaturePlan
from vfx.system import fast_imports, fork_server, launch_environment, memory


def main(*overrides: str) -> Path | list[Path]:
    """Extract as the command line does, `main("collection=toydata", "oversample=true")`.

    Returns:
        The path of the feature file; with several models, `"model=[resnet50,resnest50]"`, the list of theirs.

    Raises:
        VfxError: see `vfx.errors`.
    """
    return command.call(extract, "extract", overrides)


def extract(config: DictConfig) -> Path | list[Path]:
    """Write `features.h5` as a resolved config of conf/extract.yaml says; returns its path, or their paths."""
    plan = make_plan(config)
    if sweep_callback.is_job() and _starts_ranks(config):
        return _one_or_all(sweep_callback.run_in_own_process("extract", config))
    _prepare_process(num_workers=config.dataset.num_workers)
    from vfx.extraction.run import run  # late: it imports torch and Lightning

    return _one_or_all(run(plan))


def make_plan(config: DictConfig) -> ExtractionPlan:
    """Turn the config into the plan of the run. Raises UsageError for values that make no sense."""
    if str(config.oversample) not in ("False", "True", "keep"):
        raise UsageError(f"oversample ({config.oversample}) must be false, true or keep")
    check_ranks(config.trainer)
    collection = find_collection(config.collection, config.rootpath)
    data = partial(build, config.dataset, collection=collection, batch_size=config.batch_size)
    return ExtractionPlan(
        collection=collection,
        output_dir=Path(config.output_dir),
        features=tuple(_feature_plan(each) for each in _by_model(config)),
        build_data=lambda **run: data(sample=build(config.sampler), limits=build(config.limits), **run),
        build_writer=partial(build, config.writer),
        build_trainer=partial(build, config.trainer),
        sampler=recipe_entry(config.sampler),
        segments=config.sampler.get("file"),
        oversample=config.oversample,
        dtype=config.writer.dtype,
        precision=config.trainer.precision,
        tf32=config.tf32,
        num_threads=config.num_threads,
        shard=_shard(config),
        overwrite=launch_environment.starts_over(config.overwrite),
        strict=config.strict,
    )


def _feature_plan(config: DictConfig) -> FeaturePlan:
    if config.model.weights == "random" and not config.feature.endswith(",random"):
        raise UsageError(
            f"feature ({config.feature}) must end in ,random where model.weights=random: leave feature= away, or add it"
        )
    return FeaturePlan(
        name=config.feature,
        build_network=partial(build, config.model, leave_out=("compile",)),
        compiler=config.model.compile,
        config=OmegaConf.to_yaml(config),
    )


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


def _shard(config: DictConfig) -> tuple[int, int] | None:
    """(shard, num_shards), None where there are none. Raises UsageError where they make no sense."""
    shard, count = config.get("shard"), config.get("num_shards")  # the bench has none
    if shard is None and count is None:
        return None
    if not (isinstance(shard, int) and isinstance(count, int) and 1 <= shard <= count):
        raise UsageError(f"shard ({shard}) and num_shards ({count}) must be whole numbers, shard from 1 to num_shards")
    return shard, count


def _starts_ranks(config: DictConfig) -> bool:
    """Whether this job of a sweep starts further ranks on this machine, by the command line started again.

    That is the command line of the whole sweep, so such a job needs a process of its own. Raises UsageError in a rank
    that torchrun or srun started for all jobs: where one ended on some ranks only, they would be at different jobs.
    """
    if launch_environment.ranks_launched_externally() and sweep_callback.runs_here():
        raise UsageError(
            f"{launch_environment.launcher()} started the ranks of one job, and this is a sweep: give each job a"
            " command of its own, or have them started by hydra/launcher=slurm (docs/cluster.md)"
        )
    fast_imports.load("pytorch_lightning")
    strategy = build(config.trainer).strategy
    return strategy.launcher is not None and not strategy.cluster_environment.creates_processes_externally


def _prepare_process(*, num_workers: int | None) -> None:
    """Start the server that decoding workers are forked from, which imports torch meanwhile, and import Lightning."""
    if num_workers != 0:
        if sweep_callback.sets_environment():
            fork_server.stop_server()  # it began without these variables
        fork_server.kill_server_at_exit()
        fork_server.warm_up(WORKER_PRELOAD)
    memory.use_one_heap()
    fast_imports.load("pytorch_lightning")


def _one_or_all(paths: list[Path]) -> Path | list[Path]:
    return paths[0] if len(paths) == 1 else paths


if __name__ == "__main__":
    command.run(extract, "extract")
