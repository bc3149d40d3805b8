"""Step 2: frame-level features of a collection. Reader -> extractor -> writer is the whole program."""

from __future__ import annotations

import json
import logging
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from vfx import app, workers
from vfx.errors import ExtractionError, UsageError
from vfx.files import write_text, writing

if TYPE_CHECKING:
    from vfx.output import Output

log = logging.getLogger("vfx.extract")  # not __name__, which is __main__ when run


def main(*overrides: str) -> Path:
    """Extract as the command line does, `main("collection=toydata", "oversample=true")`; returns the file.

    Raises VfxError and its kin, see vfx/errors.py.
    """
    return app.call(extract, "extract", overrides)


def extract(config: DictConfig) -> Path:
    """Write `features.h5` as a resolved config of conf/extract.yaml says; returns its path."""
    if str(config.oversample) not in ("False", "True", "keep"):
        raise UsageError(f"oversample ({config.oversample}) must be false, true or keep")
    if config.model.weights == "random" and not config.feature.endswith(",random"):
        raise UsageError(f"feature ({config.feature}) must end in ,random where model.weights=random")
    if config.dataset.num_workers != 0:
        workers.warm_up()
    # Late, so that --help and a mistyped key need not wait for torch.
    from vfx.collection import find_collection
    from vfx.extractor import Extractor
    from vfx.interruption import Interruption
    from vfx.output import Output
    from vfx.progress import Progress, summary
    from vfx.provenance import provenance, recipe
    from vfx.segments import check_videos
    from vfx.tally import Tally

    start = time.monotonic()
    tally = Tally()
    interruption = Interruption(first_rank=app.PARENT if app.is_told() else None)
    collection = find_collection(config.collection, config.rootpath)
    data = app.build(
        config.dataset,
        collection=collection,
        sample=app.build(config.sampler),
        limits=app.build(config.limits),
        batch_size=config.batch_size,
        tally=tally,
        check=interruption.check,
    )
    lead = app.first_rank()
    sources = data.sources() if lead else []  # before the network, which takes long to load
    if lead and "file" in config.sampler:
        check_videos(config.sampler.file, {source.id for source in sources})
    network = app.build(config.model)
    output = Output(Path(config.output_dir) / collection.name / config.feature)
    making = recipe(
        network,
        collection=collection.root,
        dataset=data.kind,
        sampler=app.options(config.sampler),
        oversample=config.oversample,
        dtype=config.writer.dtype,
        precision=config.trainer.precision,
    )
    attributes = {
        "feature": config.feature,
        "collection": collection.name,
        "config": OmegaConf.to_yaml(config),
        "provenance": json.dumps(provenance(network) | {"recipe": making}),
    }
    with ExitStack() as stack:
        writer = app.build(config.writer, output=output, attributes=attributes, tally=tally, check=interruption.check)
        if lead:
            stack.enter_context(output.alone())
            output.prepare(making, overwrite=config.overwrite)
            app.log_to(output.folder / "extract.log")
            data.plan(sources, done=output.done())
            log.info("%s of %s: %s", config.feature, collection.name, _state(len(sources), len(data.planned)))
            if not data.planned and output.is_whole() and not app.started_by_others():
                return _finish(output, config.strict)
            output.check_alone()
            write_text(output.folder / "config.yaml", attributes["config"])
        trainer = app.build(config.trainer, callbacks=[writer, Progress(tally), interruption])
        if app.in_sweep() and trainer.strategy.launcher is not None:
            # Lightning starts the whole sweep again in every rank, and a job that ends on one of them alone (nothing to
            # do, another recipe) would leave the ranks at work on different jobs.
            raise UsageError("trainer=ddp cannot be swept: give each job a command of its own")
        trainer.predict(
            Extractor(network, oversample=config.oversample, tally=tally),
            datamodule=data,
            return_predictions=False,
        )
        if not lead:
            return output.features
        log.info("%s", summary(writer.total, time.monotonic() - start, ranks=trainer.world_size))
        return _finish(output, config.strict)


def _state(found: int, todo: int) -> str:
    if todo == 0:
        return f"all {found} videos are done, nothing to do (overwrite=true starts over)"
    return f"{todo} videos to do" + (f", {found - todo} of {found} done before" if found > todo else "")


def _finish(output: Output, strict: bool) -> Path:
    """Say what is there and what is not. Raises ExtractionError for failures where `strict`."""
    from vfx.store import FeatureFile

    with FeatureFile(output.features) as file:
        failures = file.failures
        log.info(
            "%s: %d rows of %d videos, %d failures", output.features, file.features.shape[0], len(file), len(failures)
        )
    listing = output.folder / "failures.tsv"
    if not failures and listing.exists():
        with writing(listing):
            listing.unlink()
    if failures:
        lines = ["\t".join(" ".join(text.split()) for text in failure) for failure in failures]
        write_text(listing, "id\tstage\terror\n" + "\n".join(lines) + "\n")
        log.warning("%d failures, listed in %s; the first: %s", len(failures), listing, ": ".join(failures[0]))
        if strict:
            raise ExtractionError(f"strict=true and {len(failures)} failures, listed in {listing}")
    return output.features


if __name__ == "__main__":
    app.command(extract, "extract")
