"""Digests of what a feature file holds, column by column: the same for every copy, however its bytes are laid out.

How each is made stands in docs/schema.md, so that other programs can make them too.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

NAME = "digests"  # of the attribute that holds them, as JSON: the path of a dataset, or `attributes` -> sha256
ATTRIBUTES = "attributes"


class ColumnDigest:
    """The sha256 of a column, given its rows in order, in blocks of any size.

    Numbers count as their little-endian bytes, text as UTF-8 with a NUL after each, a record as its fields in turn.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, rows: NDArray[Any]) -> None:
        """`rows`: numbers of any shape, or (n,) str or bytes, or (n,) records of these and of int64."""
        if rows.dtype.kind in "fiu":
            plain = np.ascontiguousarray(rows, rows.dtype.newbyteorder("<"))
            self._hash.update(plain.reshape(-1).view(np.uint8).data)
        else:
            self._hash.update(b"".join(map(_encoded, _values(rows))))

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def attributes_digest(attributes: Mapping[str, str]) -> str:
    """The sha256 of all attributes but the digests themselves, as JSON sorted by name, all ASCII."""
    others = {name: value for name, value in attributes.items() if name != NAME}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def parsed(text: str) -> dict[str, Any]:
    """The JSON object of an attribute; empty where it is none."""
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    return {}


def _values(rows: NDArray[Any]) -> Any:
    values = rows.tolist()
    return values if rows.dtype.fields is None else itertools.chain.from_iterable(values)


def _encoded(value: str | bytes | int) -> bytes:
    if isinstance(value, int):
        return value.to_bytes(8, "little", signed=True)
    return (value if isinstance(value, bytes) else value.encode()) + b"\0"
