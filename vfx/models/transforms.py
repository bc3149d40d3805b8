"""Frames to network input: resize of the short side, crops, normalisation.

The arithmetic is torchvision's, and tests hold it to that; torchvision itself takes a worker 2 s to import.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

from vfx.errors import VideoError

MOST_PIXELS = 32 << 20  # of a resized frame; at 256 pixels of the short side an aspect of 1 to 512


@dataclass(frozen=True)
class Transform:
    """What a network was trained to see.

    `resize`: pixels of the short side, or (height, width) where the aspect is not kept.
    `crop`: side of the square crop. `mean`, `std`: of RGB in [0, 1].
    """

    resize: int | tuple[int, int]
    crop: int
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def resized(height: int, width: int, transform: Transform) -> tuple[int, int]:
    """The size of a frame after `resize`. Raises VideoError for shapes so long that a frame would fill memory."""
    if not isinstance(transform.resize, int):
        return transform.resize
    short = min(height, width)
    size = (transform.resize * height // short, transform.resize * width // short)
    if size[0] * size[1] > MOST_PIXELS:
        raise VideoError(f"a frame of {width}x{height} is too long to be a picture: resized, {size[1]}x{size[0]}")
    return size


def resize(frames: torch.Tensor, transform: Transform) -> torch.Tensor:
    """Frames (T,H,W,3) uint8 -> (T,h,w,3) uint8 with the short side at `transform.resize`.

    The antialiased filter of PIL, within one level of it (bicubic: two); the long side is truncated as
    torchvision does.
    """
    size = resized(frames.shape[1], frames.shape[2], transform)
    # (T,3,H,W) over memory that stays (T,H,W,3): the layout for which the kernel is fast
    smaller = interpolate(frames.permute(0, 3, 1, 2), size, mode=transform.interpolation, antialias=True)
    return smaller.permute(0, 2, 3, 1).contiguous()


def center_crop(frames: torch.Tensor, transform: Transform) -> torch.Tensor:
    """Frames (T,h,w,3) -> (T,crop,crop,3)."""
    crop = transform.crop
    top, left = (round((side - crop) / 2) for side in frames.shape[1:3])
    return frames[:, top : top + crop, left : left + crop].contiguous()


def ten_crop(frames: torch.Tensor, transform: Transform) -> torch.Tensor:
    """Frames (T,h,w,3) -> (T,10,crop,crop,3): four corners and centre, then those of the mirror image.

    The order is torchvision's TenCrop: top left, top right, bottom left, bottom right, centre.
    """
    crop = transform.crop
    crops = []
    for image in (frames, frames.flip(2)):
        crops += [image[:, :crop, :crop], image[:, :crop, -crop:], image[:, -crop:, :crop], image[:, -crop:, -crop:]]
        crops.append(center_crop(image, transform))
    return torch.stack(crops, dim=1)


def normalize(crops: torch.Tensor, transform: Transform) -> torch.Tensor:
    """Crops (B,h,w,3) uint8 -> (B,3,h,w) float32 in channels_last memory, as ToTensor and Normalize give it."""
    shift, scale = _levels(transform, crops.device)
    return (crops - shift).div_(scale).permute(0, 3, 1, 2)


@functools.cache
def _levels(transform: Transform, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each channel, in levels; kept, for a GPU waits for all its work to take a new one."""
    with torch.inference_mode(False):
        # Not in torch's default dtype, which Lightning makes another for bf16-true.
        made = [torch.tensor(values, dtype=torch.float32, device=device) for values in (transform.mean, transform.std)]
        return made[0] * 255, made[1] * 255


@dataclass(frozen=True)
class Preprocess:
    """What is done to frames before they are handed to the network's process: resize, and crop to the centre
    unless ten crops are wanted, which are made where the network runs so that each frame is handed over once.
    """

    transform: Transform
    ten_crop: bool

    def __call__(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """(T,H,W,3) -> (T,h,w,3) uint8."""
        smaller = resize(torch.from_numpy(frames), self.transform)
        return smaller if self.ten_crop else center_crop(smaller, self.transform)

    def nbytes(self, frame: NDArray[np.uint8]) -> int:
        """Bytes of a frame (H,W,3) once resized. Raises VideoError as `resized` does."""
        height, width = resized(frame.shape[0], frame.shape[1], self.transform)
        return 3 * height * width
