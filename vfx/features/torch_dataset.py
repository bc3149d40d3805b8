"""The rows of a feature file as a dataset of torch, for a DataLoader with any number of workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import torch

from vfx.features.reader import FeatureReader

Item: TypeAlias = tuple[torch.Tensor, int]


class FeatureRows(torch.utils.data.Dataset[Item]):
    """Item n is (features of row n, n): what `file.ids`, `file.seconds` or labels of one's own say of it is at n.

    Each worker opens the file for itself, and reads the rows of its batches alone.
    """

    def __init__(self, file: FeatureReader) -> None:
        self.file = file

    def __len__(self) -> int:
        return int(self.file.features.shape[0])

    def __getitem__(self, row: int) -> Item:
        """Raises IndexError beyond the last row."""
        return self.__getitems__([range(len(self))[row]])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[Item]:
        """The items of a batch, as DataLoader asks for them: a read for each stretch of rows that lie together."""
        wanted, back = np.unique(rows, return_inverse=True)
        stretches = np.split(wanted, np.flatnonzero(np.diff(wanted) > 1) + 1)
        found = np.concatenate([self.file.read(int(s[0]), int(s[-1]) + 1) for s in stretches])
        return list(zip(torch.from_numpy(found[back]), rows, strict=True))
