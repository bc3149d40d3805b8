"""What every app shares: from a command line or a call to a config, from a config to parts, from errors to exits."""

from __future__ import annotations

import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Container, Iterator
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TypeVar

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from vfx import CONF_DIR, lean
from vfx.cli import config_errors, help, sweep_callback
from vfx.cli.logging import LogFile, Printable
from vfx.cli.signals import ENDED
from vfx.ending import end_process
from vfx.errors import Interrupted, UsageError, VfxError
from vfx.sweeps import job_records
from vfx.system import launch_environment, process_usage
from vfx.system.files import sha256
from vfx.system.optional_imports import need

log = logging.getLogger("vfx")

# What vfx instantiates of a config: everything else is refused, so that no config can have vfx call what it likes. What
# such a name leads to must be defined where the name says, not imported there. What stands below `hydra` Hydra
# instantiates before vfx begins.
ALLOWED = (
    "vfx.extraction.datamodules.*DataModule",
    "vfx.decoding.limits.Limits",
    "vfx.models.*.build",
    "vfx.pooling.*",
    "vfx.sampling.*",
    "vfx.extraction.prediction_writer.FeatureWriter",
    "pytorch_lightning.Trainer",
    "pytorch_lightning.strategies.*",
    "pytorch_lightning.plugins.*",
    "pytorch_lightning.profilers.*",
)
# What configs of users and of feature files call by its place of before.
RENAMED = {
    "vfx.datamodules.": "vfx.extraction.datamodules.",
    "vfx.limits.": "vfx.decoding.limits.",
    "vfx.segments.": "vfx.sampling.",
    "vfx.writer.": "vfx.extraction.prediction_writer.",
}
# Keys whose values are feature names, which hold commas; Hydra reads an unquoted comma as a sweep.
COMMA_KEYS = ("feature", "features")
# Paths to such folders hold them as well.
COMMA_PATHS = ("source", "destination", "segments", "sampler.file", "file", "a", "b", "output", "image", "hits")
# Keys that are text even where YAML would see a number.
NAMES = (
    "collection", "rootpath", "output_dir", "source", "destination", "segments", "file", "a", "b", "output",
    "image", "frame", "video", "segment", "weights", "hits",
    *COMMA_KEYS,
)  # fmt: skip
TEXT = ("dataset.decoder", "writer.dtype", "format")
OF_MODELS = ("name", "layer", "weights")
BOOLEAN = ("overwrite", "strict", "subset", "partial", "tf32", "layouts", "trainer.logger")
SWEEP = ("-m", "--multirun")  # Hydra's option
OUTLIVED = "error: ended by Ctrl-C; jobs that SLURM has go on: squeue shows them, scancel ends them"
FULL_ERROR = "HYDRA_FULL_ERROR"  # of the environment: Hydra then raises errors as they are
LONGEST_NAME = 255  # bytes, of a file or folder

Result = TypeVar("Result")  # the path that an app wrote, or what it found
App = Callable[[DictConfig], Result]


class Early(NamedTuple):
    """What a command with these arguments can begin before its config is composed, and what undoes that, begun or not:
    for a command that Ctrl-C ends before the app begins."""

    begin: Callable[[list[str]], None]
    undo: Callable[[], None]


def command(app: App[Any], name: str, *, early: Early | None = None) -> None:
    """Run an app from the command line, and end the process. Its result is the last line on standard output; an error
    of vfx is a message and exit code 1, or 128 and the number of the signal that ended it. `early` is begun
    unless Hydra is to do something else with the config than to run the app once."""
    try:
        _run(app, name, early)
    except SystemExit as ended:
        if isinstance(ended.code, int):
            end_process(ended.code)
        raise
    end_process(0)


def _run(app: App[Any], name: str, early: Early | None) -> None:
    _log_to_terminal()
    lean.own_process()
    begun = False

    def interrupted(number: int, frame: FrameType | None) -> None:
        if (begun or sweep_callback.is_outlived()) and not _imports(frame):
            raise KeyboardInterrupt
        log.error(ENDED)
        if early is not None:
            early.undo()
        os._exit(128 + number)  # an exception might be taken for a module that is not there

    signal.signal(signal.SIGINT, interrupted)
    try:
        sys.argv[1:] = spread_models(quote_commas(sweep_first(sys.argv[1:])))
        check_launcher(sys.argv[1:])
    except UsageError as error:
        log.error("error: %s", error)
        sys.exit(1)

    if early is not None and not any(_is_other_work(argument) for argument in sys.argv[1:]):
        early.begin(sys.argv[1:])

    # Until the app begins, Hydra raises what it refuses, and does not print it: see vfx/cli/config_errors.py.
    asked = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"

    @hydra.main(version_base="1.3", config_path=str(CONF_DIR), config_name=name)
    def run(config: DictConfig) -> None:
        nonlocal begun
        begun = True
        if asked is None:
            os.environ.pop(FULL_ERROR, None)
        _log_to_terminal()  # in the processes of launchers
        code, results = _job(app, name, config)
        if sweep_callback.is_job():
            return  # the launcher goes on with the sweep
        if results and launch_environment.first_rank() and not job_records.is_apart():
            _print(results)
        if code:
            sys.exit(code)

    try:
        try:
            run()
        except config_errors.ERRORS as error:
            if begun or asked:
                raise
            log.error("error: %s", config_errors.translate_error(error, name, sys.argv[1:]))
            sys.exit(1)
        except BrokenPipeError:  # of --help
            if begun:
                raise
            _seen_enough()
        finally:
            log_to()  # what is said of all jobs is not the last one's
            code = sweep_callback.end()
    except KeyboardInterrupt:
        log.error(OUTLIVED if sweep_callback.is_outlived() else ENDED)
        sys.exit(128 + signal.SIGINT)
    if code:
        sys.exit(code)


def _is_other_work(argument: str) -> bool:
    """Whether it is an option as --help, --cfg and -m are, and not one that says where configs are; or what makes a
    sweep without -m."""
    option = argument.startswith("-") and not argument.startswith("--config-")
    return option or argument.lstrip("+").startswith("hydra.mode=")


def _print(results: list[Any]) -> None:
    try:
        print(*results, sep="\n", flush=True)
    except BrokenPipeError:
        _seen_enough()


def _seen_enough() -> None:
    """Who read standard output has gone, as head does: what is left goes nowhere, and Python does not complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _job(app: App[Any], name: str, config: DictConfig) -> tuple[int, list[Any]]:
    """Run an app on a config, alone or as one job of a sweep: the exit code, and what the app returned."""
    job = job_records.at_work()
    swept = sweep_callback.is_job()
    if job is not None and swept:
        if job.stopped:
            job.change(state="not begun")
            return 0, []
        log_to()  # the job before has its own file
        log.info("job %d: %s", job.job.number, " ".join(job.job.overrides))
    try:
        config = resolved(config, name)
        # All jobs would be lost with one of joblib's processes: these only wait for those that do the work.
        result = (
            sweep_callback.run_apart(name, config) if swept and sweep_callback.launcher() == "joblib" else app(config)
        )
        results = result if isinstance(result, list) else [result]
        if job is not None:
            job.finish(results)
        return 0, results
    except VfxError as error:
        if job is None or not job.has_ended:  # else a process of its own has said it
            log.error("error: %s", error)
        if job is not None:
            job.fail(error)
        if not isinstance(error, Interrupted):
            return 1, []
        if job is not None and swept and sweep_callback.launcher() in sweep_callback.HERE:
            job.stop_sweep(error.signal)
        elif swept:
            sys.exit(128 + error.signal)  # this job alone was meant
        return 0 if launch_environment.is_told() else 128 + error.signal, []
    except (KeyboardInterrupt, SystemExit) as ended:  # the latter is what Lightning makes of the former
        if swept and sweep_callback.launcher() not in sweep_callback.HERE:
            raise  # this job alone was meant, or submitit has had it queued again
        if job is None or not swept:
            raise KeyboardInterrupt from ended
        log.error(ENDED)
        job.fail(Interrupted(signal.SIGINT))
        job.stop_sweep(signal.SIGINT)
        return 128 + signal.SIGINT, []
    except Exception as error:
        if job is None:
            raise
        shown = os.environ.get(FULL_ERROR) == "1"  # many jobs may fail alike; others may go well
        hint = "" if shown else f" ({FULL_ERROR}=1 shows where)"
        log.error("error: %s: %s%s", type(error).__name__, error, hint, exc_info=shown)
        job.fail(error)
        return 1, []
    finally:
        if swept:
            process_usage.give_back_memory()


def _imports(frame: FrameType | None) -> bool:
    """Whether modules are being imported on this stack: then there is nothing yet that should be brought to an end."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def call(app: App[Result], name: str, overrides: tuple[str, ...]) -> Result:
    """Run an app from Python with Hydra overrides, as one would type them; returns its result."""
    _log_to_terminal()
    GlobalHydra.instance().clear()
    given = spread_models(quote_commas(list(overrides)))
    try:
        with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            config = hydra.compose(name, overrides=given)
    except config_errors.ERRORS as error:
        raise config_errors.translate_error(error, name, given) from error
    return app(resolved(config, name))


def sweep_first(arguments: list[str]) -> list[str]:
    """`a=1 -m b=2` -> `-m a=1 b=2`: of overrides on both sides of an option, Hydra's parser takes the first alone."""
    return sorted(arguments, key=lambda argument: argument not in SWEEP)


def quote_commas(arguments: list[str]) -> list[str]:
    """`feature=a,b,os` -> `feature='a,b,os'`; in a multirun, where it could mean a sweep, raises UsageError."""
    sweep = bool(set(SWEEP) & set(arguments))

    def quoted(argument: str) -> str:
        key, _, value = argument.partition("=")
        comma = key in (*COMMA_KEYS, *COMMA_PATHS) and "," in value
        # Hydra takes brackets and ~ for its own, and paths have them.
        odd = not sweep and key in (*NAMES, *COMMA_PATHS) and set(value) & set("()[]{}~")
        if value[:1] in ("'", '"', "[") or "$" in value or not (comma or odd):
            return argument
        if sweep:
            raise UsageError(
                f"{argument}: in a sweep a comma separates jobs; quote each name, and the whole for the shell:"
                f" '{key}=\"{value}\"'"
            )
        text = value.replace("'", "\\'")
        return f"{key}='{text}'"

    return [quoted(a) for a in arguments]


def spread_models(arguments: list[str]) -> list[str]:
    """`model=[a,b]` -> `model=a +model@models.a=a +model@models.b=b`, for Hydra has one choice a group; what is said of
    `model.<key>` is said of each. Raises UsageError for a list that is empty, names a model twice, or is swept over."""
    given = [a for a in arguments if a.startswith("model=[")]
    if not given:
        return arguments
    names = [name.strip() for name in given[-1].removeprefix("model=[").rstrip("]").split(",")]
    if len(given) > 1 or "" in names or len(set(names)) < len(names) or not given[-1].endswith("]") or "]" in names[0]:
        raise UsageError(f"{' '.join(given)}: must be one list of models, each once, as model=[resnet50,resnest50]")
    # model.compile is not the builder's, and is read where it stands
    theirs = [a for a in arguments if a.startswith("model.") and not a.startswith("model.compile=")]
    each = [f"models.{name}.{a.removeprefix('model.')}" for a in theirs for name in names]
    at = arguments.index(given[0])  # in its place: an option such as -m before it must stay before all of them
    spread = [f"model={names[0]}", *(f"+model@models.{name}={name}" for name in names)]
    return [*arguments[:at], *spread, *arguments[at + 1 :], *each]


def check_launcher(arguments: list[str]) -> None:
    """Raise UsageError where a launcher is asked for that is not installed, of which Hydra says that there is none."""
    for argument in arguments:
        if argument == "hydra/launcher=joblib":
            need("hydra_plugins.hydra_joblib_launcher", extra="cluster", for_=argument)
        if argument == "hydra/launcher=slurm":
            need("hydra_plugins.hydra_submitit_launcher", extra="cluster", for_=argument)


def resolved(config: DictConfig, name: str) -> DictConfig:
    """The config of an app with every value filled in. Raises UsageError that names the keys which are missing or
    wrong."""
    try:
        missing = sorted(k for k in OmegaConf.missing_keys(config) if not k.startswith("hydra."))
        plain = None if missing else OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except InterpolationToMissingValueError as error:  # names the key after its last colon
        missing, plain = [str(error).splitlines()[0].rpartition(": ")[2]], None
    except OmegaConfBaseException as error:
        raise UsageError(f"config: {str(error).splitlines()[0]}; --cfg job shows the whole config") from error
    if missing:
        raise UsageError(f"missing {', '.join(missing)}: give {missing[0]}=... (see --help)")
    made = OmegaConf.create(plain)
    assert isinstance(made, DictConfig)
    for key in NAMES:
        if made.get(key) is not None:
            made[key] = str(made[key])  # a collection may be called 2024
            longest = max(len(os.fsencode(part)) for part in made[key].split("/"))
            if not made[key] or "\0" in made[key] or longest > LONGEST_NAME:
                raise UsageError(
                    f"{key} ({made[key]!r:.80}) must be a path, not empty, without NUL, its names of at most"
                    f" {LONGEST_NAME} bytes"
                )
        elif key in made and _is_needed(key, name):
            raise UsageError(f"{key} must not be null: give {key}=... (see --help)")
    models = ("model", *(f"models.{each}" for each in made.get("models", ())))
    for key in (*TEXT, *(f"{model}.{key}" for model in models for key in OF_MODELS)):
        value = OmegaConf.select(made, key, default="")
        if value is None or isinstance(value, bool) or OmegaConf.is_config(value):
            raise UsageError(f"{key} ({value}) must be text (see --help)")
        if not isinstance(value, str):
            OmegaConf.update(made, key, str(value))
    for key in BOOLEAN:
        value = OmegaConf.select(made, key, default=False)
        if not isinstance(value, bool):
            raise UsageError(f"{key} ({value}) must be true or false")
    for key in COMMA_KEYS:
        if any(part in ("", ".", "..") or "/" in part for part in str(made.get(key, "-")).split("+")):
            raise UsageError(f"{key} ({made[key]}) must be names of folders, without a slash")
    return made


def _is_needed(key: str, name: str) -> bool:
    """Whether an app has no use for null there: where it has, that is the default."""
    own = OmegaConf.load(CONF_DIR / f"{name}.yaml")
    assert isinstance(own, DictConfig)
    return OmegaConf.is_missing(own, key) or OmegaConf.is_interpolation(own, key) or own[key] is not None


def build(node: DictConfig, *, leave_out: Container[str] = (), **arguments: Any) -> Any:
    """Instantiate a node of the config, plain containers for its lists; keys to `leave_out` are for others.

    Raises UsageError for a `_target_` that is not on the list, and the target's own error as it raised it.
    """
    node = OmegaConf.create(_renamed(OmegaConf.to_container(node)))
    for target in _targets(OmegaConf.to_container(node)):
        if not _is_allowed(target):
            raise UsageError(f"_target_ {target} is not one that a config may name: {', '.join(ALLOWED)}")
    node = OmegaConf.masked_copy(node, [str(key) for key in node if key not in leave_out])
    try:
        part = hydra.utils.instantiate(node, _convert_="all", _partial_=True)
    except InstantiationException as error:
        if isinstance(error.__cause__, VfxError):
            raise error.__cause__ from None
        raise UsageError(f"config: {error}; --cfg job shows the whole config") from error
    if node.get("_partial_", False):
        # Hydra's own kind of partial judges its target anew at each call, half a millisecond for each video, and
        # workers would have to import Hydra for it.
        return partial(part.func, *part.args, **part.keywords)
    try:
        # Called here, not by Hydra, which would turn our objects into configs.
        return part(**arguments)
    except Exception as error:
        if isinstance(error, TypeError) and "unexpected keyword argument" in str(error):
            raise UsageError(f"config: {error}; --cfg job shows the whole config") from error
        if not str(node.get("_target_")).startswith("pytorch_lightning."):
            raise
        said = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"trainer: {said}; trainer=cpu does without any device, and --help lists the others"
        ) from error


def _is_allowed(target: str) -> bool:
    if not any(fnmatchcase(target, pattern) for pattern in ALLOWED):
        return False
    try:
        module = str(getattr(hydra.utils.get_object(target), "__module__", ""))
    except (ImportError, ValueError, AttributeError):
        return True  # there is no such thing, which is said when it is asked for
    if target.startswith("vfx."):
        place = target.rpartition(".")[0]
        return module == place or module.startswith(f"{place}.")  # a package has what its modules define
    return module.startswith(("pytorch_lightning.", "lightning_fabric."))


def options(node: DictConfig) -> dict[str, Any]:
    """A node as an ingredient of a recipe: the name of what it instantiates, and its keys; of a file, the content."""
    chosen = {str(key): value for key, value in node.items() if not str(key).startswith("_")}
    if "file" in chosen:
        chosen["file"] = sha256(Path(chosen["file"]).expanduser())
    return {"name": node["_target_"].rpartition(".")[2], **chosen}


def _renamed(node: Any) -> Any:
    """A plain config whose targets of before are called by where they are now."""
    if isinstance(node, list):
        return [_renamed(value) for value in node]
    if not isinstance(node, dict):
        return node
    made = {key: _renamed(value) for key, value in node.items()}
    for before, now in RENAMED.items():
        if str(made.get("_target_", "")).startswith(before):
            made["_target_"] = now + made["_target_"].removeprefix(before)
    return made


def _targets(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "_target_" in node:
            yield str(node["_target_"])
        for value in node.values():
            yield from _targets(value)
    elif isinstance(node, list):
        for value in node:
            yield from _targets(value)


def check_ranks(trainer: DictConfig) -> None:
    """Raise UsageError where a trainer of the config does not fit how this process was started."""
    launch_environment.check([target.rpartition(".")[2] for target in _targets(OmegaConf.to_container(trainer))])


def _log_to_terminal() -> None:
    log.setLevel(logging.INFO)
    log.propagate = False  # Hydra's own handlers print to standard output, where only the result belongs
    # Lightning's list of the accelerators it did not find, and its tip for another product.
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("lightning_fabric.utilities.distributed").setLevel(logging.WARNING)  # "Initializing distributed"
    # Its advice wherever SLURM is installed; the trainers of conf/trainer say themselves who starts their processes.
    warnings.filterwarnings("ignore", message="The `srun` command is available on your system but is not used")
    # Whoever says trainer=cpu knows.
    warnings.filterwarnings("ignore", message="GPU available but not used")
    # Torch's advice to whoever compiles for a GPU; tf32=true is vfx's way.
    warnings.filterwarnings("ignore", message="TensorFloat32 tensor cores for float32 matrix multiplication available")
    # It asks the loader which dataset indices a batch holds; ours carries ids.
    warnings.filterwarnings("ignore", message="Couldn't infer the batch indices")
    # Lightning 2.6 asks torch 2.14 in a way that torch has deprecated.
    warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`", category=FutureWarning)
    if not any(isinstance(h, logging.StreamHandler) for h in log.handlers):
        handler = logging.StreamHandler()
        handler.setFormatter(Printable("%(message)s"))
        log.addHandler(handler)


def log_to(*paths: Path) -> None:
    """Let the log go to these files too, added to what they hold, until another app says otherwise."""
    for handler in [h for h in log.handlers if isinstance(h, LogFile)]:
        log.removeHandler(handler)
        handler.close()
    for path in paths:
        log.addHandler(LogFile(path))


def feature_name(name: str, layer: str, oversample: bool | str, weights: str) -> str:
    """`<model name>,<layer>[,os|,oskeep][,random]`: the lineage's spelling, which downstream configs know."""
    crops = {"false": "", "true": ",os", "keep": ",oskeep"}.get(str(oversample).lower(), f",{oversample}")
    return f"{name},{layer}{crops}" + (",random" if weights == "random" else "")


def name_of(model: DictConfig, oversample: bool | str) -> str:
    """The name of the feature that a model of the config gives."""
    return feature_name(model.name, model.layer, oversample, model.weights)


OmegaConf.register_new_resolver("vfx.feature_name", feature_name, replace=True)
OmegaConf.register_new_resolver("vfx.groups", help.groups, replace=True)
OmegaConf.register_new_resolver("vfx.option_keys", help.option_keys, replace=True)
