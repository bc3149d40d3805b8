"""A feature file as an xarray DataArray that reads its values when they are asked for. Needs the extra `xarray`.

Source: "How to add a new backend" in xarray's documentation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vfx.features.reader import FeatureReader
from vfx.system.optional_imports import need

xarray: Any = need("xarray", extra="xarray", for_="to_xarray")
indexing: Any = need("xarray.core.indexing", extra="xarray", for_="to_xarray")
ATTRIBUTES = ("feature", "level", "collection", "created", "schema")  # of the file; the others are long


class LazyFeatures(xarray.backends.BackendArray):
    """The features of a file as a backend array of xarray, which reads slices and lists of rows."""

    def __init__(self, file: FeatureReader) -> None:
        self._file = file
        self.shape = file.features.shape
        self.dtype = file.features.dtype

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._read)

    def _read(self, key: tuple[Any, ...]) -> NDArray[Any]:
        return self._file.features[key]


def to_data_array(file: FeatureReader) -> Any:
    """The features as a DataArray.

    Returns:
        (frame, dim), (video, dim) or (segment, dim); with ten crops kept apart (frame, crop, dim) and so on. The
        coordinate of the rows is their id; at frame level they have the coordinates video, index and seconds too.
    """
    rows = file.level
    dims = (rows, *(["crop"] if file.features.ndim == 3 else []), "dim")
    coordinates: dict[str, Any] = {rows: file.ids}
    if rows == "frame":
        videos = np.repeat(file.videos, np.diff(file.offsets))
        coordinates |= {"video": (rows, videos), "index": (rows, file.index), "seconds": (rows, file.seconds)}
    return xarray.DataArray(
        xarray.Variable(dims, indexing.LazilyIndexedArray(LazyFeatures(file))),
        coordinates,
        name="features",
        attrs={name: file.attributes[name] for name in ATTRIBUTES},
    )
