"""Translates errors of Hydra into messages that name the nearest keys and options, and where all are listed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vfx import CONF_DIR
from vfx.cli import keys
from vfx.errors import UsageError

ERRORS = (HydraException, OmegaConfBaseException)
NEAREST = 3


def translate_error(error: Exception, app: str, arguments: Iterable[str]) -> UsageError:
    """Translate an error of Hydra.

    Args:
        error: one of ERRORS, raised when Hydra composed a config.
        app: the app whose config it is.
        arguments: the overrides, and options of Hydra among them.

    Returns:
        The error to raise or to show.
    """
    message = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return _unknown_option(app, group, option, list(error.options or ()))
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, message)
    if found := re.match(r"Could not override '(.+?)'", message):
        return _unknown_key(app, found.group(1), list(arguments))
    cause = f" ({str(error.__cause__).splitlines()[0]})" if error.__cause__ else ""
    return UsageError(f"config: {message.rstrip('.')}{cause}; {_help(app)}")


def _unknown_option(app: str, group: str, option: str, known: list[str]) -> UsageError:
    more = ""
    if group == "model":
        more = (
            f"; any network of timm or torchvision: model=timm model.name={option} (python -m vfx.models filter=<part"
            " of a name> lists them)"
        )
    if nearest := _nearest(option, known):
        return UsageError(f"{group} ({option}) is not one of its options{nearest}; {_help(app)}{more}")
    return UsageError(f"{group} ({option}) must be one of {', '.join(known) or 'none'}{more}")


def _unreadable(override: str, message: str) -> UsageError:
    if "=" not in override:
        return UsageError(f"{override} must be <key>=<value>, such as collection={override.strip() or 'toydata'}")
    key, value = (part.strip("'\"") for part in override.split("=", 1))
    reason = "a quote or a bracket is left open" if message.startswith("Lexer") else message
    return UsageError(
        f"{key} ({value}) is not how Hydra writes a value: {reason}; quote it, and the whole for the shell:"
        f" '{key}=\"{value}\"'"
    )


def _unknown_key(app: str, key: str, arguments: list[str]) -> UsageError:
    config = _composed(app, arguments)
    choices = {
        name: option for name, option in config.hydra.runtime.choices.items() if "/" not in name and name != "hydra"
    }
    known = sorted({*_key_names(OmegaConf.to_container(config, resolve=False)), *choices} - {"hydra"})
    group, _, leaf = key.partition(".")
    if owners := [option for option in keys.options(group) if key in keys.of_option(group, option)]:
        chosen = f", not of {group}={choices[group]}" if choices.get(group) else ""
        return UsageError(
            f"{key} is a key of {' and '.join(f'{group}={o}' for o in owners)}{chosen}: give {group}={owners[0]} too"
        )
    if keys.options(key):
        return UsageError(
            f"{key} is nothing that vfx.{app} chooses, which is {', '.join(sorted(choices))}; {_help(app)}"
        )
    deeper = [name for name in known if name.endswith(f".{key}")]
    more = ""
    if group == "trainer" and leaf:
        more = f"; a key of Lightning's Trainer that is not in conf/trainer is added by +{key}=..."
    return UsageError(f"vfx.{app} has no key {key}{_nearest(key, known, first=deeper)}; {_help(app)}{more}")


def _composed(app: str, arguments: list[str]) -> DictConfig:
    """The config of an app with the options that were chosen, or without them if they cannot be composed."""
    chosen = []
    for argument in arguments:
        group, _, option = argument.partition("=")
        if option in keys.options(group):
            chosen.append(argument)
    for overrides in (chosen, []):
        GlobalHydra.instance().clear()
        with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            try:
                return hydra.compose(app, overrides, return_hydra_config=True)
            except ERRORS:
                if not overrides:
                    raise
    raise AssertionError


def _key_names(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if not str(key).startswith("_") and f"{prefix}{key}" != "hydra":
                yield f"{prefix}{key}"
                yield from _key_names(value, f"{prefix}{key}.")


def _nearest(name: str, known: list[str], *, first: Iterable[str] = ()) -> str:
    """`; nearest: a, b`, those of `first` first; "" if there are none."""
    near = list(dict.fromkeys([*first, *get_close_matches(name, known, n=NEAREST, cutoff=0.5)]))[:NEAREST]
    return f"; nearest: {', '.join(near)}" if near else ""


def _help(app: str) -> str:
    return f"python -m vfx.{app} --help lists them"
