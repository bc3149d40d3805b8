"""The network's part of a run: batches of frames in, features out."""

from __future__ import annotations

from typing import Literal

import torch
from pytorch_lightning import LightningModule

from vfx.batches import Batch
from vfx.models import Network
from vfx.tally import Tally
from vfx.transforms import Prepare, normalize, ten_crop

Oversample = Literal[False, True, "keep"]
CROPS = 10


class Extractor(LightningModule):
    """Runs a network over frames: (T,h,w,3) uint8 -> crops (T,K,3,h,w) -> features (T,D) float32.

    `oversample`: False takes frames that are cropped already (K is 1); True makes ten crops of each and averages
    their features; "keep" leaves them apart, (T,10,D). `prepare` is what frames must have gone through before.
    """

    def __init__(self, network: Network, *, oversample: Oversample = False, tally: Tally | None = None) -> None:
        super().__init__()
        self.body = network.body
        self.oversample = oversample
        self.row_shape = (CROPS, network.dim) if oversample == "keep" else (network.dim,)
        self.prepare = Prepare(network.transform, ten_crop=bool(oversample))
        self._transform = network.transform
        self._tally = tally or Tally()
        self._memory_format = torch.channels_last if network.channels_last else torch.contiguous_format
        self.body.to(memory_format=self._memory_format)

    def forward(self, frames: list[torch.Tensor]) -> torch.Tensor:
        """Pieces of (t,h,w,3) uint8, of any sizes with oversample -> features of all their frames, in order."""
        pieces = [ten_crop(f, self._transform).flatten(0, 1) if self.oversample else f for f in frames]
        crops = normalize(torch.cat(pieces), self._transform)
        # precision=bf16-true and its kin convert the network itself
        crops = crops.to(next(self.body.parameters()).dtype).contiguous(memory_format=self._memory_format)
        features = self.body(crops).float()
        if not self.oversample:
            return features
        features = features.unflatten(0, (-1, CROPS))
        return features if self.oversample == "keep" else features.mean(dim=1)

    def predict_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Features of the batch's frames, in the processor's memory and finished, as the writer needs them."""
        pieces = [f for f in batch.frames if len(f)]
        if not pieces:
            return torch.empty(0, *self.row_shape)
        with self._tally.time("network"):
            return self.forward(pieces).cpu()
