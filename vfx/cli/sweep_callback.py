"""Sweeps of Hydra: keeps a record of each job, and shows a table of them at the end."""

from __future__ import annotations

import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vfx.errors import OutputError
from vfx.sweeps import job_process, job_records, job_table
from vfx.system import launch_environment

log = logging.getLogger(__name__)
LOCAL_LAUNCHERS = ("basic", "joblib")  # their jobs run below the process that the user started, and end with it

_sweep: job_records.SweepRecords | None = None


class Records(Callback):
    """Hydra's callback (conf/hydra/app.yaml). Launchers pickle it and send it to where the jobs run.

    Hydra turns exceptions of a callback into warnings, so errors end the process here.
    """

    def __init__(self) -> None:
        self._folder: Path | None = None

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        global _sweep
        launcher = config.hydra.runtime.choices["hydra/launcher"]
        try:
            _sweep = job_records.SweepRecords(
                Path(str(config.hydra.sweep.dir)).absolute(), outlived=launcher not in LOCAL_LAUNCHERS
            )
        except OutputError as error:
            log.error("error: %s", error)
            sys.exit(1)
        self._folder = _sweep.folder
        if _sweep.outlived:  # else submitit would log to standard output, where only results belong
            os.environ.setdefault("SUBMITIT_LOG_LEVEL", "NOCONFIG")
        if launcher == "joblib":
            for number in job_process.SIGNALS:
                signal.signal(number, _stop)

    def on_job_start(self, config: DictConfig, **_: Any) -> None:
        if not launch_environment.is_first_rank():
            return
        try:
            if self._folder is not None:
                overrides = list(config.hydra.overrides.task)
                collection, feature = Path(_text_of(config, "collection")).name, _text_of(config, "feature")
                number = int(config.hydra.job.num)
                job_records.begin(self._folder, number, overrides=overrides, collection=collection, feature=feature)
            elif job_records.is_job_process():
                job_records.take_over()
        except OutputError as error:
            log.error("error: %s", error)
            sys.exit(1)


def is_job() -> bool:
    """Whether this process runs a job of a sweep, or several."""
    return bool(HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN)


def is_outlived() -> bool:
    """Whether this process started a sweep whose jobs may go on when it has ended."""
    return _sweep is not None and _sweep.outlived


def sets_environment() -> bool:
    """Whether Hydra has set variables of the environment for this job (`hydra.job.env_set`)."""
    return bool(HydraConfig.initialized() and HydraConfig.get().job.env_set)


def launcher() -> str:
    """The launcher of this sweep, as it is typed: basic, joblib or slurm."""
    return str(HydraConfig.get().runtime.choices["hydra/launcher"])


def runs_here() -> bool:
    """Whether the jobs of this sweep run below the process that the user started, and end with it."""
    return launcher() in LOCAL_LAUNCHERS


def run_in_own_process(name: str, config: DictConfig) -> list[Path]:
    """Run the job of this process in another process.

    Args:
        name: of the app.
        config: resolved.

    Returns:
        The paths that it wrote.

    Raises:
        VfxError: as `job_process.run`.
    """
    job = job_records.current_job()
    assert job is not None
    plain: Any = OmegaConf.to_container(config)
    return job_process.run(job, ["-m", f"vfx.{name}"], plain, follow=launcher() == "joblib")


def end() -> int:
    """Show the jobs of the sweep that this process started, and print the paths that they wrote.

    Returns:
        The exit code: 0 if all went well, and where there was no sweep.
    """
    if _sweep is None:
        return 0
    stop_signal = _sweep.stopped
    jobs = _sweep.close()
    if jobs:
        log.info("%s", "\n".join(job_table.lines(jobs)))
    failed = [str(job.number) for job in jobs if job.state in job_records.UNSUCCESSFUL]
    if failed and not stop_signal:
        log.error("error: %d of %d jobs failed: %s", len(failed), len(jobs), ", ".join(failed))
    for job in jobs:
        for written in job.written:
            print(written.path)
    sys.stdout.flush()
    return 128 + stop_signal if stop_signal else int(bool(failed))


def _text_of(config: DictConfig, key: str) -> str:
    """A value of the config; "" if there is none, or it cannot be resolved."""
    with suppress(OmegaConfBaseException):
        if (value := OmegaConf.select(config, key)) is not None:
            return str(value)
    return ""


def _stop(number: int, frame: FrameType | None) -> None:
    """Tell the jobs of joblib's processes to end, and wait for them; a second signal ends this process at once."""
    for each in job_process.SIGNALS:
        signal.signal(each, lambda number, frame: os._exit(128 + number))
    assert _sweep is not None
    log.error("ended by %s; the jobs at work keep what is finished", signal.Signals(number).name)
    _sweep.stop(number)
