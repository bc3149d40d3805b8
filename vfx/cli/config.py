"""The config of an app: its values checked and filled in, and its nodes instantiated."""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import hydra
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationToMissingValueError, OmegaConfBaseException

from vfx.cli import help, keys
from vfx.cli.keys import Key
from vfx.errors import UsageError, VfxError
from vfx.system import launch_environment
from vfx.system.files import sha256

# What a config may name as `_target_`, so that no config can have vfx call what it likes. The object must be defined
# where the name says, not imported there. What stands below `hydra` Hydra instantiates before vfx begins.
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
# Modules that have moved: configs of users and of feature files name the old ones.
RENAMED = {
    "vfx.datamodules.": "vfx.extraction.datamodules.",
    "vfx.limits.": "vfx.decoding.limits.",
    "vfx.segments.": "vfx.sampling.",
    "vfx.writer.": "vfx.extraction.prediction_writer.",
}
LONGEST_NAME = 255  # bytes, of a file or folder


def resolve(config: DictConfig, app: str) -> DictConfig:
    """Fill in every value of a composed config, and check those whose key has a kind (see vfx/cli/keys.py).

    Args:
        config: the config as Hydra composed it.
        app: the app whose config it is.

    Returns:
        A config without interpolations, in which names are text.

    Raises:
        UsageError: names the keys that are missing or wrong.
    """
    resolved = _filled_in(config)
    for name, key in _keys(resolved, app):
        value = OmegaConf.select(resolved, name)
        checked = _check(name, key, value)
        if checked is not value:
            OmegaConf.update(resolved, name, checked, merge=False)
    return resolved


def _filled_in(config: DictConfig) -> DictConfig:
    try:
        missing = sorted(k for k in OmegaConf.missing_keys(config) if not k.startswith("hydra."))
        plain = None if missing else OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except InterpolationToMissingValueError as error:  # names the key after its last colon
        missing, plain = [str(error).splitlines()[0].rpartition(": ")[2]], None
    except OmegaConfBaseException as error:
        raise UsageError(f"config: {str(error).splitlines()[0]}; --cfg job shows the whole config") from error
    if missing:
        raise UsageError(f"missing {', '.join(missing)}: give {missing[0]}=... (see --help)")
    filled = OmegaConf.create(plain)
    assert isinstance(filled, DictConfig)
    return filled


def _keys(node: DictConfig, app: str, above: str = "") -> Iterator[tuple[str, Key]]:
    """The keys of a config that are vfx's, by their full names."""
    for name in [above + str(name) for name in node]:
        value = node[name.removeprefix(above)]
        if key := keys.find(app, name):
            yield name, key
        elif isinstance(value, DictConfig):
            yield from _keys(value, app, f"{name}.")


def _check(name: str, key: Key, value: Any) -> Any:
    """The value of a key as its kind has it. Raises UsageError."""
    if key.kind in keys.AS_IT_IS or (value is None and key.is_optional):
        return value
    if key.kind == "flag":
        if not isinstance(value, bool):
            raise UsageError(f"{name} ({value}) must be true or false")
        return value
    if key.kind == "text":
        if value is None or isinstance(value, bool) or OmegaConf.is_config(value):
            raise UsageError(f"{name} ({value}) must be text (see --help)")
        return str(value)
    if value is None:
        raise UsageError(f"{name} must not be null: give {name}=... (see --help)")
    text = str(value)  # a collection may be called 2024
    if not text or "\0" in text or max(len(os.fsencode(part)) for part in text.split("/")) > LONGEST_NAME:
        raise UsageError(
            f"{name} ({text!r:.80}) must be a path, not empty, without NUL, its names of at most {LONGEST_NAME} bytes"
        )
    if key.kind == "feature" and any(part in ("", ".", "..") or "/" in part for part in text.split("+")):
        raise UsageError(f"{name} ({text}) must be names of folders, without a slash")
    return text


def build(node: DictConfig, *, leave_out: Container[str] = (), **arguments: Any) -> Any:
    """Instantiate a node of a config; its lists and mappings are passed as plain containers.

    Args:
        node: has a `_target_` that is on the list ALLOWED, or was before its module moved.
        leave_out: keys that are not arguments of the target.
        arguments: further arguments of the target, in place of those of the node.

    Raises:
        UsageError: for a `_target_` that is not on the list, unknown arguments, and whatever Lightning raises.
        VfxError: the target's own.
    """
    plain: Any = OmegaConf.to_container(node)
    for each in _nodes(plain):
        each["_target_"] = target(each)
        if not _is_allowed(each["_target_"]):
            raise UsageError(f"_target_ {each['_target_']} is not one that a config may name: {', '.join(ALLOWED)}")
    node = OmegaConf.create({key: value for key, value in plain.items() if key not in leave_out})
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
        if not target(node).startswith("pytorch_lightning."):
            raise
        message = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(
            f"trainer: {message}; trainer=cpu does without any device, and --help lists the others"
        ) from error


def _is_allowed(name: str) -> bool:
    if not any(fnmatchcase(name, pattern) for pattern in ALLOWED):
        return False
    try:
        module = str(getattr(hydra.utils.get_object(name), "__module__", ""))
    except (ImportError, ValueError, AttributeError):
        return True  # there is no such thing, which is said when it is asked for
    if name.startswith("vfx."):
        place = name.rpartition(".")[0]
        return module == place or module.startswith(f"{place}.")  # a package has what its modules define
    return module.startswith(("pytorch_lightning.", "lightning_fabric."))


def target(node: Mapping[Any, Any]) -> str:
    """The full name of what a node instantiates, by where it is now."""
    name = str(node["_target_"])
    for before, now in RENAMED.items():
        if name.startswith(before):
            return now + name.removeprefix(before)
    return name


def target_name(node: Mapping[Any, Any]) -> str:
    """The name of what a node instantiates, without its module: `fps` of `_target_: vfx.sampling.fps`."""
    return target(node).rpartition(".")[2]


def _nodes(plain: Any) -> Iterator[dict[str, Any]]:
    """The nodes that have a target in a plain one, itself included, at any depth."""
    if isinstance(plain, dict):
        if "_target_" in plain:
            yield plain
        plain = list(plain.values())
    if isinstance(plain, list):
        for value in plain:
            yield from _nodes(value)


def recipe_entry(node: DictConfig) -> dict[str, Any]:
    """A node as a part of a recipe: the name of what it instantiates, and its keys; of a file, the SHA-256."""
    chosen = {str(key): value for key, value in node.items() if not str(key).startswith("_")}
    if "file" in chosen:
        chosen["file"] = sha256(Path(chosen["file"]).expanduser())
    return {"name": target_name(node), **chosen}


def check_ranks(trainer: DictConfig) -> None:
    """Raise UsageError for a trainer that does not fit the way this process was started (by srun, torchrun, a user)."""
    launch_environment.check(target_name(node) for node in _nodes(OmegaConf.to_container(trainer)))


def feature_name(name: str, layer: str, oversample: bool | str, weights: str) -> str:
    """The default name of a feature: `<model name>,<layer>[,os|,oskeep][,random]`, as video-cnn-feat spells it."""
    crops = {"false": "", "true": ",os", "keep": ",oskeep"}.get(str(oversample).lower(), f",{oversample}")
    return f"{name},{layer}{crops}" + (",random" if weights == "random" else "")


def feature_of_model(model: DictConfig, oversample: bool | str) -> str:
    """The default name of the feature that a model of the config gives."""
    return feature_name(model.name, model.layer, oversample, model.weights)


OmegaConf.register_new_resolver("vfx.feature_name", feature_name, replace=True)
OmegaConf.register_new_resolver("vfx.groups", help.groups, replace=True)
OmegaConf.register_new_resolver("vfx.option_keys", help.option_keys, replace=True)
