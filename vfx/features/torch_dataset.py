"""The rows of a feature file as a map-style dataset of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch

from vfx.features.reader import FeatureReader

Item: TypeAlias = tuple[torch.Tensor, int]


class FeatureRows(torch.utils.data.Dataset[Item]):
    """Item n is (features of row n, n). `file.ids[n]` is its id, `file.seconds[n]` its time.

    Each worker of a DataLoader opens the file for itself, and reads only the rows of its batches.

    Args:
        file: The file.
    """

    def __init__(self, file: FeatureReader) -> None:
        self.file = file

    def __len__(self) -> int:
        return int(self.file.features.shape[0])

    def __getitem__(self, row: int) -> Item:
        """One item. Raises IndexError for a row that does not exist."""
        return self.__getitems__([range(len(self))[row]])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[Item]:
        """The items of a batch, for which DataLoader asks. Rows that follow each other in the file are read at once."""
        wanted, back = np.unique(rows, return_inverse=True)
        runs = np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1)
        found = np.concatenate([self.file.read(int(run[0]), int(run[-1]) + 1) for run in runs])
        return list(zip(torch.from_numpy(found[back]), rows, strict=True))
