"""`vfx.FeatureFile`: a feature file for scripts and notebooks, also as a table, an array, a tensor or a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vfx.features import notebook_view
from vfx.features.reader import FeatureReader
from vfx.system.optional_imports import need

if TYPE_CHECKING:
    import pandas
    import torch
    import xarray

    from vfx.features.torch_dataset import FeatureRows


class FeatureFile(FeatureReader):
    """A feature file as a read-only mapping from ids to rows: `f["shot00001_1"]` is (T, D), `f["shot00001_1_25"]` (D,).

    Nothing is read before it is asked for. The file may be handed to other processes, such as the workers of a
    DataLoader. `FeatureReader` has the details.

    Args:
        path: The file, or the folder that holds it as `features.h5`.

    Raises:
        OutputError: On first use, see `FeatureReader`.
    """

    def to_pandas(self) -> pandas.DataFrame:
        """All rows as a data frame. Needs the extra `pandas`.

        Returns:
            One row for each feature, with the columns 0 .. D-1, ten crops side by side. The index is the id; at frame
            level it has the levels video, index and seconds.
        """
        pandas = need("pandas", extra="pandas", for_="to_pandas")
        values = self.features[:].reshape(len(self.ids), -1)
        if self.level != "frame":
            return pandas.DataFrame(values, index=pandas.Index(self.ids, name="id"))
        videos = np.repeat(self.videos, np.diff(self.offsets))
        index = pandas.MultiIndex.from_arrays([videos, self.index, self.seconds], names=["video", "index", "seconds"])
        return pandas.DataFrame(values, index=index)

    def to_xarray(self) -> xarray.DataArray:
        """The features as a labelled array that reads only what is asked for: `f.to_xarray()[10:20]` reads ten rows.
        Needs the extra `xarray`.

        Returns:
            (frame, dim) with the coordinates frame (the id), video, index and seconds; at the other levels
            (video, dim) or (segment, dim). Ten crops kept apart are an axis of their own: (frame, crop, dim).
        """
        from vfx.features.xarray_array import to_data_array

        return to_data_array(self)

    def to_torch(self) -> torch.Tensor:
        """All features as one tensor, (N, D) or (N, 10, D)."""
        import torch

        return torch.from_numpy(self.features[:])

    def to_dataset(self) -> FeatureRows:
        """A map-style dataset for torch's DataLoader, whose item n is (features of row n, n).

        For whole videos use the file itself: `DataLoader(f, sampler=list(f), batch_size=None)` gives one (T, D) after
        another.
        """
        from vfx.features.torch_dataset import FeatureRows

        return FeatureRows(self)

    def _repr_html_(self) -> str:
        """What Jupyter shows."""
        return notebook_view.html(self)
