"""Lists the available networks, and which of their weights are on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import chain
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from vfx import CONF_DIR
from vfx.cli import command
from vfx.errors import UsageError
from vfx.models.catalogue import Entry, configured, library_entries, other_weights
from vfx.text import table

HEAD = ("model=", "feature", "values", "pixels", "millions", "licence")
OPEN = ("timm", "torchvision")  # for which model.name says which


@dataclass(frozen=True)
class Networks:
    """The networks that were found; `str()` of it is the table that is printed."""

    listed: Sequence[Entry]
    others: Sequence[Entry] = ()
    format: str = "table"

    def __str__(self) -> str:
        return "\n".join(_table(self) if self.format == "table" else _tsv(self))


def main(*overrides: str) -> Networks:
    """List networks as the command does: `main("filter=resnest*")`.

    Raises:
        UsageError: Where an override is wrong, or no network has such a name.
    """
    return command.call(models, "models", overrides)


def models(config: DictConfig) -> Networks:
    """List the networks that a resolved config of conf/models.yaml asks for.

    Raises:
        UsageError: Where no network has such a name.
    """
    if config.format not in ("table", "tsv"):
        raise UsageError(f"format ({config.format}) must be table or tsv")
    options = [path for path in sorted((CONF_DIR / "model").glob("*.yaml")) if path.stem not in OPEN]
    own = [configured(path.stem, *_name_and_layer(path)) for path in options]
    if config.filter is None:
        return Networks(own, list(other_weights(own)), config.format)
    pattern = str(config.filter)
    if not set(pattern) & set("*?["):
        pattern = f"*{pattern}*"
    found = [*(entry for entry in own if fnmatchcase(entry.model, pattern)), *library_entries(pattern)]
    if not found:
        names = {entry.model.rpartition("=")[2] for entry in [*own, *library_entries("*")]}
        near = get_close_matches(pattern.strip("*"), names)
        nearest = f"; nearest: {', '.join(near)}" if near else ""
        raise UsageError(f"filter ({config.filter}) is part of no network's name{nearest}; filter=* lists all")
    return Networks(found, format=config.format)


def _name_and_layer(option: Path) -> tuple[str, str]:
    content: Any = OmegaConf.load(option)
    return content.name, content.get("layer", "pre_logits")


def _cells(entry: Entry) -> tuple[str, ...]:
    facts = entry.facts
    millions = f"{facts.parameters / 1e6:.1f}" if facts.parameters else "-"
    values = (str(value) if value else "-" for value in (facts.dim, facts.pixels))
    return entry.model, entry.feature, *values, millions, facts.licence or "-"


def _table(networks: Networks) -> list[str]:
    head, *rows = table([HEAD, *map(_cells, networks.listed)], align="<<>>><")
    lines = [head]
    for row, entry in zip(rows, networks.listed, strict=True):
        lines += [row, f"    {_weights(entry)}"]
    if networks.others:
        lines += ["", "Also on this machine:"]
        lines += [
            f"    {f'model={entry.model}: ' if entry.model else ''}{_weights(entry)}" for entry in networks.others
        ]
    lines += [
        "",
        "Any network of timm or torchvision: model=timm model.name=<name>; filter=<part of a name> lists them.",
    ]
    return lines


def _weights(entry: Entry) -> str:
    if entry.weights is None:
        return f"{entry.facts.origin or 'weights of unknown origin'} (not here: fetched at first use)"
    return f"{entry.weights} ({entry.weights.stat().st_size / 1e6:.1f} MB, from {entry.facts.origin})"


def _tsv(networks: Networks) -> list[str]:
    head = ("model", "feature", "values", "pixels", "parameters", "licence", "origin", "path", "bytes")
    rows: list[tuple[str, ...]] = [head]
    for entry in chain(networks.listed, networks.others):
        facts = entry.facts
        known = (facts.dim, facts.pixels, facts.parameters, facts.licence, facts.origin, entry.weights)
        size = entry.weights.stat().st_size if entry.weights else ""
        rows.append((entry.model, entry.feature, *(str(value or "") for value in known), str(size)))
    return ["\t".join(row) for row in rows]


if __name__ == "__main__":
    command.run(models, "models")
