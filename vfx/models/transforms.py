"""From frames to network input: resize, crop, normalise.

It computes what torchvision does, which tests hold it to; importing torchvision would cost each worker 2 s.
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

MAX_PIXELS = 32 << 20  # of a resized frame: with a short side of 256 pixels, an aspect ratio of 512


@dataclass(frozen=True)
class Transform:
    """How to make a frame the input of a network.

    Args:
        resize: Pixels of the short side; or (height, width), which does not keep the aspect ratio.
        crop: Pixels of the square crop's side.
        interpolation: Of the resize.
        mean: Of RGB in [0, 1].
        std: Of RGB in [0, 1].
    """

    resize: int | tuple[int, int]
    crop: int
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def resized_size(height: int, width: int, transform: Transform) -> tuple[int, int]:
    """The (height, width) of a frame after `resize`.

    Raises:
        VideoError: For an aspect ratio with which a frame would fill memory.
    """
    if not isinstance(transform.resize, int):
        return transform.resize
    short = min(height, width)
    size = (transform.resize * height // short, transform.resize * width // short)
    if size[0] * size[1] > MAX_PIXELS:
        raise VideoError(f"a frame of {width}x{height} is too long to be a picture: resized, {size[1]}x{size[0]}")
    return size


def resize(frames: torch.Tensor, transform: Transform) -> torch.Tensor:
    """Resize frames (T,H,W,3) uint8 -> (T,h,w,3) uint8.

    With PIL's antialiasing filter, to within one level of its result (bicubic: two). The long side is rounded down, as
    torchvision does.

    Raises:
        VideoError: As `resized_size`.
    """
    size = resized_size(frames.shape[1], frames.shape[2], transform)
    # A view (T,3,H,W) of memory (T,H,W,3), for which torch's kernel is fast
    smaller = interpolate(frames.permute(0, 3, 1, 2), size, mode=transform.interpolation, antialias=True)
    return smaller.permute(0, 2, 3, 1).contiguous()


def center_crop(frames: torch.Tensor, transform: Transform) -> torch.Tensor:
    """The centre of frames (T,h,w,3) -> (T,crop,crop,3)."""
    crop = transform.crop
    top, left = (round((side - crop) / 2) for side in frames.shape[1:3])
    return frames[:, top : top + crop, left : left + crop].contiguous()


def ten_crop(frames: torch.Tensor, transform: Transform) -> torch.Tensor:
    """Ten crops of frames (T,h,w,3) -> (T,10,crop,crop,3), in the order of torchvision's TenCrop.

    Top left, top right, bottom left, bottom right and centre, then those of the mirrored frame.
    """
    crop = transform.crop
    crops = []
    for image in (frames, frames.flip(2)):
        crops += [image[:, :crop, :crop], image[:, :crop, -crop:], image[:, -crop:, :crop], image[:, -crop:, -crop:]]
        crops.append(center_crop(image, transform))
    return torch.stack(crops, dim=1)


def normalize(crops: torch.Tensor, transform: Transform) -> torch.Tensor:
    """Crops (B,h,w,3) uint8 -> (B,3,h,w) float32 in channels_last memory, as torchvision's ToTensor and Normalize."""
    shift, scale = _levels(transform, crops.device)
    return (crops - shift).div_(scale).permute(0, 3, 1, 2)


@functools.cache
def _levels(transform: Transform, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation by channel, in [0, 255]; cached, as a GPU finishes its queue to copy a new tensor."""
    with torch.inference_mode(False):
        # float32 is said, as Lightning changes torch's default dtype for bf16-true.
        made = [torch.tensor(values, dtype=torch.float32, device=device) for values in (transform.mean, transform.std)]
        return made[0] * 255, made[1] * 255


@dataclass(frozen=True)
class Preprocess:
    """What decoding workers do to frames: resize, and crop to the centre.

    Args:
        transform: Of the network.
        ten_crop: Whether ten crops are wanted. They are made where the network runs, so that workers send each frame
            once, uncropped.
    """

    transform: Transform
    ten_crop: bool

    def __call__(self, frames: NDArray[np.uint8]) -> torch.Tensor:
        """(T,H,W,3) -> (T,h,w,3) uint8."""
        smaller = resize(torch.from_numpy(frames), self.transform)
        return smaller if self.ten_crop else center_crop(smaller, self.transform)

    def nbytes(self, frame: NDArray[np.uint8]) -> int:
        """Bytes of a frame (H,W,3) once resized. Raises VideoError, as `resized_size`."""
        height, width = resized_size(frame.shape[0], frame.shape[1], self.transform)
        return 3 * height * width
