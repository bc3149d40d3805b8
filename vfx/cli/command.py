"""Runs an app: from the command line, once or as the jobs of a sweep, or from Python."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from vfx import CONF_DIR
from vfx.cli import config_errors, sweep_callback
from vfx.cli.config import resolve
from vfx.cli.logging import log_to_files, log_to_terminal
from vfx.cli.overrides import prepare
from vfx.cli.signals import ENDED
from vfx.errors import Interrupted, UsageError, VfxError
from vfx.sweeps import job_records
from vfx.system import fork_server, launch_environment, memory

log = logging.getLogger("vfx")

OUTLIVED = "error: ended by Ctrl-C; jobs that SLURM has go on: squeue shows them, scancel ends them"
FULL_ERROR = "HYDRA_FULL_ERROR"  # of the environment: Hydra then raises errors as they are

Result = TypeVar("Result")  # the path that an app wrote, or what it found
App = Callable[[DictConfig], Result]


def call(app: App[Result], name: str, overrides: tuple[str, ...]) -> Result:
    """Run an app from Python.

    Args:
        app: the function that takes the config.
        name: of its config in conf/.
        overrides: of Hydra, as one would type them.

    Returns:
        What the app returns.

    Raises:
        VfxError: the app's own, and UsageError for overrides that Hydra refuses.
    """
    log_to_terminal()
    GlobalHydra.instance().clear()
    given = prepare(list(overrides), name)
    try:
        with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            config = hydra.compose(name, overrides=given)
    except config_errors.ERRORS as error:
        raise config_errors.translate_error(error, name, given) from error
    return app(resolve(config, name))


def run(app: App[Any], name: str) -> None:
    """Run an app from the command line, and exit.

    The last line on standard output is the app's result. The exit code is 0, or 1 after an error of vfx, whose message
    is logged, or 128 and the number of the signal that ended the app.

    Args:
        app: the function that takes the config.
        name: of its config in conf/.
    """
    command = _Command(app, name)
    try:
        code = command.run()
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left that Ctrl-C could spoil
        # Else Python searches all objects of torch and other libraries for cycles as it exits: 0.7 of the 6 processor
        # seconds of an extraction of one frame.
        gc.freeze()
    if code:
        sys.exit(code)


class _Command:
    """A command line. Hydra calls `task` once, or for each job of a sweep, maybe in other processes."""

    def __init__(self, app: App[Any], name: str) -> None:
        self._app = app
        self._name = name
        self._begun = False  # whether Hydra has composed a config and called `task`
        self._code = 0
        self._full_error = os.environ.get(FULL_ERROR)

    def run(self) -> int:
        """Returns the exit code."""
        log_to_terminal()
        signal.signal(signal.SIGINT, self._interrupt)
        try:
            sys.argv[1:] = prepare(sys.argv[1:], self._name)
        except UsageError as error:
            log.error("error: %s", error)
            return 1
        try:
            try:
                self._run_hydra()
            finally:
                log_to_files()  # what concerns all jobs does not belong in the last one's file
                sweep_code = sweep_callback.end()
        except KeyboardInterrupt:
            log.error(OUTLIVED if sweep_callback.is_outlived() else ENDED)
            return 128 + signal.SIGINT
        return self._code or sweep_code

    def _run_hydra(self) -> None:
        os.environ[FULL_ERROR] = "1"  # until the app begins, Hydra raises what it refuses, and does not print it
        try:
            hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=self._name)(self.task)()
        except config_errors.ERRORS as error:
            if self._begun or self._full_error:
                raise
            log.error("error: %s", config_errors.translate_error(error, self._name, sys.argv[1:]))
            self._code = 1
        except BrokenPipeError:  # of --help
            if self._begun:
                raise
            _discard_output()

    def task(self, config: DictConfig) -> None:
        self._begun = True
        if self._full_error is None:
            os.environ.pop(FULL_ERROR, None)
        log_to_terminal()  # in the processes of launchers
        code, results = run_job(self._app, self._name, config)
        if sweep_callback.is_job():
            return  # the launcher goes on with the sweep
        self._code = code
        if results and launch_environment.is_first_rank() and not job_records.is_job_process():
            _print(results)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """End at Ctrl-C: at once while there is nothing yet that must be brought to an end, else by an exception."""
        if (self._begun or sweep_callback.is_outlived()) and not _is_importing(frame):
            raise KeyboardInterrupt
        log.error(ENDED)
        fork_server.kill_server()  # it has this process's standard error, and may import for seconds
        os._exit(128 + number)  # during an import an exception might be taken for a module that is not there


def run_job(app: App[Any], name: str, config: DictConfig) -> tuple[int, list[Any]]:
    """Run an app on a composed config, alone or as a job of a sweep; returns the exit code and the app's results."""
    job, in_sweep = job_records.current_job(), sweep_callback.is_job()
    if job is not None and in_sweep:
        if job.stopped:
            job.change(state="not begun")
            return 0, []
        log_to_files()  # the job before has its own file
        log.info("job %d: %s", job.job.number, " ".join(job.job.overrides))
    try:
        results = _results(app, name, resolve(config, name))
        if job is not None:
            job.finish(results)
        return 0, results
    except VfxError as error:
        return _end_by_error(job, error), []
    except (KeyboardInterrupt, SystemExit) as ended:  # the latter is what Lightning makes of the former
        return _end_by_ctrl_c(job, ended), []
    except Exception as error:
        if job is None:
            raise
        return _end_by_bug(job, error), []
    finally:
        if in_sweep:
            memory.release_memory()


def _results(app: App[Any], name: str, config: DictConfig) -> list[Any]:
    # Were the app to die in a process of joblib, joblib would give up all jobs: there, each has a process of its own.
    own_process = sweep_callback.is_job() and sweep_callback.launcher() == "joblib"
    result = sweep_callback.run_in_own_process(name, config) if own_process else app(config)
    return result if isinstance(result, list) else [result]


def _end_by_error(job: job_records.CurrentJob | None, error: VfxError) -> int:
    """Log an error of vfx, and record it; returns the exit code. A signal to one job's own process ends that."""
    if job is None or not job.has_ended:  # else a process of its own has logged it
        log.error("error: %s", error)
    if job is not None:
        job.fail(error)
    if not isinstance(error, Interrupted):
        return 1
    if sweep_callback.is_job():
        if job is None or not sweep_callback.runs_here():
            sys.exit(128 + error.signal)
        job.stop_sweep(error.signal)
    return 0 if launch_environment.is_launched_by_first_rank() else 128 + error.signal


def _end_by_ctrl_c(job: job_records.CurrentJob | None, ended: BaseException) -> int:
    """Record that Ctrl-C ended a job here, and the sweep with it; returns the exit code."""
    in_sweep = sweep_callback.is_job()
    if in_sweep and not sweep_callback.runs_here():
        raise ended  # this job alone was meant, or submitit has queued it again
    if job is None or not in_sweep:
        raise KeyboardInterrupt from ended
    log.error(ENDED)
    job.fail(Interrupted(signal.SIGINT))
    job.stop_sweep(signal.SIGINT)
    return 128 + signal.SIGINT


def _end_by_bug(job: job_records.CurrentJob, error: Exception) -> int:
    """Log in one line an error that is not vfx's own, as other jobs may fail alike; returns the exit code."""
    full = os.environ.get(FULL_ERROR) == "1"
    hint = "" if full else f" ({FULL_ERROR}=1 shows where)"
    log.error("error: %s: %s%s", type(error).__name__, error, hint, exc_info=full)
    job.fail(error)
    return 1


def _print(results: list[Any]) -> None:
    try:
        print(*results, sep="\n", flush=True)
    except BrokenPipeError:
        _discard_output()


def _discard_output() -> None:
    """The reader of standard output, such as head, is gone: let Python flush the rest without an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
