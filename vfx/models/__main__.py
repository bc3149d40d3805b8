"""Lists the networks there are, and which weights are on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from itertools import chain

from omegaconf import DictConfig, OmegaConf

from vfx import CONF_DIR
from vfx.cli import command
from vfx.errors import UsageError
from vfx.models.catalogue import Listed, configured, of_libraries, others
from vfx.text import table

HEAD = ("model=", "feature", "values", "pixels", "millions", "licence")
OPEN = ("timm", "torchvision")  # for which model.name says which


@dataclass(frozen=True)
class Networks:
    """What was found; as text, the table that is printed."""

    listed: Sequence[Listed]
    others: Sequence[Listed] = ()
    format: str = "table"

    def __str__(self) -> str:
        return "\n".join(_table(self) if self.format == "table" else _tsv(self))


def main(*overrides: str) -> Networks:
    """List as the command line does, `main("filter=resnest*")`. Raises UsageError."""
    return command.call(models, "models", overrides)


def models(config: DictConfig) -> Networks:
    """What a resolved config of conf/models.yaml asks for. Raises UsageError where nothing has such a name."""
    if config.format not in ("table", "tsv"):
        raise UsageError(f"format ({config.format}) must be table or tsv")
    own = [_configured(path.stem) for path in sorted((CONF_DIR / "model").glob("*.yaml")) if path.stem not in OPEN]
    if config.filter is None:
        return Networks(own, list(others(own)), config.format)
    pattern = str(config.filter)
    if not set(pattern) & set("*?["):
        pattern = f"*{pattern}*"
    found = [*(each for each in own if fnmatchcase(each.model, pattern)), *of_libraries(pattern)]
    if not found:
        names = {each.model.rpartition("=")[2] for each in [*own, *of_libraries("*")]}
        near = get_close_matches(pattern.strip("*"), names)
        nearest = f"; nearest: {', '.join(near)}" if near else ""
        raise UsageError(f"filter ({config.filter}) is part of no network's name{nearest}; filter=* lists all")
    return Networks(found, format=config.format)


def _configured(option: str) -> Listed:
    content = OmegaConf.load(CONF_DIR / "model" / f"{option}.yaml")
    assert isinstance(content, DictConfig)
    return configured(option, f"{content.name},{content.get('layer', 'pre_logits')}")


def _cells(each: Listed) -> tuple[str, ...]:
    facts = each.facts
    millions = f"{facts.parameters / 1e6:.1f}" if facts.parameters else "-"
    values = (str(value) if value else "-" for value in (facts.dim, facts.pixels))
    return each.model, each.feature, *values, millions, facts.licence or "-"


def _table(networks: Networks) -> list[str]:
    head, *rows = table([HEAD, *map(_cells, networks.listed)], align="<<>>><")
    lines = [head]
    for row, each in zip(rows, networks.listed, strict=True):
        lines += [row, f"    {_weights(each)}"]
    if networks.others:
        lines += ["", "Also on this machine:"]
        lines += [f"    {f'model={each.model}: ' if each.model else ''}{_weights(each)}" for each in networks.others]
    lines += [
        "",
        "Any network of timm or torchvision: model=timm model.name=<name>; filter=<part of a name> lists them.",
    ]
    return lines


def _weights(each: Listed) -> str:
    if each.here is None:
        return f"{each.facts.origin or 'weights of unknown origin'} (not here: fetched at first use)"
    return f"{each.here} ({each.here.stat().st_size / 1e6:.1f} MB, from {each.facts.origin})"


def _tsv(networks: Networks) -> list[str]:
    head = ("model", "feature", "values", "pixels", "parameters", "licence", "origin", "path", "bytes")
    rows: list[tuple[str, ...]] = [head]
    for each in chain(networks.listed, networks.others):
        facts = each.facts
        known = (facts.dim, facts.pixels, facts.parameters, facts.licence, facts.origin, each.here)
        size = each.here.stat().st_size if each.here else ""
        rows.append((each.model, each.feature, *(str(value or "") for value in known), str(size)))
    return ["\t".join(row) for row in rows]


if __name__ == "__main__":
    command.run(models, "models")
