"""A network as a run uses it: preprocessed frames in, features out."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from vfx.errors import ExtractionError
from vfx.inference.batchnorm_folding import fold_batch_norms
from vfx.inference.compilation import Compiler, Run, check_compiler, compile_with_openvino, compile_with_torch
from vfx.inference.convolution_fusion import fuse_activations, replace_convolutions
from vfx.inference.fused_convolutions import CudnnConv, MatmulConv, OneDnnConv
from vfx.inference.same_padding import replace_same_padding
from vfx.inference.split_attention import replace_split_attention
from vfx.models import Network
from vfx.models.transforms import Preprocess, normalize, ten_crop
from vfx.system.memory import is_out_of_memory

Oversample = Literal[False, True, "keep"]
CROPS = 10
AUTOCAST_DTYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}

log = logging.getLogger(__name__)


class Encoder(nn.Module):
    """From frames (T,h,w,3) uint8 over crops (T*K,3,h,w) to features (T,D) float32.

    `preprocess` is what frames must have gone through before; `row_shape` is the shape of a frame's features.

    Args:
        network: The network, which is taken over and changed.
        oversample: False takes frames that are cropped already (K is 1). True takes ten crops of each frame and
            averages their features; "keep" does not average: (T,10,D).
        compiler: False runs the network as it is, True compiles it with torch, "openvino" with OpenVINO.
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
        self._max_crops: int | None = None  # what memory suffices for, once it has run out
        self._padded_size: int | None = None  # crops to which smaller batches are padded
        self.body = network.body
        self._run: list[Run] = [self.body]  # in a list, so that nn.Module does not register it

    def optimize(self, device: str, *, precision: str, threads: int, tf32: bool = False) -> None:
        """Make the network faster for a device. Features change by rounding alone.

        Args:
            device: Kind of device, as Lightning names it.
            precision: As Lightning names it.
            threads: Inference threads on a CPU.
            tf32: Whether the GPU may compute float32 products in TF32.

        Raises:
            UsageError: Where `compiler` does not compile for this device.
        """
        check_compiler(self._compiler, device)
        replace_split_attention(self.body)
        fold_batch_norms(self.body, self._transform.crop)
        if not self._compiler and precision != "64-true":  # compilers fuse by themselves; float64 has no such kernels
            self._use_fused_kernels(device, tensor_cores=tf32 or precision != "32-true")
        self.body.to(memory_format=self._memory_format)
        if self._compiler == "openvino":
            self._run[0] = compile_with_openvino(
                self.body,
                self._transform.crop,
                name=self.name,
                key=self._key,
                precision={"bf": "bf16", "16": "f16"}.get(precision[:2], "f32"),
                threads=threads,
            )
            return
        if precision in AUTOCAST_DTYPES:
            self.convert_weights(AUTOCAST_DTYPES[precision])
        self._run[0] = compile_with_torch(self.body) if self._compiler else self.body

    def _use_fused_kernels(self, device: str, *, tensor_cores: bool) -> None:
        # On a GPU, 1x1 convolutions are faster as matrix products than fused by cuDNN, unless tensor cores compute.
        side, channels_last = self._transform.crop, self._memory_format is torch.channels_last
        if device == "cpu":
            replace_same_padding(self.body, side)
            self.body = fuse_activations(self.body, side, OneDnnConv)
            replace_convolutions(self.body, OneDnnConv)
        elif device == "cuda":
            if channels_last and not tensor_cores:
                replace_convolutions(self.body, MatmulConv)
            self.body = fuse_activations(self.body, side, CudnnConv)
            if channels_last:
                replace_convolutions(self.body, MatmulConv)

    @property
    def compiles(self) -> bool:
        """Whether the first batch of each size takes long, as it is compiled."""
        return self._compiler is True

    def pad_batches(self, frames: int) -> None:
        """Pad smaller batches to this many frames, so that all have one size, as far as memory suffices for it."""
        self._padded_size = self.crops_per_pass(frames)

    def crops_per_pass(self, frames: int) -> int:
        """How many crops of this many frames go through the network at once: all, unless memory has run out before."""
        return min(frames * self.crops, self._max_crops or frames * self.crops)

    def convert_weights(self, dtype: torch.dtype) -> None:
        """Store the weights of convolutions and linear layers in the dtype that autocast would convert them to.

        Autocast would do it for each batch. Features stay exactly the same.
        """
        for module in self.body.modules():
            if type(module) in (nn.Conv2d, nn.Linear):
                module.to(dtype)

    def forward(self, frames: Sequence[torch.Tensor]) -> torch.Tensor:
        """The features of all frames, in order.

        Where memory runs out, half as many crops go through the network at once from then on.

        Args:
            frames: Runs of frames (t,h,w,3) uint8; their sizes may differ with oversample.

        Raises:
            ExtractionError: Where memory does not even suffice for one crop.
        """
        runs = [ten_crop(f, self._transform).flatten(0, 1) if self._oversample else f for f in frames]
        features = self._features(torch.cat(runs))
        if not self._oversample:
            return features
        features = features.unflatten(0, (-1, CROPS))
        return features if self._oversample == "keep" else features.mean(dim=1)

    def _features(self, crops: torch.Tensor) -> torch.Tensor:
        while True:
            count = min(self._max_crops or len(crops), len(crops))
            try:
                return torch.cat(
                    [self.run(self.network_input(some))[: len(some)].float() for some in crops.split(count)]
                )
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                count = max(count, self._padded_size or 0)
                if count == 1:
                    raise ExtractionError(
                        f"{self.name} needs more memory than there is, even for one image; take a smaller model, or"
                        f" trainer.precision=bf16-mixed ({str(error).splitlines()[0]})"
                    ) from error
            # Outside the handler, in which the error would keep the failed pass's tensors alive.
            self._max_crops = count // 2
            if self._padded_size is not None:
                self._padded_size = self._max_crops
            log.warning("out of memory with %d images at once: %d from now on", count, self._max_crops)
            if crops.is_cuda:
                torch.cuda.empty_cache()

    def network_input(self, crops: torch.Tensor) -> torch.Tensor:
        """Crops (B,h,w,3) uint8 as `run` takes them: (B,3,h,w), normalised, in the network's dtype and memory layout.

        After `pad_batches`, a smaller batch is padded with zeros.
        """
        some = next(self.body.parameters())
        # Under autocast a network takes float32; precision=bf16-true and the like convert the network itself.
        dtype = torch.float32 if torch.is_autocast_enabled(some.device.type) else some.dtype
        images = normalize(crops, self._transform).to(dtype)
        if self._padded_size is not None and len(images) < self._padded_size:
            images = torch.cat([images, images.new_zeros(self._padded_size - len(images), *images.shape[1:])])
        return images.contiguous(memory_format=self._memory_format)

    def run(self, images: torch.Tensor) -> torch.Tensor:
        """The network alone, as `optimize` left it: images (B,3,h,w) -> (B,D)."""
        return self._run[0](images)
