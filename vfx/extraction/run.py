"""The run of an extraction: resolve the plan, lock and resume, read-predict-write, finish."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from pytorch_lightning import Trainer

from vfx.cli.logging import log_to_files
from vfx.collection.collection import first_frames
from vfx.collection.source import VideoSource
from vfx.cutting.record import first_recipe
from vfx.errors import ExtractionError
from vfx.extraction.datamodules import SourceDataModule
from vfx.extraction.interruption import Interruption
from vfx.extraction.lightning_module import Extractor
from vfx.extraction.plan import ExtractionPlan, FeaturePlan
from vfx.extraction.precision import check_precision
from vfx.extraction.prediction_writer import FeatureWriter
from vfx.extraction.progress import Progress, summary
from vfx.extraction.rank_barrier import distributed_errors
from vfx.extraction.work_sharing import share
from vfx.features.rows import Failure
from vfx.inference.encoder import Encoder
from vfx.models import Network
from vfx.outputs.counters import RunCounters
from vfx.outputs.output_folder import OutputFolder
from vfx.outputs.provenance import provenance
from vfx.outputs.recipe import Recipe, extraction_recipe
from vfx.outputs.shard import Shard, merge_if_complete
from vfx.sampling.segment_table import check_videos
from vfx.sweeps import job_records
from vfx.system import launch_environment
from vfx.system.files import write_text

FOLDERS = 16  # of frames, whose records are asked how they were cut: a million take minutes to read, on each rank

log = logging.getLogger("vfx.extract")


@dataclass(frozen=True)
class Run:
    """What a plan comes to in this process. The first rank leads: it alone lists sources, locks and resumes."""

    plan: ExtractionPlan
    trainer: Trainer
    data: SourceDataModule
    extractor: Extractor
    writer: FeatureWriter
    outputs: list[OutputFolder]
    recipes: list[Recipe]
    sources: list[VideoSource]


def run(plan: ExtractionPlan) -> list[Path]:
    """Extract as planned, going on from what an earlier run has finished.

    Returns:
        The path of each feature file; of a shard that is not the last to end, its folder.

    Raises:
        VfxError: the plan cannot be carried out, or nothing could be read; see `vfx.errors`.
    """
    start = time.monotonic()
    resolved = resolve(plan)
    if not launch_environment.is_first_rank():
        predict(resolved)
        return [output.features for output in resolved.outputs]
    with ExitStack() as locks:
        for output in resolved.outputs:
            locks.enter_context(output.locked())
        if resume(resolved):
            predict(resolved)
            seconds, total = time.monotonic() - start, resolved.writer.total
            job_records.update_current(rate=total.frames / seconds)
            log.info("%s", summary(total, seconds, ranks=resolved.trainer.world_size))
        # While the shard is locked: once it is released another job may merge it away.
        failures = [output.failures() if isinstance(output, Shard) else [] for output in resolved.outputs]
    return finish(resolved, failures)


def resolve(plan: ExtractionPlan) -> Run:
    """Make what the run consists of. Nothing is written; what the machine cannot do is refused before weights load."""
    counters = RunCounters()
    follows = launch_environment.is_launched_by_first_rank() or job_records.is_job_process()
    interruption = Interruption(follow=launch_environment.PARENT if follows else None)
    outputs = [_output(plan, feature) for feature in plan.features]
    writer = plan.build_writer(outputs=outputs, counters=counters, check=interruption.check)
    trainer = plan.build_trainer(callbacks=[writer, Progress(counters), interruption])
    check_precision(str(trainer.precision), trainer.strategy.root_device.type, tf32=plan.tf32)
    data = plan.build_data(counters=counters, check=interruption.check)
    sources = _sources(plan, data) if launch_environment.is_first_rank() else []
    networks = [feature.build_network() for feature in plan.features]
    recipes = [
        _recipe(plan, feature, network, data.kind) for feature, network in zip(plan.features, networks, strict=True)
    ]
    extractor = Extractor(
        [
            Encoder(network, oversample=plan.oversample, compiler=feature.compiler)
            for feature, network in zip(plan.features, networks, strict=True)
        ],
        attributes=[_attributes(plan, *each) for each in zip(plan.features, networks, recipes, strict=True)],
        num_threads=plan.num_threads,
        tf32=plan.tf32,
        counters=counters,
    )
    return Run(plan, trainer, data, extractor, writer, outputs, recipes, sources)


def resume(run: Run) -> bool:
    """Make the outputs ready, and tell the DataModule what is left to read.

    Returns:
        Whether there is anything to do.

    Raises:
        OutputError: an output was made by another recipe.
    """
    plan = run.plan
    for output, recipe in zip(run.outputs, run.recipes, strict=True):
        output.prepare(recipe, overwrite=plan.overwrite)
    log_to_files(*(output.log for output in run.outputs))
    mine = run.sources if plan.shard is None else share(run.sources, plan.shard[0] - 1, plan.shard[1])
    committed = [output.committed() for output in run.outputs]
    run.data.plan(
        mine,
        done=set.intersection(*(files.done() for files in committed)),
        chunks=set.intersection(*(files.chunks() for files in committed)),
    )
    features = " and ".join(feature.name for feature in plan.features)
    of_it = "" if plan.shard is None else f", shard {plan.shard[0]} of {plan.shard[1]}"
    log.info("%s of %s%s: %s", features, plan.collection.name, of_it, _state(len(mine), len(run.data.planned)))
    complete = plan.shard is not None or all(output.is_complete() for output in run.outputs)
    # Ranks that torchrun or SLURM started wait for this one, even with no work.
    if not run.data.planned and complete and not launch_environment.ranks_launched_externally():
        job_records.update_current(state="nothing to do")
        return False
    for output, feature in zip(run.outputs, plan.features, strict=True):
        output.check_locked()
        write_text(output.folder / "config.yaml", feature.config)
    return True


def predict(run: Run) -> None:
    """Read, run the network and write: Lightning's predict loop. Ends what reads first, then the network's threads."""
    with closing(run.extractor), closing(run.data), distributed_errors():
        run.trainer.predict(run.extractor, datamodule=run.data, return_predictions=False)


def finish(run: Run, failures: Sequence[Sequence[Failure]]) -> list[Path]:
    """Merge shards that are complete, and list what could not be read.

    Args:
        run: the run, whose outputs are not locked any more.
        failures: those of this job's own shards, by output.

    Raises:
        ExtractionError: there are failures, and the plan is strict.
    """
    listed, paths = [], []
    ids = [source.id for source in run.sources]
    for output, own in zip(run.outputs, failures, strict=True):
        if isinstance(output, Shard) and not merge_if_complete(output.output, ids):
            paths.append(output.folder)
            if own:
                listed.append(f"{len(own)} failures in this shard, the first: {': '.join(own[0])}")
            continue
        paths.append(output.features)
        if said := (output.output if isinstance(output, Shard) else output).list_failures():
            listed.append(said)
    if run.plan.strict and listed:
        raise ExtractionError(f"strict=true and {'; '.join(listed)}; strict=false accepts them")
    return paths


def _output(plan: ExtractionPlan, feature: FeaturePlan) -> OutputFolder:
    output = OutputFolder(plan.output_dir / plan.collection.name / feature.name)
    return output if plan.shard is None else Shard(output, *plan.shard)


def _sources(plan: ExtractionPlan, data: SourceDataModule) -> list[VideoSource]:
    sources = data.sources()
    if plan.segments is not None:
        check_videos(plan.segments, {source.id for source in sources})
    return sources


def _recipe(plan: ExtractionPlan, feature: FeaturePlan, network: Network, dataset: str) -> Recipe:
    # Of frames that were cut by vfx, a few folders stand for all.
    folders = first_frames(plan.collection.root, FOLDERS) if dataset == "frame" else []
    return extraction_recipe(
        network,
        collection=plan.collection.root,
        dataset=dataset,
        sampler=plan.sampler,
        oversample=plan.oversample,
        dtype=plan.dtype,
        precision=plan.precision,
        tf32=plan.tf32,
        compiler=feature.compiler,
        frames=first_recipe(folders),
    )


def _attributes(plan: ExtractionPlan, feature: FeaturePlan, network: Network, recipe: Recipe) -> dict[str, str]:
    """Those of a feature file."""
    return {
        "feature": feature.name,
        "collection": plan.collection.name,
        "config": feature.config,
        "provenance": json.dumps(provenance(network) | {"recipe": recipe}),
    }


def _state(found: int, todo: int) -> str:
    if todo == 0:
        return f"all {found} videos are done, nothing to do (overwrite=true starts over)"
    return f"{todo} videos to do" + (f", {found - todo} of {found} done before" if found > todo else "")
