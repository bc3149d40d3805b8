"""Overrides as a user types them, made into those that Hydra parses."""

from __future__ import annotations

from vfx.cli import keys
from vfx.errors import UsageError
from vfx.system.optional_imports import need

SWEEP = ("-m", "--multirun")  # Hydra's option
ODD = set("()[]{}~")  # which Hydra takes for its own, and names of files may hold


def prepare(arguments: list[str], app: str) -> list[str]:
    """Overrides, and options of Hydra among them, as Hydra is to have them.

    Args:
        arguments: as a user types them.
        app: the app whose config they change.

    Raises:
        UsageError: for a comma or a list of models that is not allowed there, and a launcher that is not installed.
    """
    check_launcher(arguments)
    return expand_models(quote(sweep_first(arguments), app))


def sweep_first(arguments: list[str]) -> list[str]:
    """Put the option of a sweep first, since Hydra's parser takes only the overrides on one side of an option.

    `a=1 -m b=2` becomes `-m a=1 b=2`.
    """
    return sorted(arguments, key=lambda argument: argument not in SWEEP)


def quote(arguments: list[str], app: str) -> list[str]:
    """Quote names and paths that hold what Hydra has another meaning for: `feature=a,b,os` -> `feature='a,b,os'`.

    Raises:
        UsageError: for an unquoted path with a comma in a sweep, where the comma may be meant to separate jobs.
    """
    sweep = bool(set(SWEEP) & set(arguments))
    return [_quoted(argument, app, sweep=sweep) for argument in arguments]


def _quoted(argument: str, app: str, *, sweep: bool) -> str:
    name, _, value = argument.partition("=")
    if value[:1] in ("'", '"', "[") or "$" in value or not set(value) & {",", *ODD}:
        return argument
    key = keys.find(app, name)
    comma = key is not None and key.kind in keys.PATHS and "," in value
    odd = key is not None and key.kind in keys.NAMES and not sweep and set(value) & ODD
    if not (comma or odd):
        return argument
    if sweep:
        raise UsageError(
            f"{argument}: in a sweep a comma separates jobs; quote each name, and the whole for the shell:"
            f" '{name}=\"{value}\"'"
        )
    text = value.replace("'", "\\'")
    return f"{name}='{text}'"


def expand_models(arguments: list[str]) -> list[str]:
    """`model=[a,b]` -> `model=a +model@models.a=a +model@models.b=b`, since Hydra has one choice a group.

    Overrides of `model.<key>` are repeated for each model.

    Raises:
        UsageError: for a list that is empty, names a model twice, or is swept over.
    """
    given = [a for a in arguments if a.startswith("model=[")]
    if not given:
        return arguments
    names = [name.strip() for name in given[-1].removeprefix("model=[").rstrip("]").split(",")]
    if len(given) > 1 or "" in names or len(set(names)) < len(names) or not given[-1].endswith("]") or "]" in names[0]:
        raise UsageError(f"{' '.join(given)}: must be one list of models, each once, as model=[resnet50,resnest50]")
    # model.compile is not the builder's, and is read where it stands
    of_models = [a for a in arguments if a.startswith("model.") and not a.startswith("model.compile=")]
    each = [f"models.{name}.{a.removeprefix('model.')}" for a in of_models for name in names]
    at = arguments.index(given[0])  # in its place: an option such as -m before it must stay before all of them
    expanded = [f"model={names[0]}", *(f"+model@models.{name}={name}" for name in names)]
    return [*arguments[:at], *expanded, *arguments[at + 1 :], *each]


def check_launcher(arguments: list[str]) -> None:
    """Raise UsageError for a launcher that is not installed; Hydra would say that there is no such launcher."""
    if (joblib := "hydra/launcher=joblib") in arguments:
        need("hydra_plugins.hydra_joblib_launcher", extra="cluster", for_=joblib)
    if (slurm := "hydra/launcher=slurm") in arguments:
        need("hydra_plugins.hydra_submitit_launcher", extra="cluster", for_=slurm)
