"""Parts of `--help`: the options of each group, and the keys of those that are chosen (see conf/hydra/app.yaml)."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf

from vfx import CONF_DIR
from vfx.cli import keys


def groups(*, _root_: DictConfig) -> str:
    """List the groups that an app's config chooses from, and their options; "" if there are none."""
    chosen = {name for name, option in _root_.hydra.runtime.choices.items() if option or name == "experiment"}
    lines = [
        f"{folder.name}: {', '.join(keys.options(folder.name))}\n"
        for folder in sorted(CONF_DIR.iterdir())
        if folder.name in chosen - {"hydra"}
    ]
    return "".join(["== Groups (group=option) ==\n", *lines, "\n"]) if lines else ""


def option_keys(*, _root_: DictConfig) -> str:
    """List the keys of the chosen options, each as one would type it, with its value and the comment of its YAML."""
    lines: list[tuple[str, str]] = []
    for group, option in sorted(_root_.hydra.runtime.choices.items()):
        if not option or group == "hydra" or not (CONF_DIR / group).is_dir() or group not in _root_:
            continue
        known = keys.of_option(group, option)
        for leaf, value in OmegaConf.to_container(_root_, resolve=False)[group].items():  # type: ignore
            if not leaf.startswith("_"):
                key = known.get(f"{group}.{leaf}")
                lines.append((f"{group}.{leaf}={_shown(value)}", key.comment if key else ""))
    if not lines:
        return ""
    width = max(len(typed) for typed, _ in lines)
    shown = (f"{typed:<{width}}  {comment}".rstrip() for typed, comment in lines)
    text = "\n".join(["", "== Keys of the options chosen, with their values ==", *shown])
    return text.replace("$", "$$")  # Hydra takes it for a template


def _shown(value: Any) -> str:
    if value == "???":
        return "<must be given>"
    if isinstance(value, (list, dict)):
        return "..."
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
