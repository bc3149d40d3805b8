"""One network as a run uses it: prepared frames in, features out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from vfx.errors import ExtractionError
from vfx.inference.batchnorm_folding import fold
from vfx.inference.compilation import Compiler, Run, by_openvino, by_torch, check_compiler
from vfx.inference.convolution_fusion import ByCudnn, ByProduct, OneDnnConv, fuse, wrap
from vfx.inference.same_padding import pad_inside
from vfx.inference.split_attention import add_parts
from vfx.models import Network
from vfx.models.transforms import Preprocess, normalize, ten_crop
from vfx.system.memory import is_out_of_memory

Oversample = Literal[False, True, "keep"]
CROPS = 10
LOWER = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}  # to what autocast converts

log = logging.getLogger(__name__)


class Encoder(nn.Module):
    """(T,h,w,3) uint8 -> crops (T,K,3,h,w) -> features (T,D) float32.

    `oversample`: False takes frames that are cropped already (K is 1); True makes ten crops of each and averages
    their features; "keep" leaves them apart, (T,10,D). `preprocess` is what frames must have gone through before.
    `compiler`: False runs the network as it is; True compiles it by torch, "openvino" by that.
    Takes the network over.
    """

    def __init__(self, network: Network, *, oversample: Oversample = False, compiler: Compiler = False) -> None:
        super().__init__()
        self.name = network.name
        self.dim = network.dim
        self.crops = CROPS if oversample else 1
        self.row_shape = (CROPS, network.dim) if oversample == "keep" else (network.dim,)
        self.preprocess = Preprocess(network.transform, ten_crop=bool(oversample))
        self._oversample = oversample
        self._transform = network.transform
        self._memory_format = torch.channels_last if network.channels_last else torch.contiguous_format
        self._compiler = compiler
        self._key = network.weights.sha256
        self._most: int | None = None  # crops at once, where memory has run out before
        self._filled: int | None = None  # crops to which smaller batches are filled up
        self.body = network.body
        self._run: list[Run] = [self.body]  # in a list, by which it is no module of this one

    def ready(self, device: str, *, precision: str, threads: int, tf32: bool = False) -> None:
        """Make the network faster for a kind of device and a precision, both as Lightning names them, with `tf32` where
        that has it, and on a processor for `threads` threads: the same features but for rounding.

        Raises UsageError where it cannot be compiled as wanted.
        """
        check_compiler(self._compiler, device)
        add_parts(self.body)
        fold(self.body, self._transform.crop)
        if not self._compiler and precision != "64-true":  # compilers do it by themselves, and no library in float64
            self._fuse(device, by_matrix_units=tf32 or precision != "32-true")
        self.body.to(memory_format=self._memory_format)
        lower = LOWER.get(precision)
        if self._compiler == "openvino":
            self._run[0] = by_openvino(
                self.body,
                self._transform.crop,
                name=self.name,
                key=self._key,
                precision={"bf": "bf16", "16": "f16"}.get(precision[:2], "f32"),
                threads=threads,
            )
            return
        if lower is not None:
            self.lower(lower)
        self._run[0] = by_torch(self.body) if self._compiler else self.body

    def _fuse(self, device: str, *, by_matrix_units: bool) -> None:
        """Have as few kernels as there can be. Without a GPU's matrix units products are faster than what cuDNN fuses,
        with them slower."""
        side, channels_last = self._transform.crop, self._memory_format is torch.channels_last
        if device == "cpu":
            pad_inside(self.body, side)
            self.body = fuse(self.body, side, OneDnnConv)
            wrap(self.body, OneDnnConv)
        elif device == "cuda":
            if channels_last and not by_matrix_units:
                wrap(self.body, ByProduct)
            self.body = fuse(self.body, side, ByCudnn)
            if channels_last:
                wrap(self.body, ByProduct)

    @property
    def compiles(self) -> bool:
        """Whether the first batch of each size takes long."""
        return self._compiler is True

    def fill_up(self, frames: int) -> None:
        """Have batches of fewer frames filled up to so many, so that all have one size, for which memory suffices."""
        self._filled = self.at_once(frames)

    def at_once(self, frames: int) -> int:
        """Crops of so many frames that go through the network at once: all, where memory has not run out before."""
        return min(frames * self.crops, self._most or frames * self.crops)

    def lower(self, dtype: torch.dtype) -> None:
        """Keep the weights of convolutions and linear layers in `dtype`, to which autocast would convert them anew for
        each batch: the same features."""
        for module in self.body.modules():
            if type(module) in (nn.Conv2d, nn.Linear):
                module.to(dtype)

    def forward(self, frames: Sequence[torch.Tensor]) -> torch.Tensor:
        """Pieces of (t,h,w,3) uint8, of any sizes with oversample -> features of all their frames, in order.

        Where memory runs out half as many crops are tried at once, from then on. Raises ExtractionError where it does
        not even suffice for one.
        """
        pieces = [ten_crop(f, self._transform).flatten(0, 1) if self._oversample else f for f in frames]
        features = self._features(torch.cat(pieces))
        if not self._oversample:
            return features
        features = features.unflatten(0, (-1, CROPS))
        return features if self._oversample == "keep" else features.mean(dim=1)

    def _features(self, crops: torch.Tensor) -> torch.Tensor:
        while True:
            most = min(self._most or len(crops), len(crops))
            try:
                return torch.cat([self._pass(some) for some in crops.split(most)])
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                most = max(most, self._filled or 0)
                if most == 1:
                    raise ExtractionError(
                        f"{self.name} needs more memory than there is, even for one image; take a smaller model, or"
                        f" trainer.precision=bf16-mixed ({str(error).splitlines()[0]})"
                    ) from error
            # Out of the handler, where the error would hold on to what the failed pass had made.
            self._most = most // 2
            if self._filled is not None:
                self._filled = self._most
            log.warning("out of memory with %d images at once: %d from now on", most, self._most)
            if crops.is_cuda:
                torch.cuda.empty_cache()

    def _pass(self, crops: torch.Tensor) -> torch.Tensor:
        """(B,h,w,3) uint8 -> (B,D) float32."""
        return self.run(self.images(crops))[: len(crops)].float()

    def images(self, crops: torch.Tensor) -> torch.Tensor:
        """(B,h,w,3) uint8 -> what `run` takes, (B,3,h,w): normalized, in the network's dtype and memory layout, and
        filled up with zeros to the one size, where there is one."""
        images = normalize(crops, self._transform)
        # precision=bf16-true and its kin convert the network itself
        images = images.to(self._dtype())
        if self._filled is not None and len(images) < self._filled:
            images = torch.cat([images, images.new_zeros(self._filled - len(images), *images.shape[1:])])
        return images.contiguous(memory_format=self._memory_format)

    def run(self, images: torch.Tensor) -> torch.Tensor:
        """The network alone, as it was made ready: images (B,3,h,w) -> (B,D)."""
        return self._run[0](images)

    def _dtype(self) -> torch.dtype:
        if torch.is_autocast_enabled(next(self.body.parameters()).device.type):
            return torch.float32
        return next(self.body.parameters()).dtype
