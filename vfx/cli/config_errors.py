"""What Hydra refuses to compose, said so that the way out is seen: the nearest names, and where all are listed."""

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
from vfx.errors import UsageError

ERRORS = (HydraException, OmegaConfBaseException)
NEAREST = 3


def translate_error(error: Exception, app: str, arguments: Iterable[str]) -> UsageError:
    """The error to show for one of ERRORS that Hydra raised when it composed the config of `app` from `arguments`."""
    said = str(error).splitlines()[0] if str(error) else type(error).__name__
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return _no_option(app, group, option, list(error.options or ()))
    if isinstance(error, OverrideParseException):
        return _unreadable(error.override, said)
    if found := re.match(r"Could not override '(.+?)'", said):
        return _no_key(app, found.group(1), list(arguments))
    cause = f" ({str(error.__cause__).splitlines()[0]})" if error.__cause__ else ""
    return UsageError(f"config: {said.rstrip('.')}{cause}; {_help(app)}")


def _no_option(app: str, group: str, option: str, there: list[str]) -> UsageError:
    more = ""
    if group == "model":
        more = (
            f"; any network of timm or torchvision: model=timm model.name={option} (python -m vfx.models filter=<part"
            " of a name> lists them)"
        )
    if nearest := _nearest(option, there):
        return UsageError(f"{group} ({option}) is not one of its options{nearest}; {_help(app)}{more}")
    return UsageError(f"{group} ({option}) must be one of {', '.join(there) or 'none'}{more}")


def _unreadable(override: str, said: str) -> UsageError:
    if "=" not in override:
        return UsageError(f"{override} must be <key>=<value>, such as collection={override.strip() or 'toydata'}")
    key, value = (part.strip("'\"") for part in override.split("=", 1))
    reason = "a quote or a bracket is left open" if said.startswith("Lexer") else said
    return UsageError(
        f"{key} ({value}) is not how Hydra writes a value: {reason}; quote it, and the whole for the shell:"
        f" '{key}=\"{value}\"'"
    )


def _no_key(app: str, key: str, arguments: list[str]) -> UsageError:
    config = _composed(app, arguments)
    choices = {
        name: option for name, option in config.hydra.runtime.choices.items() if "/" not in name and name != "hydra"
    }
    known = sorted({*_keys(OmegaConf.to_container(config, resolve=False)), *choices} - {"hydra"})
    group, _, leaf = key.partition(".")
    if owners := [option for option in _options(group) if leaf and leaf in _own_keys(group, option)]:
        chosen = f", not of {group}={choices[group]}" if choices.get(group) else ""
        return UsageError(
            f"{key} is a key of {' and '.join(f'{group}={o}' for o in owners)}{chosen}: give {group}={owners[0]} too"
        )
    if _options(key):
        return UsageError(
            f"{key} is nothing that vfx.{app} chooses, which is {', '.join(sorted(choices))}; {_help(app)}"
        )
    deeper = [name for name in known if name.endswith(f".{key}")]
    more = ""
    if group == "trainer" and leaf:
        more = f"; a key of Lightning's Trainer that is not in conf/trainer is added by +{key}=..."
    return UsageError(f"vfx.{app} has no key {key}{_nearest(key, known, first=deeper)}; {_help(app)}{more}")


def _composed(app: str, arguments: list[str]) -> DictConfig:
    """The config of an app with the options that were chosen, as far as they are there."""
    chosen = []
    for argument in arguments:
        group, _, option = argument.partition("=")
        if option in _options(group):
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


def _options(group: str) -> list[str]:
    """The options of a group of conf, by name."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml")) if group.isidentifier() else []


def _own_keys(group: str, option: str) -> set[str]:
    content = OmegaConf.load(CONF_DIR / group / f"{option}.yaml")
    assert isinstance(content, DictConfig)
    return {str(key) for key in content if key not in ("_target_", "_partial_", "defaults")}


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if not str(key).startswith("_") and f"{prefix}{key}" != "hydra":
                yield f"{prefix}{key}"
                yield from _keys(value, f"{prefix}{key}.")


def _nearest(name: str, known: list[str], *, first: Iterable[str] = ()) -> str:
    """`; nearest: a, b`, those of `first` first; "" where none is near."""
    near = list(dict.fromkeys([*first, *get_close_matches(name, known, n=NEAREST, cutoff=0.5)]))[:NEAREST]
    return f"; nearest: {', '.join(near)}" if near else ""


def _help(app: str) -> str:
    return f"python -m vfx.{app} --help lists them"
