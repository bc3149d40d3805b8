"""SHA-256 digests of the columns and attributes of a feature file. Copies that store the same rows have the same
digests, however HDF5 lays them out.

docs/schema.md defines them, so that other programs can compute them too.
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

NAME = "digests"  # the attribute that holds them: a JSON object from the path of a dataset, or ATTRIBUTES, to SHA-256
ATTRIBUTES = "attributes"


class ColumnDigest:
    """The SHA-256 of a column, computed block by block.

    Numbers are hashed as little-endian bytes, a text as UTF-8 with a NUL after it, a record as its fields in turn.
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, rows: NDArray[Any]) -> None:
        """Add rows, in their order, in blocks of any size.

        Args:
            rows: Numbers of any shape, or (n,) str or bytes, or (n,) records of these and of int64.
        """
        if rows.dtype.kind in "fiu":
            plain = np.ascontiguousarray(rows, rows.dtype.newbyteorder("<"))
            self._hash.update(plain.reshape(-1).view(np.uint8).data)
        else:
            values = rows.tolist() if rows.dtype.fields is None else itertools.chain.from_iterable(rows.tolist())
            self._hash.update(b"".join(map(_encoded, values)))

    def hexdigest(self) -> str:
        """The digest of the rows so far, in hexadecimal."""
        return self._hash.hexdigest()


def attributes_digest(attributes: Mapping[str, str]) -> str:
    """The SHA-256 of all attributes except the digests, as JSON in ASCII, sorted by name."""
    others = {name: value for name, value in attributes.items() if name != NAME}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()


def parsed(text: str) -> dict[str, Any]:
    """The JSON object in a text; empty where there is none."""
    with contextlib.suppress(ValueError, RecursionError):
        value = json.loads(text)
        if isinstance(value, dict):
            return value
    return {}


def _encoded(value: str | bytes | int) -> bytes:
    if isinstance(value, int):
        return value.to_bytes(8, "little", signed=True)
    return (value if isinstance(value, bytes) else value.encode()) + b"\0"
