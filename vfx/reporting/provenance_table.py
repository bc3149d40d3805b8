"""How features were made, side by side: their recipes, weights and versions, as the rows of a table."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from vfx.outputs.recipe import differences

ORIGIN = ("weights", "parts", "decoders", "versions", "imported")  # what a provenance holds besides the recipe
MOST_ROWS = 120
UNKNOWN = "not told"


def rows(nodes: Sequence[Any]) -> list[tuple[str, list[str], bool]]:
    """Flatten nested mappings, one of each feature, into the rows of a table.

    Returns:
        For each of the first MOST_ROWS keys: the key, its value in each mapping ("" where it has none), and whether
        the values differ. Values that are no text are JSON.
    """
    columns = [
        {leaf.key: leaf.here for leaf in differences({}, node)} if isinstance(node, dict) else {} for node in nodes
    ]
    keys = list(dict.fromkeys(itertools.chain.from_iterable(columns)))
    table = []
    for key in keys[:MOST_ROWS]:
        values = [_plain(column[key]) if key in column else "" for column in columns]
        table.append((key, values, len(set(values)) > 1))
    return table


def origin(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What a provenance tells besides the recipe: weights, decoders, versions, the source of an import."""
    return {key: provenance[key] for key in ORIGIN if key in provenance}


def licences(provenance: Mapping[str, Any]) -> list[str]:
    """The licence of the weights; of a concatenation those of all its parts, each once. UNKNOWN where one is not
    stated."""
    parts = provenance.get("parts")
    weights = [*parts.values()] if isinstance(parts, dict) and parts else [provenance.get("weights")]
    stated = [isinstance(each, dict) and each.get("licence") for each in weights]
    return list(dict.fromkeys(str(licence or UNKNOWN) for licence in stated))


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
