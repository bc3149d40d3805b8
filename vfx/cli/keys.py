"""The keys of the configs, each with its kind, default and comment, as the YAML files of conf/ have them.

The comment behind a key may begin with its kind: `destination: null  # path`, or `file: ???  # path: a table`. Where it
does not, the default tells: true and false are of kind `flag`, text is of kind `text`, anything else is taken as it is.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from vfx import APPS, CONF_DIR

# What names something may look like a number or hold brackets, which YAML and Hydra would read in their own way; a
# path may also hold commas, since features have them in their names.
PATHS = ("path", "feature")
NAMES = ("name", "folder", *PATHS)
AS_IT_IS = ("number", "list", "any")
KINDS = (*NAMES, "text", "flag", *AS_IT_IS)

GLOBAL = "# @package _global_"
KEY = re.compile(r"(?P<indent> *)(?P<name>\w+):(?: +(?P<default>[^#]*?))? *(?:# (?P<comment>.*))?")
ITEM = re.compile(r"^( *)- .*\n?(?:\1 +.*\n?)*", re.MULTILINE)  # of a list, with the lines below it
COMMENT = re.compile(rf"(?:(?P<kind>{'|'.join(KINDS)})(?:$|: ))?(?P<text>.*)")


class Key(NamedTuple):
    """`kind`: one of KINDS. `is_stated`: whether the comment has it. `default`: as it is written; `comment`: without
    the kind."""

    kind: str
    is_stated: bool
    default: str
    comment: str

    @property
    def is_optional(self) -> bool:
        """Whether the app has a use for null there, since it is the default."""
        return self.default == "null"


def find(app: str, name: str) -> Key | None:
    """A key by its name, as it is typed: `collection`, `sampler.file`; None where it is none of vfx's.

    One that the app does not have is another app's, if that has it: a user may have mistaken one app for the other.
    """
    group, _, rest = name.partition(".")
    if group == "models":  # one of several models, by the name that follows
        group, name = "model", f"model.{rest.partition('.')[2]}"
    apps = (app, *(each for each in APPS if each != app))
    return of_group(group).get(name) or next((of_app(each)[name] for each in apps if name in of_app(each)), None)


@cache
def of_app(app: str) -> dict[str, Key]:
    """The keys in an app's own YAML file, and in the one that it begins with."""
    path = CONF_DIR / f"{app}.yaml"
    found: dict[str, Key] = {}
    for base in re.findall(r"^  - (\w+)(?: +#.*)?$", path.read_text(), re.MULTILINE):
        found |= _read(path) if base == "_self_" else of_app(base)
    return found


@cache
def of_group(group: str) -> dict[str, Key]:
    """The keys of all options of a group; a kind that one of them states goes for all."""
    found: dict[str, Key] = {}
    for option in options(group):
        for name, key in of_option(group, option).items():
            if name not in found or (key.is_stated and not found[name].is_stated):
                found[name] = key
    return found


@cache
def of_option(group: str, option: str) -> dict[str, Key]:
    """The keys of an option of a group, and of the option that it begins with; none of an option of the user's own."""
    path = CONF_DIR / group / f"{option}.yaml"
    if not path.is_file():
        return {}
    text = path.read_text()
    found: dict[str, Key] = {}
    for base in re.findall(r"^defaults: \[(\w+)", text, re.MULTILINE):
        found |= of_option(group, base)
    for name, key in _read(path, "" if text.startswith(GLOBAL) else f"{group}.").items():
        silent = name in found and not (key.comment or key.is_stated)  # then what the base says of it holds
        found[name] = found[name]._replace(default=key.default) if silent else key
    return found


def options(group: str) -> list[str]:
    """The options of a group, by name; none where there is no such group."""
    return sorted(path.stem for path in (CONF_DIR / group).glob("*.yaml")) if group.isidentifier() else []


def _read(path: Path, prefix: str = "") -> dict[str, Key]:
    found: dict[str, Key] = {}
    above: list[tuple[int, str]] = []  # indentation and full name of the keys that a line may be below
    text = path.read_text().split("\nhydra:\n")[0]
    for line in ITEM.sub("", text).splitlines():
        match = KEY.fullmatch(line)
        if match is None or match["name"].startswith("_") or match["name"] == "defaults":
            continue
        while above and above[-1][0] >= len(match["indent"]):
            above.pop()
        if above:
            found.pop(above[-1][1], None)  # it is a mapping
        name = (f"{above[-1][1]}." if above else prefix) + match["name"]
        found[name] = _key(match["default"] or "", match["comment"] or "")
        above.append((len(match["indent"]), name))
    return found


def _key(default: str, comment: str) -> Key:
    parts = COMMENT.fullmatch(comment)
    assert parts is not None
    return Key(parts["kind"] or _kind(default), bool(parts["kind"]), default, parts["text"])


def _kind(default: str) -> str:
    if default in ("true", "false"):
        return "flag"
    return "text" if default[:1].isalpha() and default != "null" else "any"
